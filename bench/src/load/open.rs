//! The open loop: pairs start when they are due, whether or not earlier ones were answered, and each is measured from
//! its due time. So the times include all waiting during a stall of the server: there is no coordinated omission.

use std::time::{Duration, Instant};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use super::{closed, crew::Window, keys::KeySource, lane::Lane, tally::Tally};
use crate::number::{count, float, index};

/// The time after the end in which a pair may still begin. A due pair that has not begun by then has failed.
const BACKLOG: Duration = Duration::from_secs(5);

/// Starts the clients, and a thread that tells them when to start pairs. The runtime's timers only count milliseconds.
pub(super) fn spawn(tasks: &mut JoinSet<Tally>, clients: Vec<(Lane, KeySource)>, rate: u64, window: Window) {
    let mut senders = Vec::new();
    for (lane, keys) in clients {
        let (sender, receiver) = unbounded_channel();
        senders.push(sender);
        tasks.spawn(pairs(lane, keys, window, receiver));
    }
    // The thread ends by itself soon after the window, or once nobody listens any more.
    std::thread::spawn(move || pace(&senders, rate, window));
}

/// Tells the clients in turn that a pair is due, evenly spaced, until the window is over.
fn pace(senders: &[UnboundedSender<Instant>], rate: u64, window: Window) {
    let start = Instant::now();
    for number in 0_u64.. {
        let due = start + Duration::from_secs_f64(float(number) / float(rate));
        if due >= window.until {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if senders[index(number % count(senders.len()))].send(due).is_err() {
            return;
        }
    }
}

/// Does a pair each time that one is due. Pairs that were due within the window count.
async fn pairs(
    mut lane: Lane,
    mut keys: KeySource,
    window: Window,
    mut dues: UnboundedReceiver<Instant>,
) -> Tally {
    let mut tally = Tally::default();
    let last = window.until + BACKLOG;
    while let Some(due) = dues.recv().await {
        let sent = Instant::now();
        if sent >= last {
            tally.failures.add_times("due, and not begun long after the end".into(), 1);
            continue;
        }
        match closed::pair(&mut lane, keys.next()).await {
            Ok((granted, released)) if window.counts(due) => tally.pair(due, sent, granted, released),
            Ok(_) => {}
            Err(failure) => lane.mend(&failure, &mut tally.failures, last).await,
        }
    }
    tally
}
