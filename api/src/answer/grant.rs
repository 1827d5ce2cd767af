//! The JSON of a lock or of a permit of a semaphore.

use db_locks_service::{
    Rfc3339,
    domain::{Data, LockView, Version},
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::fmt::Hyphenated;

use crate::auth::Caller;

/// A lock or a permit, with its active grant if there is one.
#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
pub(crate) struct GrantBody<'a> {
    /// The key of the lock, or of the semaphore that the permit belongs to.
    #[schema(example = "deploy")]
    key: &'a str,
    /// The tenant of the key.
    #[schema(example = "default")]
    tenant: &'a str,
    /// The key of the semaphore for a permit, null for a lock.
    #[schema(required)]
    semaphore_key: Option<&'a str>,
    /// Whether a grant is active; false once its lease has ended.
    #[schema(example = true)]
    locked: bool,
    /// The identity of the grant. Heartbeat and release must send it. Null while no grant is active, and for callers
    /// that may not see it.
    #[schema(required, value_type = Option<String>, format = "uuid", example = "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42")]
    version: Option<VersionText>,
    /// A number that grows with every grant of the key, for ever. It belongs to the last grant; 0 if none is known.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 17)]
    fencing_token: i64,
    /// The owner that the holder gave. Null while no grant is active.
    #[schema(required, example = "ci-42")]
    owner: Option<&'a str>,
    /// The text stored with the lock or permit.
    #[schema(required, example = "build 811")]
    data: Option<&'a str>,
    /// The lease of the last grant, in milliseconds.
    #[schema(minimum = 0, example = 30_000)]
    lease_duration_ms: i64,
    /// The time of the grant. Null while no grant is active.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    acquired_at: Option<Rfc3339>,
    /// The end of the lease, by the database's clock. Null while no grant is active.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2026-11-23T05:07:23.381Z")]
    expires_at: Option<Rfc3339>,
    /// The remaining lease, in milliseconds, never longer than it certainly is. Null while no grant is active.
    #[schema(required, minimum = 0, example = 30_000)]
    expires_in_ms: Option<i64>,
    /// Whether the lock is deleted when this grant ends.
    #[schema(example = false)]
    delete_on_release: bool,
    /// Whether the key is guarded. Transactions that call `db_locks_guard` for two successive grants then never
    /// overlap.
    #[schema(example = false)]
    guarded: bool,
    /// The number of requests that wait for the key.
    #[schema(minimum = 0, example = 0)]
    waiters: i64,
    /// The time of creation.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// The time of the last change.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    updated_at: Rfc3339,
}

impl<'a> GrantBody<'a> {
    /// A lock or permit as `caller` may see it. The version is the right to release, so not everybody sees it.
    pub(crate) fn seen_by(caller: &Caller, view: &'a LockView) -> Self {
        let sees_version = view.held.as_ref().is_some_and(|held| caller.sees_version(held));
        let body = Self::from(view);
        Self { version: body.version.filter(|_| sees_version), ..body }
    }
}

impl<'a> From<&'a LockView> for GrantBody<'a> {
    fn from(view: &'a LockView) -> Self {
        let held = view.held.as_ref();
        let key = view.id.key.as_str();
        Self {
            key,
            tenant: view.id.tenant.as_str(),
            semaphore_key: view.is_permit.then_some(key),
            locked: held.is_some(),
            version: held.map(|held| VersionText(held.version)),
            fencing_token: view.fencing_token.0,
            owner: held.map(|held| held.owner.as_str()),
            data: view.data.as_ref().map(Data::as_str),
            lease_duration_ms: view.lease_ms,
            acquired_at: held.map(|held| held.acquired_at.into()),
            expires_at: held.map(|held| held.expires_at.into()),
            expires_in_ms: held.map(|held| held.expires_in_ms),
            delete_on_release: held.is_some_and(|held| held.delete_on_release),
            guarded: view.guarded,
            waiters: view.waiters,
            created_at: view.created_at.into(),
            updated_at: view.updated_at.into(),
        }
    }
}

/// A version in lower case with hyphens, written without an allocation.
struct VersionText(Version);

impl Serialize for VersionText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; Hyphenated::LENGTH];
        serializer.serialize_str(self.0.0.as_hyphenated().encode_lower(&mut text))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use db_locks_service::domain::{
        Acquire, Command, Context, Key, KeyChange, KeyId, KeyState, Kind, Now, Owner, Reply, RequestId,
        Tenant, Verdict,
    };
    use uuid::uuid;

    use super::*;

    /// A lock as the contract's example shows it, from the rules themselves.
    fn held_lock() -> LockView {
        let id = KeyId { tenant: Tenant::new("default").unwrap(), key: Key::new("deploy").unwrap() };
        let acquire = Acquire {
            kind: Kind::Mutex,
            owner: Owner::new("ci-42").unwrap(),
            lease_ms: Some(30_000),
            wait_ms: Some(0),
            additional_wait_ms: 0,
            max_wait_ms: 0,
            data: Some(Data::new("build 811").unwrap()),
            replace_data: false,
            delete_on_release: false,
            only_if_exists: false,
            version: Version(uuid!("0199A3C0-5F0E-4C1D-9A57-3F1F6A1C7D42")),
            chosen: true,
            retried: false,
            request_id: RequestId(0),
        };
        let context = Context::alone(Now::exactly(1_795_410_413_381));
        let decided = KeyChange::new(id, KeyState::absent()).decide(&Command::Acquire(acquire), &context);
        match decided {
            Ok(Verdict::Reply(Reply::Granted(view))) => view,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_grant_is_written_as_the_contract_shows_it() {
        let view = held_lock();
        assert_eq!(
            serde_json::to_string(&GrantBody::from(&view)).unwrap(),
            concat!(
                r#"{"key":"deploy","tenant":"default","semaphore_key":null,"locked":true,"#,
                r#""version":"0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42","fencing_token":1,"owner":"ci-42","data":"build 811","#,
                r#""lease_duration_ms":30000,"acquired_at":"2026-11-23T05:06:53.381Z","#,
                r#""expires_at":"2026-11-23T05:07:23.381Z","expires_in_ms":30000,"delete_on_release":false,"guarded":false,"waiters":0,"#,
                r#""created_at":"2026-11-23T05:06:53.381Z","updated_at":"2026-11-23T05:06:53.381Z"}"#
            )
        );
    }

    #[test]
    fn what_nobody_holds_has_no_version_owner_or_times() {
        let view = LockView { held: None, data: None, is_permit: true, ..held_lock() };
        let body = serde_json::to_value(GrantBody::from(&view)).unwrap();
        for member in ["version", "owner", "data", "acquired_at", "expires_at", "expires_in_ms"] {
            assert!(body[member].is_null(), "{member}");
        }
        assert_eq!(body["locked"], false);
        assert_eq!(body["semaphore_key"], "deploy");
        assert_eq!(body["delete_on_release"], false);
        assert_eq!(body["fencing_token"], 1);
    }
}
