//! The support of the tests: databases, processes, clients.

pub(crate) mod answer;
pub(crate) mod apart;
pub(crate) mod balancer;
pub(crate) mod client;
pub(crate) mod databases;
pub(crate) mod fleet;
pub(crate) mod http2;
pub(crate) mod names;
pub(crate) mod open_files;
pub(crate) mod pgbouncer;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod sql;
pub(crate) mod time;
pub(crate) mod tries;
pub(crate) mod wire;

pub(crate) use db_locks_testing::leash;

pub(crate) use self::{
    answer::{Answer, Grant},
    client::Client,
    databases::{Database, Dialect},
    fleet::Fleet,
    http2::connect_http2,
    names::{random_text, random_version},
    open_files::may_open_files,
    service::Service,
    time::{SHORT_MS, SOON, eventually},
    tries::{TRIES, Times, expect, go_on_until_enough, try_until_undisturbed},
};
