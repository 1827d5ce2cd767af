//! Tasks and threads without which a replica serves nobody: all that are spawned for longer than a statement.
//!
//! A shard that ended would keep its callers waiting for ever, and a commit that never came back would keep its keys busy;
//! without the thread that writes to SQLite every write would be answered 503, without the listener hand-overs would be slow
//! and nobody would know why. A panic in one of them is an error in this program: the process ends, its supervisor starts it
//! again, and whatever counts is in the database.

use std::{future::poll_fn, pin::pin};

use tokio::task::JoinHandle;

/// Ends the process when it is dropped by a panic.
struct EndsWithPanic;

impl Drop for EndsWithPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a task that nothing works without has panicked; the process ends");
            std::process::abort();
        }
    }
}

/// Spawns a thread whose panic ends the process.
pub(crate) fn spawn_critical_thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let guarded = move || {
        let _guard = EndsWithPanic;
        run();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(guarded).map(drop)
}

/// Spawns a task whose panic ends the process.
pub fn spawn_critical<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[cfg(test)]
    if let Some(process) = crate::simulation::hooks::process() {
        return process.spawn(task);
    }
    tokio::spawn(async move {
        let mut task = pin!(task);
        poll_fn(move |context| {
            // Only while the task runs: one that is dropped by a panic elsewhere has done nothing wrong.
            let _guard = EndsWithPanic;
            task.as_mut().poll(context)
        })
        .await
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    #[ignore = "it ends its process: another test runs it in one of its own"]
    async fn a_task_panics() {
        let _ = spawn_critical(async { panic!("an error in this program") }).await;
    }

    #[test]
    #[ignore = "it ends its process: another test runs it in one of its own"]
    fn a_thread_panics() {
        spawn_critical_thread("panics", || panic!("an error in this program")).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(10));
    }

    #[test]
    fn a_panic_ends_the_process() {
        for name in ["tasks::tests::a_task_panics", "tasks::tests::a_thread_panics"] {
            let this = std::env::current_exe().unwrap();
            let output = Command::new(this).args(["--ignored", "--exact", name]).output().unwrap();
            // A test that only fails exits with a code; this one has none.
            assert_eq!(output.status.code(), None, "{name}: {output:?}");
        }
    }
}
