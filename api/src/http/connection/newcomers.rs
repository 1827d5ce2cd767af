//! Whose clients connect from which addresses.

use std::net::IpAddr;

use db_locks_service::{Hashing, access::Identity};

use super::Party;
use crate::addresses::Addresses;

/// The parties of connections without a first request.
///
/// Whose credential a client will send is not known yet. Its connection does not share the time with those that have shown that they have
/// none, and if the last credential from its address was a tenant's, only with others from addresses of that tenant.
#[derive(Debug, Default)]
pub(in crate::http) struct Newcomers {
    /// For tenants and addresses. So nobody can choose one that counts as another's.
    hashing: Hashing,
    addresses: Addresses<Party>,
}

impl Newcomers {
    /// The party of a bearer.
    pub(super) fn party_of(&self, bearer: &Identity) -> Party {
        Party::of(bearer, &self.hashing)
    }

    /// The party of clients without a valid credential from this address.
    pub(super) fn unknown(&self, address: IpAddr) -> Party {
        Party::unknown(address, &self.hashing)
    }

    /// The tenant whose credential was the last one from this address.
    pub(super) fn tenant(&self, address: IpAddr) -> Option<Party> {
        self.addresses.get(address)
    }

    /// Remembers that the credential of a party came from this address.
    pub(super) fn remember(&self, address: IpAddr, party: Party) {
        self.addresses.remember(address, party);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, hash::BuildHasher, net::Ipv4Addr, sync::Arc};

    use db_locks_service::access::{Role, credential};

    use super::{super::LastParty, *};

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).expect("a small number")).into()
    }

    #[test]
    fn a_new_connection_belongs_to_the_newcomers_of_the_tenant_of_its_address() {
        let newcomers = Arc::<Newcomers>::default();
        let of_newcomer = |number| LastParty::of_newcomer(address(number), &newcomers).get();
        let [one, other] = [1, 2].map(Party::for_test);
        newcomers.remember(address(1), one);
        newcomers.remember(address(2), other);
        assert_eq!([1, 2].map(of_newcomer), [one, other].map(Party::newcomers));
        assert_eq!(of_newcomer(3), newcomers.unknown(address(3)).newcomers());
        newcomers.remember(address(1), other);
        assert_eq!(of_newcomer(1), other.newcomers());
    }

    /// Guards all maps of the service, too: clients choose keys and names.
    #[test]
    fn hashes_depend_on_a_secret() {
        let [one, other] = [(); 2].map(|()| Hashing::default().hash_one("a"));
        assert_ne!(one, other);
    }

    /// New connections must take no time of a tenant's heartbeats.
    #[test]
    fn newcomers_are_parties_of_their_own_and_those_without_a_credential_are_two_groups() {
        let newcomers = Newcomers::default();
        let unknown: BTreeSet<_> = (0..10_000).map(|number| newcomers.unknown(address(number))).collect();
        assert_eq!(unknown.len(), 64);
        let (known, new) = (Party::for_test(1), |party: Party| party.newcomers());
        assert_eq!([known, new(known)].map(Party::group), [None; 2]);
        assert!(unknown.iter().all(|party| [*party, new(*party)].map(Party::group) == [Some(0), Some(1)]));
        let parties: BTreeSet<_> = unknown.iter().flat_map(|party| [*party, new(*party)]).collect();
        assert_eq!(parties.len(), 2 * unknown.len());
        assert!([known, new(known)].iter().all(|party| !parties.contains(party)));
        assert!(!known.are_newcomers() && new(known).are_newcomers());
    }

    /// An issuer has as many subjects as it likes.
    #[test]
    fn jwts_for_all_tenants_are_one_party_and_tokens_for_all_tenants_one_each() {
        let newcomers = Newcomers::default();
        let party = |who: &str| {
            newcomers.party_of(&Identity {
                credential: credential(who),
                who: Arc::from(who),
                tenant: None,
                role: Role::Read,
                keys: None,
                owner: None,
                expires_at: None,
            })
        };
        assert_eq!(party("jwt:ci:a"), party("jwt:ci:b"));
        assert_ne!(party("token:a"), party("token:b"));
        assert_ne!(party("token:a"), party("jwt:ci:a"));
    }
}
