//! Times as text: RFC 3339, UTC, with exactly three digits for milliseconds.

use serde::{Serialize, Serializer};

use crate::domain::Timestamp;

const MS_A_DAY: i64 = 86_400_000;
/// The first and the last time in RFC 3339: 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z.
const FIRST_MS: i64 = -62_167_219_200_000;
const LAST_MS: i64 = 253_402_300_799_999;

/// A point of time as text, on the stack: `2026-11-23T05:06:53.381Z`.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339([u8; 24]);

impl Rfc3339 {
    /// The text; always ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<Timestamp> for Rfc3339 {
    fn from(at: Timestamp) -> Self {
        let ms = at.0.clamp(FIRST_MS, LAST_MS);
        // Both fit, and numbers of 32 bits are faster to divide.
        let small = |number: i64| i32::try_from(number).unwrap_or_default();
        let (year, month, day) = civil_date(small(ms.div_euclid(MS_A_DAY)));
        let in_day = small(ms.rem_euclid(MS_A_DAY));
        let (seconds, ms) = (in_day / 1_000, in_day % 1_000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, digits: [u8; 2]| text[at..at + 2].copy_from_slice(&digits);
        put(0, two_digits(year / 100));
        put(2, two_digits(year % 100));
        put(5, two_digits(month));
        put(8, two_digits(day));
        put(11, two_digits(seconds / 3_600));
        put(14, two_digits(seconds / 60 % 60));
        put(17, two_digits(seconds % 60));
        put(21, two_digits(ms % 100));
        text[20] = two_digits(ms / 100)[1];
        Self(text)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The two digits of a number from 0 to 99, from a table: each answer has up to 32 of them.
fn two_digits(number: i32) -> [u8; 2] {
    const TABLE: [[u8; 2]; 100] = {
        let mut table = [*b"00"; 100];
        let mut number = 0_u8;
        while number < 100 {
            table[number as usize] = [b'0' + number / 10, b'0' + number % 10];
            number += 1;
        }
        table
    };
    usize::try_from(number).ok().and_then(|number| TABLE.get(number)).copied().unwrap_or(*b"00")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// The year begins in March here, so that the leap day is its last day. Then the days before a month are a linear
/// function of the month, and eras of 400 years repeat exactly.
const fn civil_date(day: i32) -> (i32, i32, i32) {
    const DAYS_AN_ERA: i32 = 146_097;
    // Days since -0400-03-01, so that no number is negative.
    let day = day + 719_468 + DAYS_AN_ERA;
    let era = day / DAYS_AN_ERA - 1;
    let of_era = day % DAYS_AN_ERA;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_month)
}

/// Reads a time in RFC 3339, with any offset. A leap second counts as the second before it.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i32> {
        let digits = bytes.get(from..to)?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0')))
    };
    let has = |at: usize, marks: &[u8]| bytes.get(at).is_some_and(|byte| marks.contains(byte));
    let separated = has(4, b"-") && has(7, b"-") && has(10, b"Tt ") && has(13, b":") && has(16, b":");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let mut rest = 19;
    let mut ms = 0;
    if has(rest, b".") {
        let digits = bytes[rest + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        ms = number(rest + 1, rest + 1 + digits.min(3))? * [100, 10, 1][digits.min(3) - 1];
        rest += 1 + digits;
    }
    let offset_minutes = match &bytes[rest..] {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(rest + 1, rest + 3)?, number(rest + 4, rest + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    if !separated || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = day_number(year, month, day);
    // Refuses days that do not exist, such as the 30th of February.
    if civil_date(days) != (year, month, day) {
        return None;
    }
    let seconds = ((hour * 60 + minute) - offset_minutes) * 60 + second.min(59);
    Some(Timestamp(i64::from(days) * MS_A_DAY + i64::from(seconds) * 1_000 + i64::from(ms)))
}

/// The number of days since 1970-01-01 of a day in the proleptic Gregorian calendar: the reverse of [`civil_date`].
const fn day_number(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ms: i64) -> String {
        Rfc3339::from(Timestamp(ms)).as_str().to_owned()
    }

    #[test]
    fn known_times_are_written_exactly() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_795_410_413_381), "2026-11-23T05:06:53.381Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(text(1_735_689_599_999), "2024-12-31T23:59:59.999Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_out_of_range_are_cut() {
        assert_eq!(text(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_are_read_with_any_offset() {
        let read = |text: &str| parse_rfc3339(text).map(|time| time.0);
        for text in [
            "2026-11-23T05:06:53.381Z",
            "2026-11-23t05:06:53.381999z",
            "2026-11-23T07:06:53.381+02:00",
            "2026-11-22 23:36:53.381-05:30",
        ] {
            assert_eq!(read(text), Some(1_795_410_413_381), "{text}");
        }
        assert_eq!(read("2024-12-31T23:59:60Z"), Some(1_735_689_599_000));
        assert_eq!(read("2026-11-23T05:06:53.4Z"), Some(1_795_410_413_400));
        assert_eq!(read("1969-12-31T23:59:59.999Z"), Some(-1));
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T05:06:53",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T05:06:53.Z",
            "2026-11-23T05:06:53+2:00",
            "2026-11-23T05:06:53Zx",
            "2026-11-00T00:00:00Z",
            "２026-11-23T05:06:53Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = civil_date(-1);
        for number in 0..146_097 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > days {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
            assert_eq!(civil_date(number), (year, month, day));
            assert_eq!(day_number(year, month, day), number);
        }
    }
}
