//! A simulated process: the tasks of one replica, which run, pause and crash together.
//!
//! Every task of a replica is wrapped. The wrapper delays some polls by the seed, so that the runtime does not decide
//! the order of ready tasks. It keeps a paused process from running. It counts polls, so that a crash can come between
//! any two of them, which means at any await.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use rand::{Rng, rngs::SmallRng};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinHandle},
    time::Instant,
};
use uuid::Uuid;

thread_local! {
    /// The process whose task is running.
    static RUNNING: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// The process whose task is running. `None` outside of a simulation.
pub(crate) fn running() -> Option<Arc<Process>> {
    RUNNING.with_borrow(Clone::clone)
}

/// One incarnation of a replica.
pub(crate) struct Process {
    /// The number of earlier incarnations of the replica.
    pub(super) life: usize,
    /// The probability that a poll is delayed.
    defer: f64,
    /// Never held while a task runs.
    state: Mutex<State>,
    /// The process crashed or panicked.
    pub(super) ended: Notify,
}

struct State {
    /// The random numbers for the order of tasks only.
    order: SmallRng,
    ids: SmallRng,
    tasks: Vec<AbortHandle>,
    /// The number of tasks at which the list is cleaned up.
    most_tasks: usize,
    paused: bool,
    /// When the process was started or resumed.
    running_since: Instant,
    /// Tasks that became ready during a pause.
    held_back: Vec<Waker>,
    /// The number of polls after which the process crashes.
    polls_left: Option<u32>,
    is_over: bool,
    panic: Option<String>,
}

impl Process {
    pub(super) fn new(life: usize, defer: f64, order: SmallRng, ids: SmallRng) -> Arc<Self> {
        let state = State {
            order,
            ids,
            tasks: Vec::new(),
            most_tasks: 64,
            paused: false,
            running_since: Instant::now(),
            held_back: Vec::new(),
            polls_left: None,
            is_over: false,
            panic: None,
        };
        Arc::new(Self { life, defer, state: Mutex::new(state), ended: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns a task of this process.
    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let handle = tokio::spawn(Scheduled { process: self.clone(), task: Box::pin(task) });
        let mut state = self.state();
        if state.is_over {
            handle.abort();
        } else {
            if state.tasks.len() == state.most_tasks {
                state.tasks.retain(|task| !task.is_finished());
                state.most_tasks = 64.max(state.tasks.len() * 2);
            }
            state.tasks.push(handle.abort_handle());
        }
        handle
    }

    /// The next random id.
    pub(super) fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.state().ids.random()).into_uuid()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// Whether the process has run for this time.
    pub(super) fn has_run(&self, time: Duration) -> bool {
        self.runs_for() >= time
    }

    /// How long it has been running without a pause; zero if it does not run.
    pub(super) fn runs_for(&self) -> Duration {
        let state = self.state();
        if state.is_over || state.paused { Duration::ZERO } else { state.running_since.elapsed() }
    }

    /// The message of its panic, if it panicked.
    pub(super) fn panic(&self) -> Option<String> {
        self.state().panic.clone()
    }

    /// Ends the process: none of its tasks runs any more.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.is_over = true;
        let tasks = std::mem::take(&mut state.tasks);
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        for task in tasks {
            task.abort();
        }
        held_back.into_iter().for_each(Waker::wake);
        self.ended.notify_one();
    }

    /// Lets the process crash after this number of polls of its tasks.
    pub(super) fn crash_after(&self, polls: u32) {
        self.state().polls_left = Some(polls);
    }

    pub(super) fn pause(&self) {
        self.state().paused = true;
    }

    pub(super) fn resume(&self) {
        let mut state = self.state();
        state.paused = false;
        state.running_since = Instant::now();
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        held_back.into_iter().for_each(Waker::wake);
    }

    /// Whether a task may run now.
    fn may_run(&self, context: &Context<'_>) -> bool {
        let mut state = self.state();
        if state.is_over {
            return false;
        }
        if state.paused {
            state.held_back.push(context.waker().clone());
            return false;
        }
        if self.defer > 0.0 && state.order.random_bool(self.defer) {
            context.waker().wake_by_ref();
            return false;
        }
        let Some(polls) = &mut state.polls_left else { return true };
        if *polls > 0 {
            *polls -= 1;
            return true;
        }
        drop(state);
        self.kill();
        false
    }

    fn has_panicked(&self, payload: &(dyn Any + Send)) {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("of no text");
        self.state().panic = Some(text.to_owned());
        self.kill();
    }
}

/// A task of a process.
struct Scheduled<F> {
    process: Arc<Process>,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Scheduled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.process.may_run(context) {
            return Poll::Pending;
        }
        let _entered = Entered::new(&self.process);
        match catch_unwind(AssertUnwindSafe(|| self.task.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(payload) => {
                self.process.has_panicked(payload.as_ref());
                Poll::Pending
            }
        }
    }
}

/// Marks a task of a process as running, until the returned guard is dropped.
pub(super) struct Entered(Option<Arc<Process>>);

impl Entered {
    pub(super) fn new(process: &Arc<Process>) -> Self {
        Self(RUNNING.replace(Some(process.clone())))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        RUNNING.set(self.0.take());
    }
}
