//! The service from outside: HTTP, several replicas, real databases, faults.
//!
//! The tests start what they need: `SQLite` files in a temporary folder, a `PostgreSQL`, a `MariaDB` and a `MySQL` of their own
//! (or those of `TEST_POSTGRES_URL`, `TEST_MARIADB_URL` and `TEST_MYSQL_URL`; with `TEST_SERVERS=newest` newer ones than this
//! machine's system has), a Galera cluster, and the program itself, once for the conformance cases of each database
//! and as often as a test likes elsewhere. All of it ends with the test process, however that ends.
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
