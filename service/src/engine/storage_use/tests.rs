//! Tests of the count of what tenants store.

use super::*;

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_tenant_is_over_from_its_limit_on_and_until_less_is_counted() {
    let storage = StorageUse::new(1_000);
    let (one, two) = (Tenant::trusted("one"), Tenant::trusted("two"));
    let now = Instant::now();
    storage.add(&one, 60);
    assert!(storage.next(now).is_none() && storage.over().is_empty(), "far below it nothing is counted");
    storage.add(&one, 10);
    assert_eq!(storage.next(now), Some((one.clone(), 70)));
    storage.add(&one, 5);
    storage.note_count(&one, 990, 70, SHORT, now);
    assert!(storage.over().is_empty());
    storage.add(&one, 5);
    assert!(storage.over().contains(&one) && !storage.over().contains(&two));
    storage.note_count(&one, 999, 10, SHORT, now);
    assert!(storage.over().is_empty(), "something was deleted");
}

/// Guards that tenants which have filled their storage, and whose counts take long, refuse nothing to a tenant that
/// deletes what it stores.
#[test]
fn tenants_at_their_limit_delay_no_count_of_another() {
    let storage = StorageUse::new(1_000);
    let busy = Tenant::trusted("busy");
    let mut now = Instant::now();
    let long = Duration::from_millis(500);
    for number in 0..10 {
        storage.note_count(&Tenant::trusted(&number.to_string()), 1_000, 0, long, now);
    }
    let (mut counts, end) = ([0; 2], now + Duration::from_mins(5));
    while now < end {
        let mut took = Duration::from_millis(100);
        if let Some((tenant, added)) = storage.next(now) {
            let is_busy = tenant == busy;
            counts[usize::from(is_busy)] += 1;
            let counted;
            (counted, took) = if is_busy { (0, SHORT) } else { (1_000, long) };
            storage.note_count(&tenant, counted, added, took, now + took);
            took *= 2;
        }
        now += took;
        storage.add(&busy, u64::try_from(took.as_millis()).unwrap_or_default() / 10);
        assert!(!storage.over().contains(&busy), "{counts:?}");
    }
    assert!(counts[0] >= 10 * 5 * 60 / 30, "those at the limit are counted each 20 s or so: {counts:?}");
}

/// Guards that a tenant with more rows than can be counted does not keep the database busy with tries.
#[test]
fn after_each_failure_a_tenant_is_counted_later_and_others_as_before() {
    let storage = StorageUse::new(1_000);
    let (large, other) = (Tenant::trusted("large"), Tenant::trusted("other"));
    let now = Instant::now();
    let mut pauses = Vec::new();
    storage.add(&large, 1_000);
    for _ in 0..6 {
        storage.note_failure(&large, Duration::from_secs(5), now);
        pauses.extend(storage.next_at().map(|at| (at - now).as_secs()));
    }
    assert_eq!(pauses, [200, 400, 800, 1_600, 1_600, 1_600]);
    storage.add(&other, 100);
    assert_eq!(storage.next(now), Some((other, 100)));
    storage.note_count(&large, 0, 1_000, SHORT, now);
    storage.add(&large, 100);
    assert_eq!(storage.next_at(), Some(now + PAUSE), "it was counted at last");
}

/// Guards that a tenant is not refused for as long as another one cannot be counted: it may have reached its limit during its pause.
#[test]
fn who_reaches_the_limit_during_a_pause_is_found_although_the_next_count_is_far_away() {
    let storage = StorageUse::new(1_000);
    let (large, other) = (Tenant::trusted("large"), Tenant::trusted("other"));
    let now = Instant::now();
    storage.add(&large, 1_000);
    (0..5).for_each(|_| storage.note_failure(&large, Duration::from_secs(5), now));
    storage.note_count(&other, 990, 0, SHORT, now);
    let look = storage.next_look(now);
    storage.add(&other, 10);
    assert!(storage.over().contains(&other) && look <= now + RECOUNT_AFTER);
    assert_eq!(storage.next(look), Some((other, 10)));
}

#[test]
fn of_too_many_tenants_those_at_their_limit_are_remembered() {
    let storage = StorageUse::new(1_000);
    let over = Tenant::trusted("over");
    storage.add(&over, 1_000);
    for number in 0..=MOST_TENANTS {
        storage.add(&Tenant::trusted(&number.to_string()), 1);
    }
    assert!(storage.over().contains(&over));
    assert!(storage.tenants().uses.len() <= MOST_TENANTS);
}
