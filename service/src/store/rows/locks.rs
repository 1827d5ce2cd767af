//! Rows of `locks`: a mutex, a semaphore or a tombstone.

use sea_orm::DbErr;
use uuid::Uuid;

use super::{Cell, Reader, Row, corrupt};
use crate::{
    domain::{
        Body, Data, Grant, Guard, KeyState, Mutex, Owner, Permits, Queue, RequestId, RowVersion, Semaphore,
        Timestamp, Token, Version,
    },
    store::{Unreadable, Write, ended},
};

/// The number of columns.
pub(in super::super) const LOCK_CELLS: usize = 24;
/// A tombstone, or a key without a row.
pub(in super::super) const KIND_ABSENT: i16 = 0;
/// A mutex.
pub(in super::super) const KIND_MUTEX: i16 = 1;
/// A semaphore.
const KIND_SEMAPHORE: i16 = 2;
/// A guarded mutex whose guard row names no grant.
const KIND_GUARD_FREE: i16 = 3;
/// A guarded mutex whose guard row names its last grant.
const KIND_GUARD_NAMED: i16 = 4;
/// A guarded mutex whose last grant was ended while it was active. The guard row still names the grant.
pub(in super::super) const KIND_ENDING_HELD: i16 = 5;
/// A guarded mutex whose last grant was ended after its lease had expired. The guard row still names the grant.
const KIND_ENDING_EXPIRED: i16 = 6;
/// A guarded semaphore.
const KIND_GUARDED_SEMAPHORE: i16 = 7;
/// Both kinds of semaphores.
pub(in super::super) const SEMAPHORES: [i16; 2] = [KIND_SEMAPHORE, KIND_GUARDED_SEMAPHORE];
/// All kinds of mutexes.
pub(in super::super) const MUTEXES: [i16; 5] =
    [KIND_MUTEX, KIND_GUARD_FREE, KIND_GUARD_NAMED, KIND_ENDING_HELD, KIND_ENDING_EXPIRED];
/// Kinds of guarded keys whose guard rows may name an ended grant.
pub(in super::super) const ENDING: [i16; 3] = [KIND_ENDING_HELD, KIND_ENDING_EXPIRED, KIND_GUARDED_SEMAPHORE];

/// Whether a semaphore of this kind is guarded.
pub(in super::super) const fn is_guarded_semaphore(kind: i16) -> bool {
    kind == KIND_GUARDED_SEMAPHORE
}

const fn kind_of(guard: Guard) -> i16 {
    match guard {
        Guard::Off => KIND_MUTEX,
        Guard::Free => KIND_GUARD_FREE,
        Guard::Named => KIND_GUARD_NAMED,
        Guard::EndingHeld => KIND_ENDING_HELD,
        Guard::EndingExpired => KIND_ENDING_EXPIRED,
    }
}

/// The state of the guard for a kind of mutex; `None` if the kind is not a mutex.
pub(in super::super) const fn guard_of(kind: i16) -> Option<Guard> {
    Some(match kind {
        KIND_MUTEX => Guard::Off,
        KIND_GUARD_FREE => Guard::Free,
        KIND_GUARD_NAMED => Guard::Named,
        KIND_ENDING_HELD => Guard::EndingHeld,
        KIND_ENDING_EXPIRED => Guard::EndingExpired,
        _ => return None,
    })
}

/// `sweep_at_ms` of a key with an ended grant that a guard row still names.
pub(in super::super) const SWEEP_AT_ONCE: Timestamp = Timestamp(0);

/// `sweep_at_ms` of a tombstone is its time plus this number. So all tombstones come after all locks that are to be deleted, and
/// a search for one of them does not read the other. Earlier versions of this program did not add it.
pub(in super::super) const TOMBSTONES_FROM: i64 = 1 << 60;

/// The row that a write produces.
pub(in super::super) struct LockRow<'a> {
    pub(in super::super) write: &'a Write,
    /// The encoded ended versions, and the grants that operators ended by force.
    ended: Vec<u8>,
}

impl<'a> LockRow<'a> {
    pub(in super::super) fn of(write: &'a Write) -> Self {
        let state = &write.change.state;
        Self { write, ended: ended::encode(&state.ended, &state.revoked) }
    }

