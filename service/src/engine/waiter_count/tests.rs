use super::*;

fn limits(most: usize, most_per_tenant: usize) -> Arc<WaiterCount> {
    Arc::new(WaiterCount::new(most, most_per_tenant))
}

fn tenant(name: &(impl ToString + ?Sized)) -> Tenant {
    Tenant::trusted(&name.to_string())
}

/// Adds waiters of a tenant while there is room. Returns their number.
fn fill(waiting: &Arc<WaiterCount>, tenant: &Tenant) -> usize {
    let (mut reserved, _) = waiting.reserve(tenant, usize::MAX);
    let places = reserved.places();
    (0..places).for_each(|_| waiting.add(tenant, &mut reserved));
    places
}

#[test]
fn a_tenant_has_no_room_while_it_has_as_many_waiters_as_it_may_have() {
    let waiting = limits(3, 2);
    let (one, two) = (tenant("one"), tenant("two"));
    assert_eq!(fill(&waiting, &one), 2);
    assert_eq!(waiting.reserve(&one, 1).1, WaiterLimit::Tenant);
    assert_eq!(fill(&waiting, &two), 1);
    assert_eq!(waiting.reserve(&two, 1).1, WaiterLimit::Replica);
    waiting.remove(&one);
    assert_eq!(waiting.reserve(&one, 5).0.places(), 1);
    waiting.remove(&one);
    waiting.remove(&two);
    assert_eq!((waiting.count(), waiting.room_taken()), (0, (0, 0)));
}

#[test]
fn reserved_room_is_taken_until_it_is_given_back() {
    let waiting = limits(10, 10);
    let (one, two) = (tenant("one"), tenant("two"));
    let (mut reserved, _) = waiting.reserve(&one, 8);
    assert_eq!((waiting.reserve(&two, 8).0.places(), waiting.count()), (2, 0));
    reserved.keep(5);
    waiting.add(&one, &mut reserved);
    assert_eq!((reserved.places(), waiting.room_taken().0, waiting.count()), (4, 5, 1));
    let (more, _) = waiting.reserve(&one, 8);
    reserved.join(more);
    assert_eq!((reserved.places(), waiting.room_taken().0), (9, 10));
    drop(reserved);
    assert_eq!(waiting.room_taken(), (1, 1));
}

/// The place of a waiter may be taken over without room. It counts nevertheless.
#[test]
fn a_waiter_without_a_reservation_counts() {
    let waiting = limits(1, 1);
    let one = tenant("one");
    (0..2).for_each(|_| waiting.add(&one, &mut Reservation::default()));
    assert_eq!((waiting.count(), waiting.reserve(&one, 1).0.places()), (2, 0));
    (0..2).for_each(|_| waiting.remove(&one));
    assert_eq!(waiting.reserve(&one, 1).0.places(), 1);
}

#[test]
fn tenants_leave_waiters_to_others_however_many_each_of_them_may_have_alone() {
    for most in [500, 50_000] {
        let waiting = limits(most, most / 2);
        let of_one = fill(&waiting, &tenant("one"));
        let of_nine: usize = (0..9).map(|number| fill(&waiting, &tenant(&number))).sum();
        assert_eq!(of_one, most / 2);
        assert!(most - of_one - of_nine >= most / 20, "ten leave {}", most - of_one - of_nine);
        assert!(fill(&waiting, &tenant("other")) >= most / 200);
        (0..most / 4).for_each(|_| waiting.remove(&tenant("one")));
        assert!(fill(&waiting, &tenant("late")) >= most / 12, "room that is free again");
    }
}
