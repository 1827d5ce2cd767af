//! Refusals by the rules of locking, as problems whose `detail` names the next step.

use db_locks_service::{
    Unavailable,
    domain::{Holder, Kind, NotGranted, NotGrantedReason, Refusal, Revocation},
};

use super::{Extra, Problem, ProblemKind};

/// Why a large semaphore cannot be guarded.
pub(crate) const TOO_LARGE_TO_GUARD: &str = "must be at most 1000 for a guarded semaphore";

impl Problem {
    /// The problem for a refusal. `asked` is the kind that the request was about.
    pub(super) fn refused(refusal: Refusal, asked: Kind) -> Self {
        match refusal {
            Refusal::NotFound => Self::new(ProblemKind::NotFound, not_found(asked)),
            Refusal::VersionMismatch => Self::new(
                ProblemKind::VersionMismatch,
                "The version is not the version of the current grant: its grant has ended, or never existed. Acquire \
                 again with another version.",
            ),
            Refusal::LeaseExpired => Self::new(
                ProblemKind::LeaseExpired,
                "The lease of this version has ended. Stop the work that it protected, and acquire again.",
            ),
            Refusal::Revoked(revocation) => Self::revoked(revocation),
            Refusal::InUse(holders) => Self::in_use(holders, asked),
            Refusal::GuardedTransactionOpen { session } => Self {
                extra: Extra::Session(session),
                ..Self::new(
                    ProblemKind::GuardedTransactionOpen,
                    "A transaction that called db_locks_guard for this grant is still open. The grant has ended \
                     nevertheless. Commit or roll back the transaction, and send the request again.",
                )
            },
            Refusal::WrongKind => Self::new(ProblemKind::WrongKind, wrong_kind(asked)),
            Refusal::Superseded => Self::new(
                ProblemKind::Superseded,
                "A later request with the same version took over the place in the queue, and will be answered.",
            ),
            Refusal::NotGranted(not_granted) => Self::not_granted(not_granted),
            Refusal::NotForSemaphores(field) => Self::invalid_field(field, "is not allowed for a semaphore"),
            Refusal::VersionRequired => Self::invalid_field(
                "version",
                "is required: the key is a semaphore, and each permit has its own version",
            ),
            Refusal::TooLargeToGuard => Self::invalid_field(
                match asked {
                    Kind::Mutex => "guarded",
                    Kind::Semaphore => "max_size",
                },
                TOO_LARGE_TO_GUARD,
            ),
            Refusal::QueueFull(limit) => Unavailable::from(limit).into(),
            Refusal::StorageFull => Unavailable::TenantStorage.into(),
            Refusal::PlaceLost => Unavailable::PlaceLost.into(),
        }
    }

    fn revoked(revocation: Revocation) -> Self {
        let given = match &revocation.reason {
            Some(reason) => format!(", with the reason: {}", reason.as_str()),
            None => String::new(),
        };
        let detail = format!("An operator ended the grant with this version by force{given}");
        Self { extra: Extra::Revoked(revocation), ..Self::new(ProblemKind::Revoked, detail) }
    }

    fn in_use(holders: Vec<Holder>, asked: Kind) -> Self {
        let detail = match asked {
            Kind::Mutex => {
                "The lock is held; see `holders`. Wait until it is free, or send the version of the grant with DELETE: \
                 `?version=…`."
            }
            Kind::Semaphore => {
                "Permits of the semaphore are held; see `holders`. The semaphore can be deleted when all permits are free."
            }
        };
        Self { extra: Extra::Holders(holders), ..Self::new(ProblemKind::InUse, detail) }
    }

    fn not_granted(not_granted: NotGranted) -> Self {
        let detail = match not_granted.reason {
            NotGrantedReason::NoWait => {
                "Others hold the lock or all permits, and the request did not want to wait. With a longer `wait_ms` it \
                 waits."
            }
            NotGrantedReason::GuardedTransaction => {
                "The last grant has ended, but a transaction that called db_locks_guard for it is still open. The key is \
                 free when the transaction ends."
            }
            NotGrantedReason::TimedOut => {
                "Others held the lock or all permits for the whole wait. With a longer `wait_ms` the request waits longer."
            }
        };
        Self { extra: Extra::NotGranted(not_granted), ..Self::new(ProblemKind::NotGranted, detail) }
    }
}

const fn not_found(asked: Kind) -> &'static str {
    match asked {
        Kind::Mutex => {
            "The tenant (header X-Tenant) has no lock with this key. The first acquire creates a lock, unless it has \
             `acquire_only_if_already_exists`; PUT /locks/{key} creates one too."
        }
        Kind::Semaphore => {
            "The tenant (header X-Tenant) has no semaphore with this key. Create it first: PUT /semaphores/{key} with \
             {\"max_size\": 3}."
        }
    }
}

/// A key that is not of the kind that was asked for is of the other kind.
const fn wrong_kind(asked: Kind) -> &'static str {
    match asked {
        Kind::Mutex => {
            "This key is a semaphore, not a lock. Use /semaphores/{key}, or acquire with `\"uses_semaphore\": true`; or \
             choose another key."
        }
        Kind::Semaphore => "This key is a lock, not a semaphore. Use /locks/{key}, or choose another key.",
    }
}
