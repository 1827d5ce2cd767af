use super::*;
use crate::domain::Key;

fn id(number: usize) -> KeyId {
    id_of("default", number)
}

fn id_of(tenant: &str, number: usize) -> KeyId {
    KeyId { tenant: Tenant::new(tenant).unwrap(), key: Key::new(&number.to_string()).unwrap() }
}

/// Guards against a database kept busy by tries for keys that all wait for the same transaction.
#[test]
fn many_busy_keys_together_are_not_tried_more_often_than_few() {
    for (busy, most_in_a_minute) in [(10, 10 * 4 * 60), (400, 6_000)] {
        let mut keys = BusyGuards::new(Duration::ZERO, Arc::default());
        let begin = Instant::now();
        for number in 0..busy {
            keys.note_busy(&id(number), GuardBusy::default(), begin);
        }
        let mut tries = 0;
        for second in 1..=120 {
            let now = begin + Duration::from_secs(second);
            for millisecond in 0..1_000 {
                let now = now + Duration::from_millis(millisecond);
                while let Some(due) = keys.pop_due(now) {
                    tries += usize::from(second > 60);
                    keys.note_busy(&due.id, GuardBusy::default(), now);
                }
            }
        }
        let least = most_in_a_minute * 9 / 10;
        assert!((least..=most_in_a_minute + busy).contains(&tries), "{busy}: {tries}");
    }
}

/// One tenant may keep thousands of guard rows locked by one transaction.
#[test]
fn busy_keys_of_a_tenant_delay_no_hand_over_of_another() {
    let mut keys = BusyGuards::new(Duration::ZERO, Arc::default());
    let begin = Instant::now();
    for number in 0..2_000 {
        keys.note_busy(&id(number), GuardBusy::default(), begin);
    }
    let other = id_of("other", 1);
    keys.note_busy(&other, GuardBusy::default(), begin);
    let (mut last, mut longest) = (begin, Duration::ZERO);
    for millisecond in 1..30_000 {
        let now = begin + Duration::from_millis(millisecond);
        while let Some(due) = keys.pop_due(now) {
            if due.id == other {
                longest = longest.max(now - std::mem::replace(&mut last, now));
            }
            keys.note_busy(&due.id, GuardBusy::default(), now);
        }
    }
    assert_eq!(longest, LONGEST_PAUSE);
    (0..2_000).for_each(|number| drop(keys.note_free(&id(number))));
    keys.note_free(&other);
    assert!(keys.of_tenant.is_empty() && keys.count.load(Ordering::Relaxed) == 0);
}
