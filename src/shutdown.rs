//! The end of the program: the signals that stop the service, and what it leaves behind.

use std::time::{Duration, Instant};

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// How long the end waits for work that nothing interrupts: reading a file of a network that is away, or looking up a name.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Completes when the process receives SIGTERM or SIGINT.
pub(crate) async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    Ok(())
}

/// Runs the program, and ends its tasks. Threads that do not come back are left behind: they end with the process.
pub(crate) fn run<T>(runtime: Runtime, program: impl Future<Output = T>) -> T {
    let result = runtime.block_on(program);
    let since = Instant::now();
    runtime.shutdown_timeout(END_WITHIN);
    if since.elapsed() >= END_WITHIN {
        tracing::warn!("something that cannot be interrupted, such as reading a file, is left unfinished");
    }
    result
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{sync::mpsc, thread};

    use tokio::task::spawn_blocking;

    use super::*;

    /// Guards the stop against a file of a network that is away, whose reader no signal ends.
    #[test]
    fn the_end_does_not_wait_for_threads_that_do_not_come_back() {
        let (ended, has_ended) = mpsc::channel();
        let (began, has_begun) = mpsc::channel();
        let (_never, comes_back) = mpsc::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            let result = run(runtime, async move {
                let read = move || {
                    began.send(()).unwrap();
                    comes_back.recv()
                };
                drop(spawn_blocking(read));
                has_begun.recv().unwrap();
                "the result"
            });
            ended.send(result).unwrap();
        });
        assert_eq!(has_ended.recv_timeout(Duration::from_secs(20)), Ok("the result"));
    }
}