    /// Whether the write was decided on an existing row. Such a write never creates a row: it may have been swept
    /// meanwhile.
    pub(in super::super) const fn is_known(&self) -> bool {
        self.write.prev.is_some()
    }

    /// The values of all columns, in their order.
    pub(in super::super) fn cells(&self) -> [Cell<'_>; LOCK_CELLS] {
        let (id, state) = (&self.write.change.id, &self.write.change.state);
        let (mutex, semaphore, kind) = match &state.body {
            Body::Absent => (None, None, KIND_ABSENT),
            Body::Mutex(mutex) => (Some(mutex), None, kind_of(mutex.guard)),
            Body::Semaphore(semaphore) => {
                let kind = if semaphore.guarded { KIND_GUARDED_SEMAPHORE } else { KIND_SEMAPHORE };
                (None, Some(semaphore), kind)
            }
        };
        let grant = mutex.and_then(|mutex| mutex.grant.as_ref());
        let lease_ms = semaphore.map(|semaphore| semaphore.lease_ms).or(grant.map(|grant| grant.lease_ms));
        let sweep_at = match &state.body {
            Body::Absent => {
                let is_alone = state.queue.len == 0;
                is_alone.then(|| Timestamp(state.updated_at.0.saturating_add(TOMBSTONES_FROM)))
            }
            Body::Mutex(mutex) if mutex.guard.is_ending() => Some(SWEEP_AT_ONCE),
            Body::Mutex(_) => {
                let goes = grant.filter(|grant| grant.delete_on_release && !grant.released);
                goes.map(|grant| grant.expires_at)
            }
            Body::Semaphore(_) => state.is_ending().then_some(SWEEP_AT_ONCE),
        };
        [
            Cell::text(id.tenant.as_str()),
            Cell::text(id.key.as_str()),
            Cell::uuid(self.write.row_version.0),
            Cell::Uuid(self.write.prev.map(|row_version| row_version.0)),
            Cell::Small(kind),
            Cell::big(state.token.0),
            Cell::Text(mutex.and_then(|mutex| mutex.data.as_ref()).map(Data::as_str)),
            Cell::Uuid(grant.map(|grant| grant.version.0)),
            Cell::Flag(grant.is_some_and(|grant| grant.chosen)),
            Cell::Text(grant.map(|grant| grant.owner.stored())),
            Cell::Big(lease_ms),
            Cell::Big(grant.map(|grant| grant.acquired_at.0)),
            Cell::Big(grant.map(|grant| grant.expires_at.0)),
            Cell::Flag(grant.is_some_and(|grant| grant.released)),
            Cell::Flag(grant.is_some_and(|grant| grant.delete_on_release)),
            Cell::Big(grant.map(|grant| grant.request_id.0)),
            Cell::Bytes(&self.ended),
            Cell::Int(semaphore.map(|semaphore| semaphore.max_size)),
            Cell::Int(Some(semaphore.map_or(0, |semaphore| semaphore.permits.slots))),
            Cell::big(state.queue.len),
            Cell::big(state.queue.next_seq),
            Cell::big(state.created_at.0),
            Cell::big(state.updated_at.0),
            Cell::Big(sweep_at.map(|at| at.0)),
        ]
    }
}

/// The columns of a mutex's last grant.
pub(in super::super) struct GrantCells {
    pub(in super::super) version: Option<Uuid>,
    pub(in super::super) chosen: bool,
    pub(in super::super) owner: Option<String>,
    pub(in super::super) lease_ms: Option<i64>,
    pub(in super::super) acquired_at: Option<i64>,
    pub(in super::super) expires_at: Option<i64>,
    pub(in super::super) released: bool,
    pub(in super::super) delete_on_release: bool,
    pub(in super::super) request_id: Option<i64>,
}

