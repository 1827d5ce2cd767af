//! Measurements on a machine that other programs use, too.

use std::time::Duration;

/// The usual number of tries.
pub(crate) const TRIES: u32 = 3;

/// Tries until one try shows nothing wrong. Other programs, or a disk that stalls for a second, spoil one try. A fault of
/// the service spoils each. What no load explains has to be an assertion inside the try: it fails at once.
pub(crate) async fn try_until_undisturbed(tries: u32, mut attempt: impl AsyncFnMut() -> Result<(), String>) {
    let mut spoiled = Vec::new();
    for _ in 0..tries {
        match attempt().await {
            Ok(()) => return,
            Err(fault) => spoiled.push(fault),
        }
    }
    panic!("each of the tries: {spoiled:#?}");
}

/// Something that a try has to show.
pub(crate) fn expect(is_so: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(fault()) }
}

/// The durations of requests.
#[derive(Debug, Default)]
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0.get(self.0.len() * percent / 100).copied().unwrap_or_default()
    }
}
