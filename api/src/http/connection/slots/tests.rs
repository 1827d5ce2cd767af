use std::net::Ipv4Addr;

use super::*;

/// The slots of most tests, and how many of them clients without a credential get together.
const SLOTS: usize = 1_000;
const OF_ALL_UNKNOWN: usize = 750;

fn from(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number).into()
}

/// Takes as many slots as this client gets from others that keep theirs.
fn fill(slots: &Slots, party: Party, peer: u32) -> Vec<Arc<Slot>> {
    std::iter::from_fn(|| slots.take(party, from(peer))).collect()
}

/// Clients without a credential, whose connections end when they have lost their slots.
struct Clients {
    slots: Slots,
    connections: Vec<(u32, Arc<Slot>)>,
}

impl Clients {
    fn of(slots: usize) -> Self {
        Self { slots: Slots::new(slots, true), connections: Vec::new() }
    }

    /// Connects once from this address. Returns whether it got a slot.
    fn connect(&mut self, peer: u32) -> bool {
        let slot = self.slots.take(Party::newcomers_for_test(), from(peer));
        let is_admitted = slot.is_some();
        self.connections.extend(slot.map(|slot| (peer, slot)));
        self.connections.retain(|(_, slot)| !slot.place.is_displaced());
        is_admitted
    }

    /// Connects from this address until it gets no slot.
    fn fill(&mut self, peer: u32) {
        while self.connect(peer) {}
    }

    /// The number of connections from this address.
    fn count(&self, peer: u32) -> usize {
        self.connections.iter().filter(|(from, _)| *from == peer).count()
    }

    /// Shows the credential of a tenant on all connections.
    fn show_credential(&self, tenant: u64) {
        self.connections.iter().for_each(|(_, slot)| slot.set_tenant(Party::for_test(tenant)));
    }
}

#[test]
fn clients_without_a_credential_leave_slots_to_each_other_and_to_tenants() {
    let mut flood = Clients::of(SLOTS);
    let tenant = Party::for_test(1).newcomers();
    flood.fill(1);
    assert_eq!(flood.connections.len(), 375);
    (2..1_000).for_each(|peer| flood.fill(peer));
    assert_eq!(flood.connections.len(), OF_ALL_UNKNOWN);
    let slots = flood.slots.clone();
    let of_tenant = fill(&slots, tenant, 1_000);
    assert_eq!(of_tenant.len(), 125 + MOST_DISPLACED, "from one address");
    let of_others: Vec<_> = (1_001..2_000).flat_map(|peer| fill(&slots, tenant, peer)).collect();
    assert_eq!(of_tenant.len() + of_others.len(), 234 + MOST_DISPLACED);
    assert!(slots.take(Party::for_test(2).newcomers(), from(2_000)).is_some(), "another tenant");
    drop((flood, of_tenant, of_others));
    assert_eq!(slots.free(), SLOTS);
}

#[test]
fn a_newcomer_gets_the_slot_of_one_of_a_dozen_networks_that_have_all_of_them() {
    let mut clients = Clients::of(SLOTS);
    (1..=12).for_each(|peer| clients.fill(peer));
    assert_eq!(clients.connections.len(), OF_ALL_UNKNOWN);
    assert!(clients.connect(13));
    assert_eq!((clients.connections.len(), clients.count(13)), (OF_ALL_UNKNOWN, 1));
    clients.fill(13);
    let counts: Vec<_> = (1..=13).map(|peer| clients.count(peer)).collect();
    assert!(counts.iter().all(|count| [57, 58].contains(count)), "equal shares: {counts:?}");
    let slots = clients.slots.clone();
    drop(clients);
    assert_eq!(slots.free(), SLOTS);
}

#[test]
fn networks_with_equal_shares_take_nothing_from_each_other() {
    let mut clients = Clients::of(SLOTS);
    (1..=12).for_each(|peer| clients.fill(peer));
    let before: Vec<_> = clients.connections.iter().map(|(_, slot)| Arc::downgrade(slot)).collect();
    assert!(!(1..=12).any(|peer| clients.connect(peer)));
    assert!(before.iter().all(|slot| slot.strong_count() == 1), "all of them are as they were");
}

/// Clients of IPv6 have as many addresses as they like.
#[test]
fn a_network_of_ipv6_is_one_newcomer() {
    let slots = Slots::new(8, true);
    let take = |peer: &str| slots.take(Party::newcomers_for_test(), peer.parse().expect("an address"));
    let addresses = (0..8).map(|number| format!("2001:db8::{number}:1"));
    let connections: Vec<_> = addresses.filter_map(|address| take(&address)).collect();
    assert_eq!(connections.len(), 3);
    assert!(take("2001:db8:0:ff::1").is_none(), "the same 56 bits");
    let others: Vec<_> =
        [take("2001:db8:0:100::1"), take("2001:db8:0:100::2")].into_iter().flatten().collect();
    assert_eq!(others.len(), 2);
    assert!(connections[2].place.is_displaced());
}

