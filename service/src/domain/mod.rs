//! The rules of locking, and nothing else.
//!
//! `(state of a key, command, now) → (new state, reply, grants)` is plain code here: no I/O, no clock, no randomness,
//! no runtime. The rules are given what they need from outside: the database's time, fresh versions, the dead replicas.
//! So a test can run them a million times a second, and they exist once, not once per dialect.
//!
//! A [`KeyState`] is a *view*: the key's row, and as much of its permits and its queue as a decision needs. A decision
//! that needs more says so ([`Need`]) instead of guessing.

mod answered_requests;
mod command;
mod decide;
mod ended;
mod epoch;
mod grant;
mod guard;
mod ids;
mod names;
mod permits;
mod queue;
mod reply;
mod request_id;
mod revoked;
mod size;
mod state;
mod suspects;
#[cfg(test)]
mod tests;
mod time;
mod waiter_data;

pub use answered_requests::GivenBack;
pub use command::{Acquire, Command, DataEdit, ForcedRelease, Heartbeat, Kind, LeaveReason, Release};
pub use decide::{
    Context, DEFAULT_LEASE_MS, Decided, EarlierDecision, Effects, EndReason, Ended, Freed,
    KEPT_FOR_REPEAT_MS, KeyChange, MOST_HOLDERS, Need, OFFER_MS, ROW_BYTES, Verdict, WaiterRoom,
};
pub use ended::{EndedVersion, EndedVersions, VersionDigest};
pub use epoch::{Epoch, TOKENS_OF_AN_EPOCH};
pub use grant::Grant;
pub use guard::{Guard, GuardBusy, GuardEdit, MOST_GUARDED_PERMITS};
pub use ids::{ReplicaId, RowVersion, ShortVersion, Token, Version};
pub use names::{Credential, Data, Key, KeyId, MAX_REASON_CHARS, NameError, Owner, Reason, Tenant};
pub use permits::{BusyCount, Deletion, Permit, Permits};
pub use queue::{FutureHolder, Place, Queue, Waiter};
pub use reply::{
    HeldView, Holder, LockView, NotGranted, NotGrantedReason, Refusal, Reply, SemaphoreView, WaiterLimit,
};
pub use request_id::{RequestFlags, RequestId};
pub use revoked::{Revocation, Revocations};
pub use state::{Body, KeyState, Mutex, Semaphore};
pub use suspects::Suspects;
pub use time::{Now, Timestamp};
pub use waiter_data::WaiterData;
