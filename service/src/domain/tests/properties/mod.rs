//! Random commands and time steps: the rules against the naive model, on whole and on bounded views.

mod agreement;
mod views;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::{agreement::agree, views::views_agree};
use super::{
    fixtures::{ask, beat, data, release, v},
    model::Ask,
};
use crate::domain::{
    Acquire, Command, Heartbeat, Kind, LeaveReason, Owner, RequestFlags, RequestId, Version,
};

/// The steps of a case and the number of cases: 120,000 steps over the two properties.
const STEPS: usize = 300;
const CASES: u32 = 200;

fn asks() -> impl Strategy<Value = Ask> {
    let version = 1_u16..14;
    prop_oneof![
        8 => (version.clone(), prop::bool::weighted(0.05), 1_i64..400, any::<bool>()).prop_map(
            |(version, stranger, lease, waits)| {
                let owner = if stranger { 99 } else { version };
                Ask::Acquire { version, owner, chosen: true, lease, waits }
            }
        ),
        2 => (version.clone(), prop::option::of(1_i64..400))
            .prop_map(|(version, lease)| Ask::Heartbeat { version, lease }),
        5 => version.clone().prop_map(|version| Ask::Release { version }),
        2 => version.clone().prop_map(|version| Ask::TimeOut { version }),
        1 => (1_usize..5).prop_map(Ask::Size),
        1 => version.prop_map(|version| Ask::Delete { version }),
        3 => Just(Ask::ServeQueue),
        5 => (0_i64..150).prop_map(Ask::Pass),
    ]
}

/// The version that each number uses at present. A number changes its version now and then, so that not every acquire
/// is a repeat.
#[derive(Default)]
struct Numbers {
    /// The number that asks for guarded grants.
    guarded: Option<u16>,
    rounds: BTreeMap<u16, u16>,
    next_request_id: i64,
    request_ids: BTreeMap<Version, RequestId>,
}

impl Numbers {
    fn version(&self, number: u16) -> u16 {
        number + 20 * self.rounds.get(&number).copied().unwrap_or(0)
    }
}

fn command(ask_for: &Ask, kind: Kind, numbers: &mut Numbers) -> Option<Command> {
    Some(match *ask_for {
        Ask::Acquire { version, owner, chosen, lease, waits } => {
            numbers.next_request_id += 1;
            let number = numbers.version(version);
            let flags = RequestFlags { reentrant: false, guarded: numbers.guarded == Some(version) };
            let request_id = RequestId::new(numbers.next_request_id.cast_unsigned() << 2, flags);
            numbers.request_ids.insert(v(number.into()), request_id);
            Command::Acquire(Acquire {
                kind,
                owner: Owner::new(&format!("owner {owner}")).unwrap(),
                lease_ms: Some(lease),
                wait_ms: Some(if waits { 1_000 } else { 0 }),
                chosen,
                request_id,
                data: Some(data("text")),
                ..ask(number)
            })
        }
        Ask::Heartbeat { version, lease } => {
            Command::Heartbeat(Heartbeat { kind, lease_ms: lease, ..beat(numbers.version(version)) })
        }
        Ask::Release { version } => release(numbers.version(version)),
        Ask::TimeOut { version } => {
            let version = v(numbers.version(version).into());
            let request_id = numbers.request_ids.get(&version).copied()?;
            Command::Leave { version, request_id, reason: LeaveReason::TimedOut }
        }
        Ask::Size(_) if kind == Kind::Mutex => return None,
        Ask::Size(size) => Command::PutSemaphore {
            max_size: i32::try_from(size).unwrap(),
            lease_ms: None,
            default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
            guarded: None,
        },
        Ask::Delete { version } if kind == Kind::Mutex => {
            Command::DeleteLock { version: Some(v(numbers.version(version).into())) }
        }
        Ask::Delete { .. } => Command::DeleteSemaphore,
        Ask::ServeQueue => Command::ServeQueue,
        Ask::Pass(_) => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariants 1, 2, 4, 5, 6 and 9, as far as one replica goes.
    #[test]
    fn the_rules_agree_with_a_naive_model(is_mutex: bool, asks in prop::collection::vec(asks(), STEPS)) {
        agree(is_mutex, &asks);
    }

    /// Invariant 10: an answer does not depend on how much was loaded.
    #[test]
    fn a_bounded_view_answers_as_a_whole_one(
        is_mutex: bool,
        bound in 1_usize..6,
        asks in prop::collection::vec(asks(), STEPS),
    ) {
        views_agree(is_mutex, bound, &asks);
    }
}
