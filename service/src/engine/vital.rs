//! Tasks without which a replica serves nobody.
//!
//! A shard that ended would keep its callers waiting for ever, and a commit that never came back would keep its keys busy. A
//! panic in one of them is an error in this program: the process ends, its supervisor starts it again, and whatever counts
//! is in the database.

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

/// Spawns a task whose panic ends the process.
pub(super) fn spawn_vital<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
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
    #[ignore = "it ends its process: the next test runs it in one of its own"]
    async fn panics() {
        let _ = spawn_vital(async { panic!("an error in this program") }).await;
    }

    #[test]
    fn a_panic_ends_the_process() {
        let this = std::env::current_exe().unwrap();
        let arguments = ["--ignored", "--exact", "engine::vital::tests::panics"];
        let output = Command::new(this).args(arguments).output().unwrap();
        // A test that only fails exits with a code; this one has none.
        assert_eq!(output.status.code(), None, "{output:?}");
    }
}
