use super::*;
use crate::domain::{Key, Tenant};

fn id(number: usize) -> KeyId {
    let (tenant, key) = (Tenant::new("default").unwrap(), Key::new(&number.to_string()).unwrap());
    KeyId { tenant, key }
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
