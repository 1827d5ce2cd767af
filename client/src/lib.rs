//! Client of db-locks: leases on locks and semaphores that many machines share.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), db_locks::LockError> {
//! let client = db_locks::connect("http://127.0.0.1:8080").await?;
//! let lock = client.lock("deploy").lease(Duration::from_secs(30)).wait(Duration::from_secs(10)).acquire().await?;
//! tokio::select! {
//!     () = deploy(lock.fencing_token()) => lock.release().await?,
//!     () = lock.lost() => eprintln!("the lock is lost; the deployment was stopped"),
//! }
//! # Ok(())
//! # }
//! # async fn deploy(fencing_token: u64) {}
//! ```
//!
//! A [`LockGuard`] renews its lease in the background, [completes a future when the lease is lost](LockHandle::lost), and
//! releases the lock when it is dropped. The trait [`LockService`] offers the single calls, with the names of the original
//! `db_locks` library.

pub mod blocking;
mod client;
mod clock;
mod config;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod guard;
mod http;
mod lease;
mod models;
mod options;
mod random;
mod release;
mod renewal;
mod request;
mod retry;
mod service;

#[cfg(feature = "embedded")]
pub use self::embedded::EmbeddedLockService;
pub use self::{
    client::{Client, connect},
    clock::LeaseInstant,
    config::LocksConfig,
    error::{Holder, LockError, LockResult, NotGranted, Problem},
    guard::{LockGuard, LockHandle},
    http::HttpLockService,
    models::{LockItem, Page, Semaphore},
    options::{
        AcquireLockOptions, AcquireLockOptionsBuilder, DeleteLockOptions, ListOptions, ReleaseLockOptions,
        SendHeartbeatOptions,
    },
    request::LockRequest,
    service::LockService,
};

/// Compiles the examples of the crate's README as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
