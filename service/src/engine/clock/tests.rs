//! Tests of the bounds against a clock that is known exactly.

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_bounds_enclose_the_time_however_long_the_answer_took() {
    let clock = DatabaseClock::default();
    let sent = Instant::now();
    let received = sent + ms(40);
    clock.observe(Timestamp(1_000), sent, received);
    let now = clock.now(received + ms(10));
    assert_eq!(now, Some(Now { at_least: Timestamp(1_010), at_most: Timestamp(1_051) }));
}

#[test]
fn a_reading_older_than_a_second_is_not_decided_on() {
    let clock = DatabaseClock::default();
    let sent = Instant::now();
    clock.observe(Timestamp(1_000), sent, sent);
    assert!(clock.now(sent + ms(1_000)).is_some());
    assert!(clock.now(sent + ms(1_001)).is_none());
    assert!(clock.latest(sent + ms(1_001)).is_none());
}

#[test]
fn an_event_is_not_looked_for_before_the_database_has_reached_it() {
    let clock = DatabaseClock::default();
    let sent = Instant::now();
    let received = sent + ms(5);
    clock.observe(Timestamp(1_000), sent, received);
    assert_eq!(clock.instant_of(Timestamp(1_500)), Some(received + ms(500)));
}

/// Two commits overtake each other: the first one waited for a lock, so its answer comes later and its reading is
/// older.
#[test]
fn stalled_commits_that_overtake_each_other_are_no_step() {
    let clock = DatabaseClock::default();
    let start = Instant::now();
    assert_eq!(clock.observe(Timestamp(5_000), start, start + ms(5_001)), None);
    assert_eq!(clock.observe(Timestamp(110), start + ms(100), start + ms(5_100)), None);
    assert_eq!(clock.observe(Timestamp(5_200), start + ms(5_199), start + ms(5_201)), None);
}

/// Guards against leases that are too long by the duration of a slow commit.
#[test]
fn a_slow_answer_does_not_widen_the_bounds() {
    let clock = DatabaseClock::default();
    let start = Instant::now();
    clock.observe(Timestamp(1_000), start, start + ms(1));
    clock.observe(Timestamp(1_100), start + ms(100), start + ms(800));
    let now = clock.now(start + ms(900));
    assert_eq!(now, Some(Now { at_least: Timestamp(1_899), at_most: Timestamp(1_901) }));
    // One that took longer than a reading lasts is not decided on at all.
    clock.observe(Timestamp(1_200), start + ms(200), start + ms(4_200));
    assert_eq!(clock.now(start + ms(4_300)), None);
    assert_eq!(clock.latest(start + ms(4_300)).map(|now| now.at_most), Some(Timestamp(5_301)));
}

/// Guards invariant 8: the first answer after a step is believed, be it forward or back.
#[test]
fn a_step_is_reported_and_believed() {
    for step in [10_000, -10_000] {
        let clock = DatabaseClock::default();
        let start = Instant::now();
        clock.observe(Timestamp(50_000), start, start + ms(1));
        let after = Timestamp(50_100 + step);
        let reported = clock.observe(after, start + ms(100), start + ms(101));
        assert!(reported.is_some_and(|reported| (reported - step).abs() <= 5), "{reported:?}");
        let now = clock.now(start + ms(101)).unwrap();
        assert!(now.at_least >= after && now.at_most <= after.plus_ms(3), "{now:?}");
        assert_eq!(clock.observe(after.plus_ms(100), start + ms(200), start + ms(201)), None);
    }
}

/// Two clocks that drift at the maximum rate are not reported as a step after an hour without an answer.
#[test]
fn drift_is_no_step() {
    let clock = DatabaseClock::default();
    let start = Instant::now();
    clock.observe(Timestamp(0), start, start);
    let hour = ms(3_600_000);
    assert_eq!(clock.observe(Timestamp(3_600_000 + 1_800), start + hour, start + hour), None);
}

/// A question to the database: the pause before it is sent, the duration until its answer, and the part of that
/// duration after which the database's clock is read.
type Question = (u64, u64, u64);

