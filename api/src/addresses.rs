//! Remembers whose credential came last from which address.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use db_locks_service::{Kept, SeededMap, beyond_shares};

/// The largest number of addresses that are remembered.
const MOST: usize = 16_384;
/// What remains when there are as many. So addresses are forgotten many at a time, since each time all are read.
const KEPT: usize = MOST / 16 * 15;

/// The parties whose credentials were the last ones from addresses.
#[derive(Debug)]
pub(crate) struct Addresses<P>(Mutex<Known<P>>);

#[derive(Debug)]
struct Known<P> {
    by_address: SeededMap<IpAddr, Address<P>>,
    /// The number of credentials so far, for the order in which addresses were used.
    time: u64,
}

#[derive(Debug)]
struct Address<P> {
    party: P,
    used: u64,
}

impl<P> Default for Addresses<P> {
    fn default() -> Self {
        Self(Mutex::new(Known { by_address: SeededMap::default(), time: 0 }))
    }
}

impl<P: Clone + Eq + Hash> Addresses<P> {
    fn known(&self) -> MutexGuard<'_, Known<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The party whose credential was the last one from this address.
    pub(crate) fn get(&self, address: IpAddr) -> Option<P> {
        self.known().by_address.get(&address).map(|known| known.party.clone())
    }

    /// Remembers that the credential of a party came from this address.
    pub(crate) fn remember(&self, address: IpAddr, party: P) {
        let mut known = self.known();
        known.time += 1;
        let used = known.time;
        let addresses = &mut known.by_address;
        if addresses.len() >= MOST && !addresses.contains_key(&address) {
            let kept = addresses.iter().map(|(key, known)| Kept {
                key: *key,
                party: known.party.clone(),
                used: known.used,
                size: 1,
            });
            for address in beyond_shares(kept, KEPT) {
                addresses.remove(&address);
            }
        }
        addresses.insert(address, Address { party, used });
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
    fn a_tenant_with_very_many_addresses_lets_only_its_own_be_forgotten() {
        let addresses = Addresses::default();
        addresses.remember(address(0), "few");
        for number in 1..=3 * MOST {
            addresses.remember(address(number), "many");
            assert!(addresses.known().by_address.len() <= MOST);
        }
        assert_eq!(addresses.get(address(0)), Some("few"));
        assert_eq!(addresses.get(address(3 * MOST)), Some("many"));
    }
}
