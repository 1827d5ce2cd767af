//! Database servers for the tests and the benchmark: set up in a folder of their own, started on a free port of the loopback, and
//! ended with the process that started them.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test may end where something fails that must not fail"
)]

mod command;
mod galera;
pub mod leash;
mod mariadb;
mod mysql;
mod port;
mod postgres;
mod programs;
mod recipe;
mod set_up;

pub use self::{
    galera::{Cluster, set_up_cluster},
    port::free_port,
    postgres::set_up_standby,
    programs::{Kind, Programs, newest_servers, pgbouncer},
    recipe::{Options, Recipe},
    set_up::set_up,
};
