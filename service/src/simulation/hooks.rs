//! The hooks for a simulation in the service's code: spawning, random ids, sizes of views, planted bugs.
//!
//! The service's code uses these hooks in test builds only. Outside of a simulation they change nothing.

use std::cell::Cell;

use uuid::Uuid;

use super::{bugs::Bug, process};

thread_local! {
    /// The number of waiters and permits that are loaded and cached with a key.
    static VIEW_SIZE: Cell<Option<usize>> = const { Cell::new(None) };
    /// The bug that is planted.
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// The next random id of the simulated process.
pub(crate) fn uuid() -> Option<Uuid> {
    process::running().map(|process| process.uuid())
}

/// The number of waiters and permits that are loaded and cached with a key: `usual` outside of a simulation. The few
/// clients of a simulation never reach the real sizes, and the end of a view has to be simulated too.
pub(crate) fn view_size(usual: usize) -> usize {
    VIEW_SIZE.get().unwrap_or(usual)
}

/// The number of permits or waiters that a step of a deletion deletes: `usual` outside of a simulation, whose semaphores are small.
pub(crate) fn deletion_step(usual: usize) -> usize {
    if process::running().is_some() { view_size(1) } else { usual }
}

/// Whether a bug is planted.
pub(crate) fn has(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}

/// Sets a simulation up on this thread, until the returned guard is dropped.
pub(super) struct Installed;

impl Installed {
    pub(super) fn new(view_size: Option<usize>, bug: Option<Bug>) -> Self {
        VIEW_SIZE.set(view_size);
        BUG.set(bug);
        Self
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        VIEW_SIZE.set(None);
        BUG.set(None);
    }
}
