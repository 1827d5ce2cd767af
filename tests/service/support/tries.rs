//! Measurements on a machine that other programs use, too.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::eventually;

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

    pub(crate) fn median(&mut self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn mean(&self) -> Duration {
        self.0.iter().sum::<Duration>() / u32::try_from(self.0.len()).unwrap()
    }
}

/// Lets something go on for `time`, and longer until enough has happened: on a busy machine it takes its time.
pub(crate) async fn go_on_until_enough(what: &str, time: Duration, mut is_enough: impl FnMut() -> bool) {
    tokio::time::sleep(time).await;
    eventually(what, Duration::from_mins(1), || std::future::ready(is_enough().then_some(()))).await;
}

/// Tokens that grow as long as no statement takes longer than the time until a floor has settled.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    slowest: Mutex<Duration>,
    fallen: Mutex<Vec<String>>,
}

impl Growth {
    /// Records how long statements took that began then or later.
    pub(crate) fn took(&self, since: Instant) {
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = slowest.max(since.elapsed());
    }

    /// Records a token and the one granted before.
    pub(crate) fn granted(&self, key: &str, token: i64, before: i64) {
        if token <= before {
            self.fallen.lock().unwrap().push(format!("token {token} was granted after {before} of {key}"));
        }
    }

    /// Whether a token did not grow.
    pub(crate) fn has_fallen(&self) -> bool {
        !self.fallen.lock().unwrap().is_empty()
    }

    /// Fails at once if a token did not grow although all statements took less than `settle`.
    pub(crate) fn check(&self, settle: Duration) -> Result<(), String> {
        let (fallen, slowest) = (self.fallen.lock().unwrap(), *self.slowest.lock().unwrap());
        assert!(fallen.is_empty() || slowest >= settle, "{fallen:?}, within {slowest:?}");
        expect(fallen.is_empty(), || format!("{fallen:?}, within {slowest:?}"))
    }
}
