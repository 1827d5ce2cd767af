//! Waiting for conditions, and reading times.

use std::time::{Duration, Instant};

/// The deadline of events that should happen at once. It is long, because only a failure waits for it.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// A lease that ends at once, and whose acquire is always answered with the grant. A lease of 100 ms or more may end
/// before its answer on a busy machine. The answer is then 503.
pub(crate) const SHORT_MS: u64 = 50;

/// Calls `probe` until it finds something, and fails after `within`.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Milliseconds since 1970 of a time as the API writes it; fails for any other form.
#[track_caller]
pub(crate) fn epoch_ms(time: &serde_json::Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("not a time: {time}"));
    let shape = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "RFC 3339, UTC, with milliseconds: {text}");
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let days = days_since_1970(number(0..4), number(5..7), number(8..10));
    let seconds = (days * 24 + number(11..13)) * 3600 + number(14..16) * 60 + number(17..19);
    seconds * 1000 + number(20..23)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469
}
