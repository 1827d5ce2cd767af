//! The texts of states and answers in a history.

use std::fmt::Write as _;

use super::request::{Answer, short};
use crate::domain::{Body, KeyState, Place, ReplicaId, Waiter};

/// The first characters of a replica's name, enough to distinguish it from the others.
pub(super) fn name_of(member: ReplicaId) -> String {
    let text = member.0.as_simple().to_string();
    format!("m-{}", &text[..4])
}

/// A state, at this time of the clock.
pub(super) fn state_text(state: &KeyState, clock: i64) -> String {
    let mut text = format!("token {}", state.token.0);
    let grants = match &state.body {
        Body::Absent => {
            text.push_str(", no lock");
            Vec::new()
        }
        Body::Mutex(mutex) => {
            if mutex.guard.is_on() {
                let _ = write!(text, ", guard {:?}", mutex.guard);
            }
            if let Some(data) = &mutex.data {
                let _ = write!(text, ", data {}", data.as_str());
            }
            mutex.grant.iter().collect()
        }
        Body::Semaphore(semaphore) => {
            let _ = write!(text, ", semaphore of {}", semaphore.max_size);
            if semaphore.guarded {
                let slots: Vec<_> = semaphore.permits.named.keys().collect();
                let _ = write!(text, ", guarded, named {slots:?}");
            }
            semaphore.permits.known.iter().map(|permit| &permit.grant).collect()
        }
    };
    for grant in grants {
        let (version, left) = (short(grant.version), grant.expires_at.0 - clock);
        let state = if grant.released { "ended".to_owned() } else { format!("for {left} ms") };
        let _ = write!(text, ", {version} #{} of {:?} {state}", grant.token.0, grant.owner);
    }
    for Waiter { holder, place, .. } in &state.queue.head {
        let _ = write!(text, ", waits: {}", short(holder.version));
        let _ = match place {
            Place::Attached { replica, offered_until: None, .. } => {
                write!(text, "@{}", name_of(*replica))
            }
            Place::Attached { replica, offered_until: Some(until), .. } => {
                write!(text, "@{} (offered for {} ms)", name_of(*replica), until.0 - clock)
            }
            Place::Detached { until } => write!(text, " (kept for {} ms)", until.0 - clock),
        };
    }
    text
}

/// The name under which an answer is counted.
pub(super) const fn kind_of(answer: &Answer) -> &'static str {
    use crate::domain::{NotGranted, NotGrantedReason, Refusal};
    match answer {
        Answer::Granted(_) => "200 granted",
        Answer::Released(_) => "200 released",
        Answer::Lock(_) | Answer::Semaphore(_) => "200 shown",
        Answer::Deleted => "204",
        Answer::Unavailable(_) => "503",
        Answer::Refused(refusal) => match refusal {
            Refusal::NotGranted(NotGranted { reason: NotGrantedReason::NoWait, .. }) => "423 no wait",
            Refusal::NotGranted(NotGranted { reason: NotGrantedReason::GuardedTransaction, .. }) => {
                "423 guarded"
            }
            Refusal::NotGranted(_) => "423 timed out",
            Refusal::GuardedTransactionOpen { .. } => "409 guarded",
            Refusal::Superseded => "409 superseded",
            Refusal::NotFound => "404",
            _ => "409",
        },
    }
}
