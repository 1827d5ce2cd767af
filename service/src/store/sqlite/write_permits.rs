//! Whose turn it is to write to a SQLite file: the thread that writes batches, or SeaORM's connection for the rest.
//!
//! SQLite itself lets those who wait for its lock poll, and the one who polls least often goes hungry. Here turns come first
//! come, first served.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Jobs;

/// The order of turns.
#[derive(Debug)]
pub(super) struct WritePermits {
    /// Batches share it, since their thread puts them in order; the rest has it alone.
    order: RwLock<()>,
}

/// A turn of the connection for the rest. It ends when it is dropped.
#[derive(Debug)]
pub(in super::super) struct WritePermit<'t> {
    jobs: &'t Jobs,
    _alone: RwLockWriteGuard<'t, ()>,
}

impl WritePermits {
    pub(super) fn new() -> Self {
        Self { order: RwLock::new(()) }
    }

    /// Waits for a turn of batches.
    pub(super) async fn of_batches(&self) -> RwLockReadGuard<'_, ()> {
        self.order.read().await
    }

    /// Waits for a turn of the rest.
    pub(super) async fn exclusive<'t>(&'t self, jobs: &'t Jobs) -> WritePermit<'t> {
        let alone = self.order.write().await;
        // What others have written until now is not to be taken for what this turn writes.
        jobs.look().await;
        WritePermit { jobs, _alone: alone }
    }
}

impl Drop for WritePermit<'_> {
    fn drop(&mut self) {
        self.jobs.skip_next();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_the_rest_is_alone() {
        let (write_permits, jobs) = (WritePermits::new(), Jobs::of_nobody());
        let mut context = Context::from_waker(Waker::noop());
        let first = write_permits.of_batches().await;
        let second = write_permits.of_batches().await;
        let mut rest = Box::pin(write_permits.exclusive(&jobs));
        let mut late = Box::pin(write_permits.of_batches());
        assert!(rest.as_mut().poll(&mut context).is_pending());
        assert!(late.as_mut().poll(&mut context).is_pending(), "it came after the rest");
        drop((first, second));
        let write_permit = rest.await;
        assert!(late.as_mut().poll(&mut context).is_pending());
        drop(write_permit);
        assert!(late.as_mut().poll(&mut context).is_ready());
    }
}
