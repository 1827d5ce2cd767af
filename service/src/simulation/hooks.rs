//! The seams between the service's code and a simulation: spawning, random ids, sizes of views, planted bugs.
//!
//! The service's code asks here in test builds only. Outside of a simulation every answer is "do as always".

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use uuid::Uuid;

use super::{bugs::Bug, process::Process};

thread_local! {
    /// The simulated process whose task is running.
    static PROCESS: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
    /// How many waiters and permits are loaded and remembered with a key.
    static VIEW_SIZE: Cell<Option<usize>> = const { Cell::new(None) };
    /// The bug that is planted.
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// The simulated process whose task is running.
pub(crate) fn process() -> Option<Arc<Process>> {
    PROCESS.with_borrow(Clone::clone)
}

/// The next random id of the simulated process.
pub(crate) fn uuid() -> Option<Uuid> {
    PROCESS.with_borrow(|process| process.as_ref().map(|process| process.uuid()))
}

/// How many waiters and permits are loaded and remembered with a key: `usual` outside of a simulation. Real sizes are never
/// reached by the few clients of a simulation, and what happens at the end of a view has to be simulated too.
pub(crate) fn view_size(usual: usize) -> usize {
    VIEW_SIZE.get().unwrap_or(usual)
}

/// Whether a bug is planted.
pub(crate) fn has(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}

/// Sets a simulation up on this thread, until it is dropped.
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

/// A task of a process runs, until this is dropped.
pub(super) struct Entered(Option<Arc<Process>>);

impl Entered {
    pub(super) fn new(process: &Arc<Process>) -> Self {
        Self(PROCESS.replace(Some(process.clone())))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        PROCESS.set(self.0.take());
    }
}
