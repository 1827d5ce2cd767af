//! Whose clients connect from which addresses.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use db_locks_service::{Kept, beyond_shares};
use rustc_hash::FxHashMap;

use super::Party;

/// The largest number of addresses that are remembered.
const MOST: usize = 16_384;
/// What remains when there are as many. So addresses are forgotten many at a time, since each time all are read.
const KEPT: usize = MOST / 16 * 15;

/// The parties of connections without a first request.
///
/// Whose credential a client will send is not known yet. Its connection does not share the time with those that have shown that they have
/// none, and if the last credential from its address was a tenant's, only with others from addresses of that tenant.
#[derive(Debug, Default)]
pub(in crate::http) struct Newcomers(Mutex<Addresses>);

#[derive(Debug, Default)]
struct Addresses {
    by_address: FxHashMap<IpAddr, Address>,
    /// The number of credentials so far, for the order in which addresses were used.
    time: u64,
}

#[derive(Debug)]
struct Address {
    party: Party,
    used: u64,
}

impl Newcomers {
    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The party of a connection from this address.
    pub(in crate::http) fn party(&self, address: IpAddr) -> Party {
        self.addresses().by_address.get(&address).map_or(Party::UNKNOWN, |known| known.party).newcomers()
    }

    /// Remembers that the credential of a party came from this address.
    pub(super) fn remember(&self, address: IpAddr, party: Party) {
        let mut addresses = self.addresses();
        addresses.time += 1;
        let used = addresses.time;
        let known = &mut addresses.by_address;
        if known.len() >= MOST && !known.contains_key(&address) {
            let kept = known.iter().map(|(key, known)| Kept {
                key: *key,
                party: known.party,
                used: known.used,
                size: 1,
            });
            for address in beyond_shares(kept, KEPT) {
                known.remove(&address);
            }
        }
        known.insert(address, Address { party, used });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).expect("a small number")).into()
    }

    #[test]
    fn a_new_connection_belongs_to_the_newcomers_of_the_tenant_of_its_address() {
        let newcomers = Newcomers::default();
        let [one, other] = [1, 2].map(Party::for_test);
        newcomers.remember(address(1), one);
        newcomers.remember(address(2), other);
        let [of_one, of_other, unknown] = [1, 2, 3].map(|number| newcomers.party(address(number)));
        assert_eq!([of_one, of_other], [one, other].map(Party::newcomers));
        assert_eq!(unknown, Party::UNKNOWN.newcomers());
        // New connections take no time of a tenant's heartbeats, nor of other new ones.
        for (number, party) in [of_one, of_other, unknown].into_iter().enumerate() {
            assert!(party.are_newcomers() && ![one, other, Party::UNKNOWN].contains(&party));
            assert_eq!([of_one, of_other, unknown].iter().position(|other| *other == party), Some(number));
        }
        newcomers.remember(address(1), other);
        assert_eq!(newcomers.party(address(1)), of_other);
    }

    #[test]
    fn a_tenant_with_very_many_addresses_lets_only_its_own_be_forgotten() {
        let newcomers = Newcomers::default();
        let [many, few] = [1, 2].map(Party::for_test);
        newcomers.remember(address(0), few);
        for number in 1..=3 * MOST {
            newcomers.remember(address(number), many);
            assert!(newcomers.addresses().by_address.len() <= MOST);
        }
        assert_eq!(newcomers.party(address(0)), few.newcomers());
    }
}
