//! SQLite: two connections of our own, each on a thread of its own. One writes batches, the other reads keys' rows.
//!
//! A call into SQLite blocks, and a file has one writer at a time. A driver would pass every statement from thread to
//! thread; as measured, a row then costs several times as much. Rare statements (membership, sweeping, lists, tokens) go
//! through pools, as on the servers. They take turns with the thread that writes.

mod commit;
mod file;
mod file_watch;
mod load;
mod session;
mod settings;
pub(super) mod sql;
mod statements;
mod worker;
mod writer;

pub(super) use self::{
    file::prepare as prepare_file,
    file_watch::FileWatch,
    load::SqliteReader,
    settings::connect_options,
    writer::{SqliteWriter, WritePermit},
};
