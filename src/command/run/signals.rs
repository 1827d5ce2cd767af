//! The signals that `run` receives.

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// The signals that are forwarded to the command.
const FORWARDED: [(Signal, fn() -> SignalKind); 4] = [
    (Signal::INT, SignalKind::interrupt),
    (Signal::TERM, SignalKind::terminate),
    (Signal::HUP, SignalKind::hangup),
    (Signal::QUIT, SignalKind::quit),
];

/// The streams of forwarded signals and of SIGCHLD.
pub(super) struct Signals {
    /// In the order of [`FORWARDED`]. `None` if this process was started with the signal ignored, as by `nohup` or by a shell
    /// in the background: then the command ignores the signal too.
    forwarded: [Option<Stream>; FORWARDED.len()],
    /// SIGCHLD: a child ended, stopped or continued.
    child: Stream,
}

/// The meaning of a signal.
pub(super) enum Event {
    /// The signal is meant for the command.
    Forward(Signal),
    /// A child has changed its state.
    Child,
}

impl Signals {
    /// Catches the signals, so that they no longer end this process.
    pub(super) fn listen() -> std::io::Result<Self> {
        let ignored = ignored();
        let mut forwarded = [const { None }; FORWARDED.len()];
        for (stream, (number, kind)) in forwarded.iter_mut().zip(FORWARDED) {
            if ignored & (1 << (number.as_raw() - 1)) == 0 {
                *stream = Some(signal(kind())?);
            }
        }
        Ok(Self { forwarded, child: signal(SignalKind::child())? })
    }

    /// The next signal that would have ended this process.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            if let Event::Forward(signal) = self.event().await {
                return signal;
            }
        }
    }

    /// The next signal.
    pub(super) async fn event(&mut self) -> Event {
        let [interrupt, terminate, hang_up, quit] = &mut self.forwarded;
        tokio::select! {
            () = received(interrupt) => Event::Forward(Signal::INT),
            () = received(terminate) => Event::Forward(Signal::TERM),
            () = received(hang_up) => Event::Forward(Signal::HUP),
            () = received(quit) => Event::Forward(Signal::QUIT),
            _ = self.child.recv() => Event::Child,
        }
    }
}

async fn received(stream: &mut Option<Stream>) {
    match stream {
        Some(stream) => {
            stream.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals that this process ignores, as the kernel shows them: bit 0 is signal 1. Zero without `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
