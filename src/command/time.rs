//! Lengths of time, as arguments of the command line.

use std::{str::FromStr, time::Duration};

/// A length of time: a number with `ms`, `s`, `m` or `h`; without a unit it is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(super) Duration);

impl Time {
    /// In milliseconds.
    pub(super) fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a number with ms, s, m or h is expected, such as 30s";
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(EXPECTED),
        };
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        // The limits of the service are far below.
        let millis =
            number.checked_mul(unit_ms).filter(|ms| i64::try_from(*ms).is_ok()).ok_or("it is too long")?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// A lease that is not zero: the service would read zero as the default.
pub(super) fn read_lease(text: &str) -> Result<Time, &'static str> {
    let time: Time = text.parse()?;
    if time.0.is_zero() { Err("a lease lasts for at least 1ms") } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let millis = |text: &str| text.parse::<Time>().map(Time::millis).ok();
        let good =
            [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000), ("7", 7_000), ("0", 0)];
        for (text, expected) in good {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999", "9999999999999999h"] {
            assert_eq!(millis(text), None, "{text}");
        }
    }
}