impl GrantCells {
    /// The grant; `None` if the mutex was never granted.
    pub(in super::super) fn read(self, token: Token) -> Result<Option<Grant>, Unreadable> {
        let Some(version) = self.version else { return Ok(None) };
        let (Some(owner), Some(lease_ms), Some(acquired_at), Some(expires_at), Some(request_id)) =
            (self.owner, self.lease_ms, self.acquired_at, self.expires_at, self.request_id)
        else {
            return Err(corrupt("a version without an owner, a lease, its times or its request id"));
        };
        if owner.is_empty() {
            return Err(corrupt("a version with an empty owner"));
        }
        Ok(Some(Grant {
            version: Version(version),
            chosen: self.chosen,
            token,
            owner: Owner::trusted(&owner),
            lease_ms,
            acquired_at: Timestamp(acquired_at),
            expires_at: Timestamp(expires_at),
            released: self.released,
            delete_on_release: self.delete_on_release,
            request_id: RequestId(request_id),
        }))
    }
}

/// Reads the state in a row of `locks`, without its queue and permits. The columns begin at `first`. A row of NULLs is
/// a key without a row.
pub(in super::super) fn read_state(row: &impl Row, first: usize) -> Result<KeyState, Unreadable> {
    let mut columns = Reader::from(row, first);
    columns.skip(2);
    let Some(row_version) = columns.get::<Option<Uuid>>()? else { return Ok(KeyState::absent()) };
    if columns.get::<Option<Uuid>>()?.is_some() {
        // On MariaDB and MySQL: a row that was created by mistake and is about to be deleted, see `mysql::commit`.
        return Ok(KeyState::absent());
    }
    let kind: i16 = columns.get()?;
    let token = Token(columns.get()?);
    if !token.has_next() {
        return Err(corrupt("a token that is none"));
    }
    let data: Option<String> = columns.get()?;
    let grant = GrantCells {
        version: columns.get()?,
        chosen: columns.get()?,
        owner: columns.get()?,
        lease_ms: columns.get()?,
        acquired_at: columns.get()?,
        expires_at: columns.get()?,
        released: columns.get()?,
        delete_on_release: columns.get()?,
        request_id: columns.get()?,
    };
    let ended: Vec<u8> = columns.get()?;
    let max_size: Option<i32> = columns.get()?;
    let slots = columns.get()?;
    let queue = Queue { len: columns.get()?, next_seq: columns.get()?, ..Queue::default() };
    let created_at = Timestamp(columns.get()?);
    let updated_at = Timestamp(columns.get()?);
    let body = match (kind, guard_of(kind)) {
        (_, Some(guard)) => {
            let grant = grant.read(token)?;
            if guard.is_named() && grant.is_none() {
                return Err(corrupt("a guard without a version"));
            }
            Body::Mutex(Mutex { data: data.as_deref().map(Data::trusted), grant, guard })
        }
        (KIND_SEMAPHORE | KIND_GUARDED_SEMAPHORE, None) => match (max_size, grant.lease_ms) {
            (Some(max_size @ 1..), Some(lease_ms)) if slots >= 0 => Body::Semaphore(Semaphore {
                max_size,
                lease_ms,
                guarded: is_guarded_semaphore(kind),
                permits: Permits { slots, ..Permits::default() },
            }),
            _ => return Err(corrupt("a semaphore without a size or a lease")),
        },
        (KIND_ABSENT, None) => Body::Absent,
        (unknown, None) => return Err(corrupt(&format!("the unknown kind {unknown}"))),
    };
    let (ended, revoked) =
        ended::decode(&ended, updated_at).ok_or_else(|| corrupt("ended versions that cannot be read"))?;
    Ok(KeyState {
        row_version: Some(RowVersion(row_version)),
        body,
        token,
        ended,
        revoked,
        queue,
        created_at,
        updated_at,
    })
}

/// States without their queues and permits, and database time.
pub(in super::super) type ReadStates = (Vec<Result<KeyState, Unreadable>>, Timestamp);

/// Reads the states of `count` keys, from rows that begin with the number of the key and database time.
pub(in super::super) fn read_states(rows: &[impl Row], count: usize) -> Result<ReadStates, DbErr> {
    let mut states = vec![Ok(KeyState::absent()); count];
    let mut db_time = Timestamp::default();
    for row in rows {
        let number: i64 = row.read(0)?;
        db_time = Timestamp(row.read(1)?);
        let state = usize::try_from(number - 1).ok().and_then(|index| states.get_mut(index));
        if let Some(state) = state {
            *state = read_state(row, 2);
        }
    }
    Ok((states, db_time))
}
