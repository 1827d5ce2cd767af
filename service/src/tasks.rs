//! Critical tasks and threads, without which a replica serves nobody: all that are spawned for longer than a statement.
//!
//! If a shard ended, its callers would wait forever. If a commit never came back, its keys would stay busy. Without
//! the thread that writes to SQLite, every write would be answered 503. Without the listener, hand-overs would be slow,
//! and nobody would know why. A panic in a critical task is an error in this program. So the process ends, its
//! supervisor starts it again, and everything that counts is in the database.
//!
//! In another program's process the engine must not end the process. That program gets a report of the panic, and ends
//! the engine.

use std::{
    any::Any,
    cell::RefCell,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{Arc, OnceLock},
};

use tokio::task::JoinHandle;

/// A function that takes the message of a panic.
pub type PanicReport = Arc<dyn Fn(&str) + Send + Sync>;

thread_local! {
    /// The function that panics of critical tasks on this thread are reported to, instead of ending the process.
    static REPORT: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// The act before a panic ends the process.
static BEFORE_ABORT: OnceLock<fn()> = OnceLock::new();

/// Sets what is done before a panic of a critical task ends the process, such as writing the last lines of the log. It has to end
/// soon. Only the first call counts.
pub fn before_abort(act: fn()) {
    let _ = BEFORE_ABORT.set(act);
}

/// Reports the panics of critical tasks that run on this thread, instead of ending the process. The same holds for
/// critical threads that are spawned from this thread. After a report, their engine no longer works.
pub fn report_panics(report: PanicReport) {
    REPORT.set(Some(report));
}

/// Spawns a thread whose panic ends the process, or is reported.
pub fn spawn_critical_thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let report = REPORT.with_borrow(Clone::clone);
    let guarded = move || {
        REPORT.set(report);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            panicked(panic);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(guarded).map(drop)
}

/// Spawns a task whose panic ends the process, or is reported.
pub fn spawn_critical<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[cfg(test)]
    if let Some(process) = crate::simulation::process::running() {
        return process.spawn(task);
    }
    tokio::spawn(async move {
        let mut task = pin!(task);
        // Panics are only caught while the task runs: a task that is dropped because of a panic elsewhere has done
        // nothing wrong.
        poll_fn(move |context| {
            catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)))
                .unwrap_or_else(|panic| panicked(panic))
        })
        .await
    })
}

/// Reports a panic and resumes it, or ends the process.
fn panicked(panic: Box<dyn Any + Send>) -> ! {
    if let Some(report) = REPORT.with_borrow(Clone::clone) {
        report(message(&*panic));
        resume_unwind(panic)
    } else {
        tracing::error!("a critical task has panicked; the process ends");
        if let Some(act) = BEFORE_ABORT.get() {
            act();
        }
        std::process::abort()
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{io::Write, process::Command, sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    #[ignore = "it ends its process: another test runs it in one of its own"]
    async fn a_task_panics() {
        let _ = spawn_critical(async { panic!("an error in this program") }).await;
    }

    #[test]
    #[ignore = "it ends its process: another test runs it in one of its own"]
    fn a_thread_panics() {
        before_abort(|| writeln!(std::io::stdout(), "the last line").unwrap());
        spawn_critical_thread("panics", || panic!("an error in this program")).unwrap();
        std::thread::sleep(Duration::from_secs(10));
    }

    #[test]
    fn a_panic_ends_the_process() {
        for name in ["tasks::tests::a_task_panics", "tasks::tests::a_thread_panics"] {
            let this = std::env::current_exe().unwrap();
            let output =
                Command::new(this).args(["--ignored", "--exact", "--nocapture", name]).output().unwrap();
            // A test that only fails exits with a code; an aborted process has none.
            assert_eq!(output.status.code(), None, "{name}: {output:?}");
            let is_last = String::from_utf8_lossy(&output.stdout).contains("the last line");
            assert_eq!(is_last, name.ends_with("thread_panics"), "{name}: {output:?}");
        }
    }

    /// For an engine in another program: a task on a thread that was set up to report, and a thread that is spawned
    /// from there.
    #[test]
    fn a_panic_is_reported_where_that_was_asked_for() {
        let (sender, reported) = mpsc::channel();
        let report: PanicReport = Arc::new(move |message: &str| sender.send(message.to_owned()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::thread::spawn(move || {
            report_panics(report);
            runtime.block_on(async {
                let number = 7;
                let task = spawn_critical(async move { panic!("error {number} in this program") });
                let _: Result<(), _> = task.await;
            });
            spawn_critical_thread("panics", || panic!("another one")).unwrap();
        })
        .join()
        .unwrap();
        let next = || reported.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), next()), ("error 7 in this program".to_owned(), "another one".to_owned()));
    }
}
