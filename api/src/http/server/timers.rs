//! The time limits for a client to send a head and to read an answer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The time limit for the first head of a connection.
pub(super) const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a later head, from its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest idle time between two requests. It is longer than clients keep idle connections (90 s is usual), so that clients
/// close first and never send into a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// The longest time for a write to progress by less than [`LEAST_PROGRESS`].
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The number of bytes that count as progress. A client that reads one byte at a time keeps its answer in memory like one that
/// reads nothing.
const LEAST_PROGRESS: usize = 16 * 1024;

/// The deadline of the next head.
#[derive(Debug)]
pub(super) struct HeadTimer {
    deadline: Instant,
    has_begun: bool,
    /// Never later than the deadline while it is polled. It is reset when it fires, not at each request.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl HeadTimer {
    /// Waits for the first head of a connection.
    pub(super) fn new(now: Instant) -> Self {
        Self { deadline: now + FIRST_HEAD_TIMEOUT, has_begun: false, sleep: None }
    }

    /// Notes that bytes of a head arrived.
    pub(super) fn head_began(&mut self, now: Instant) {
        if !self.has_begun {
            self.has_begun = true;
            self.deadline = self.deadline.min(now + HEAD_TIMEOUT);
        }
    }

    /// Notes that a request was answered: the idle time begins.
    pub(super) fn answered(&mut self, now: Instant) {
        self.has_begun = false;
        self.deadline = now + IDLE_TIMEOUT;
    }

    /// Ready once the head is overdue.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// The deadline for the progress of a stalled write.
#[derive(Debug, Default)]
pub(super) struct StallTimer {
    /// `Some` while a write is stalled.
    sleep: Option<Pin<Box<Sleep>>>,
    progress: usize,
}

impl StallTimer {
    /// Notes that the kernel accepted bytes.
    pub(super) fn progress(&mut self, bytes: usize) {
        if let Some(sleep) = &mut self.sleep {
            self.progress += bytes;
            if self.progress >= LEAST_PROGRESS {
                self.progress = 0;
                sleep.as_mut().reset(Instant::now() + STALL_TIMEOUT);
            }
        }
    }

    /// Notes that the kernel accepted everything.
    pub(super) fn all_written(&mut self) {
        if self.sleep.is_some() {
            *self = Self::default();
        }
    }

    /// Notes that the kernel accepts nothing now. Ready when that has lasted too long.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + STALL_TIMEOUT)));
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn overdue_after(timer: &mut HeadTimer) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| timer.poll_overdue(cx)).await;
        began.elapsed()
    }

    fn about(expected: Duration, measured: Duration) {
        assert!(measured >= expected && measured < expected + Duration::from_millis(10), "{measured:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_may_take_ten_seconds_and_a_pause_two_minutes() {
        let mut timer = HeadTimer::new(Instant::now());
        about(FIRST_HEAD_TIMEOUT, overdue_after(&mut timer).await);
        timer.answered(Instant::now());
        about(IDLE_TIMEOUT, overdue_after(&mut timer).await);
        timer.answered(Instant::now());
        timer.head_began(Instant::now());
        about(HEAD_TIMEOUT, overdue_after(&mut timer).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_head_that_comes_byte_by_byte_gets_no_more_time() {
        let mut timer = HeadTimer::new(Instant::now());
        tokio::time::advance(FIRST_HEAD_TIMEOUT.saturating_sub(Duration::from_secs(1))).await;
        timer.head_began(Instant::now());
        about(Duration::from_secs(1), overdue_after(&mut timer).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_trickles_is_given_up_and_one_that_flows_is_not() {
        let mut timer = StallTimer::default();
        let mut wait = async |bytes: usize, pause: Duration| {
            let stalled = tokio::time::timeout(pause, poll_fn(|cx| timer.poll_expired(cx))).await.is_ok();
            timer.progress(bytes);
            stalled
        };
        for _ in 0..10 {
            assert!(!wait(LEAST_PROGRESS, STALL_TIMEOUT / 2).await);
        }
        assert!(!wait(1, STALL_TIMEOUT / 2).await);
        assert!(wait(1, STALL_TIMEOUT).await);
    }
}