#[test]
fn connections_that_lose_their_slots_and_have_not_ended_are_few() {
    let slots = Slots::new(SLOTS, true);
    let unknown = Party::newcomers_for_test();
    let first = fill(&slots, unknown, 1);
    let second = fill(&slots, unknown, 2);
    let displaced = first.iter().filter(|slot| slot.place.is_displaced()).count();
    assert_eq!((displaced, second.len()), (MOST_DISPLACED, 187 + MOST_DISPLACED));
    drop(first);
    assert!(slots.take(unknown, from(3)).is_some());
    assert_eq!(lock(&slots.unknown).displaced, 0);
}

#[test]
fn a_connection_with_a_credential_counts_for_its_tenant() {
    let mut clients = Clients::of(8);
    clients.fill(1);
    assert_eq!(clients.connections.len(), 3);
    clients.show_credential(1);
    clients.fill(1);
    assert_eq!(clients.connections.len(), 5);
}

#[test]
fn a_connection_with_a_credential_is_not_ended_for_a_newcomer() {
    let mut clients = Clients::of(SLOTS);
    clients.fill(1);
    clients.show_credential(1);
    let of_tenant: Vec<_> = clients.connections.iter().map(|(_, slot)| Arc::clone(slot)).collect();
    for peer in 2..100 {
        clients.fill(peer);
        assert!(of_tenant.iter().all(|slot| !slot.place.is_displaced()));
    }
}

/// Those beyond its share count as without a credential.
#[test]
fn a_tenant_with_more_connections_than_its_share_keeps_no_newcomer_out() {
    let mut clients = Clients::of(SLOTS);
    for peer in 1..20 {
        for _ in 0..10 {
            clients.fill(peer);
            clients.show_credential(1);
        }
    }
    let beyond_its_share = lock(&clients.slots.unknown).connections.size(Source::Tenant(Party::for_test(1)));
    assert!(beyond_its_share > 0);
    assert!((100..110).all(|peer| clients.connect(peer)));
}

#[test]
fn connections_that_show_a_credential_later_leave_slots_to_others() {
    let mut clients = Clients::of(SLOTS);
    for round in 0..10 {
        (0..100).for_each(|peer| clients.fill(100 * round + peer));
        clients.show_credential(1);
    }
    let (slots, taken) = (&clients.slots, clients.connections.len());
    let other = (2_000..3_000).flat_map(|peer| fill(slots, Party::for_test(2).newcomers(), peer)).count();
    assert!(taken < 970 && other > 20, "{taken}, {other}");
}

/// Most installations have one main tenant.
#[test]
fn clients_without_a_credential_keep_no_client_of_a_large_tenant_from_connecting() {
    let slots = Slots::new(2_000, true);
    let (unknown, tenant) = (Party::newcomers_for_test(), Party::for_test(1));
    let kept: Vec<_> = (0..1_300).filter_map(|peer| slots.take(tenant.newcomers(), from(peer))).collect();
    for slot in &kept {
        slot.set_tenant(tenant);
    }
    let flood: Vec<_> = (5_000..5_012).flat_map(|peer| fill(&slots, unknown, peer)).collect();
    assert!(kept.len() == 1_300 && flood.len() > 500, "{}, {}", kept.len(), flood.len());
    assert!(slots.take(tenant.newcomers(), from(1)).is_some());
    let more: Vec<_> = (0..2_000).filter_map(|peer| slots.take(tenant.newcomers(), from(peer))).collect();
    assert!(slots.free() > 50, "{} more, it leaves some to other tenants", more.len());
    assert!(slots.take(Party::for_test(2).newcomers(), from(6_000)).is_some());
}

/// One hostile tenant, also with very many networks without a credential, must not keep clients out because their addresses are known.
#[test]
fn a_known_address_is_not_worse_off_than_a_new_one() {
    let mut hostile = Clients::of(2_000);
    let (slots, tenant) = (hostile.slots.clone(), Party::for_test(2));
    let kept: Vec<_> =
        (0..1_000).filter_map(|number| slots.take(tenant.newcomers(), from(number % 20))).collect();
    for slot in &kept {
        slot.set_tenant(tenant);
    }
    for peer in 6_000..6_450 {
        hostile.fill(peer);
        hostile.show_credential(1);
    }
    let free = slots.free();
    assert!(free < kept.len() / 7, "{free} free are too few for one more of so large a tenant");
    assert!(slots.take(Party::newcomers_for_test(), from(2_000)).is_some());
    assert!(slots.take(tenant.newcomers(), from(1)).is_some());
    for peer in 10_000..10_400 {
        hostile.connect(peer);
    }
    let more: Vec<_> = (0..5).filter_map(|_| slots.take(tenant.newcomers(), from(1))).collect();
    assert_eq!(more.len(), 5, "beside very many networks");
}

#[test]
fn without_credentials_a_client_may_take_all_slots() {
    let slots = Slots::new(8, false);
    assert_eq!(fill(&slots, Party::newcomers_for_test(), 1).len(), 8);
}