/// Generates mostly fast questions and some slow ones, several under way at a time.
fn questions() -> impl Strategy<Value = Vec<Question>> {
    let takes = prop_oneof![8 => 0_u64..5_000, 2 => 0_u64..900_000, 1 => 0_u64..6_000_000];
    prop::collection::vec((0_u64..200_000, takes, 0_u64..=1_000), 1..60)
}

/// The readings in the order in which they arrive. The database's clock shows `start` + 7 s. From 3 s on it shows
/// `step_ms` more.
fn readings(start: Instant, questions: &[Question], step_ms: i64) -> Vec<Reading> {
    let mut sent_us = 0;
    let mut readings: Vec<_> = questions
        .iter()
        .map(|(pause_us, takes_us, part)| {
            sent_us += pause_us;
            let at = |us: u64| start + Duration::from_micros(us);
            let read_us = sent_us + takes_us * part / 1_000;
            let db_time = Timestamp(true_us(start, at(read_us), step_ms).div_euclid(1_000));
            Reading { db_time, sent: at(sent_us), received: at(sent_us + takes_us) }
        })
        .collect();
    readings.sort_by_key(|reading| reading.received);
    readings
}

/// The time that the database's clock shows, in microseconds.
fn true_us(start: Instant, at: Instant, step_ms: i64) -> i64 {
    let passed = signed_us(at, start);
    let stepped = if passed >= 3_000_000 { step_ms * 1_000 } else { 0 };
    7_000_000 + passed + stepped
}

fn encloses(now: Now, us: i64) -> bool {
    now.at_least.0 * 1_000 <= us && us <= now.at_most.0 * 1_000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guards invariant 8.
    #[test]
    fn without_a_step_the_bounds_are_true_and_nothing_is_reported(questions in questions()) {
        let (clock, start) = (DatabaseClock::default(), Instant::now());
        for reading in readings(start, &questions, 0) {
            let Reading { db_time, sent, received } = reading;
            prop_assert_eq!(clock.observe(db_time, sent, received), None);
            for later in [0, 1, 20, 700, 3_000] {
                let at = received + ms(later);
                let us = true_us(start, at, 0);
                prop_assert!(clock.now(at).is_none_or(|now| encloses(now, us)));
                prop_assert!(clock.latest(at).map_or(later > 1_000, |now| encloses(now, us)));
                let reckoned = clock.extrapolate(db_time, sent, at);
                prop_assert!(encloses(reckoned, us), "{:?} {}", reckoned, us);
            }
        }
    }

    /// An answer does not widen the bounds that a better one has set less than a second ago.
    #[test]
    fn the_bounds_are_never_wider_than_the_last_readings(questions in questions()) {
        let (clock, start) = (DatabaseClock::default(), Instant::now());
        let mut last = None;
        for reading in readings(start, &questions, 0) {
            let width = |reading: Reading| signed_us(reading.received, reading.sent);
            clock.observe(reading.db_time, reading.sent, reading.received);
            let at = reading.received;
            let fresh = [last, Some(reading)].into_iter().flatten().filter(|one: &Reading| one.is_fresh(at));
            if let (Some(now), Some(narrowest)) = (clock.now(at), fresh.map(width).min()) {
                let most_ms = narrowest / 1_000 + 3;
                prop_assert!(now.at_most.ms_since(now.at_least) <= most_ms, "{:?} {}", now, most_ms);
            }
            last = Some(reading);
        }
    }

    /// Guards invariant 8: a question that is sent after a step, when no earlier one is under way, shows the true time.
    /// The bounds always enclose the last answer.
    #[test]
    fn after_a_step_the_next_answer_is_believed(questions in questions(), step_ms in -20_000_i64..20_000) {
        let (clock, start) = (DatabaseClock::default(), Instant::now());
        let stepped = start + ms(3_000);
        for reading in readings(start, &questions, step_ms) {
            clock.observe(reading.db_time, reading.sent, reading.received);
            let asked_later = reading.sent >= stepped;
            let at = reading.received;
            let us = true_us(start, at, step_ms);
            let width_us = signed_us(reading.received, reading.sent);
            let latest = clock.latest(at).unwrap();
            if asked_later {
                let most_us = latest.at_most.0 * 1_000;
                prop_assert!(most_us + width_us + 1_000 >= us, "{:?} {}", latest, us);
            }
        }
    }
}
