//! Tests of the service from outside: HTTP, several replicas, real databases, faults.
//!
//! The tests start everything that they need: `SQLite` files in a temporary folder, a `PostgreSQL`, a `MariaDB` and a
//! `MySQL` (or use those of `TEST_POSTGRES_URL`, `TEST_MARIADB_URL` and `TEST_MYSQL_URL`), and a Galera cluster. With
//! `TEST_SERVERS=newest` the servers are newer than those of the system. The program is started once for the
//! conformance cases of each database, and as often as needed by the other tests. All processes end with the test
//! process, however it ends.
#![expect(clippy::unwrap_used, reason = "in a test, what must not fail may end the test where it fails")]

mod access;
mod commands;
mod conformance;
mod failover;
mod faults;
mod galera;
mod guards;
mod ops;
mod replicas;
mod rust_client;
mod store;
mod support;
