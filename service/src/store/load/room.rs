//! How many permits and waiters one load reads.
//!
//! All keys of a load wait for its last row. So a load reads a bounded number of them and of their data, and keys with very many of
//! them are left to loads of their own.

use crate::{
    domain::{Body, KeyState, Semaphore},
    store::{LoadRequest, NotLoaded},
};

/// The number of permits and waiters of a load.
const ROWS_OF_LOAD: usize = 4_096;

/// A statement takes as long as so many rows, at least.
const ROWS_OF_STATEMENT: usize = 64;

/// A row takes as long as this number of bytes, at most.
const BYTES_OF_ROW: usize = 512;

/// The rows that a load may still read.
#[derive(Debug)]
pub(super) struct LoadRoom {
    rows: usize,
}

impl Default for LoadRoom {
    fn default() -> Self {
        Self { rows: ROWS_OF_LOAD }
    }
}

impl LoadRoom {
    /// Admits a key whose row was read. The first key with permits or waiters is always admitted, unless the load has to be short.
    pub(super) fn admit(&mut self, load_request: &LoadRequest, state: &KeyState) -> Result<(), NotLoaded> {
        let rows = rows_to_read(load_request, state);
        if rows == 0 {
            return Ok(());
        }
        if rows > load_request.kind.most_rows() {
            return Err(NotLoaded::IsLong);
        }
        let named = load_request.versions.len() + load_request.data_of.len();
        let rows = (rows + named).max(ROWS_OF_STATEMENT);
        if rows > self.rows && self.rows < ROWS_OF_LOAD {
            return Err(NotLoaded::WasFull);
        }
        self.rows = self.rows.saturating_sub(rows);
        Ok(())
    }

    /// Notes that a key was read whose state is this large: rows with much data take longer than others.
    pub(super) const fn note(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(bytes / BYTES_OF_ROW);
    }
}

/// Whether all granted permits have to be counted: for the answer, or since a semaphore that was shrunk may have too many.
pub(super) const fn counts_permits(load_request: &LoadRequest, semaphore: &Semaphore) -> bool {
    load_request.counts_permits || semaphore.permits.slots > semaphore.max_size
}

/// The number of permits and waiters that have to be read, at most.
fn rows_to_read(load_request: &LoadRequest, state: &KeyState) -> usize {
    let queue = usize::try_from(state.queue.len).unwrap_or_default();
    let counted = if load_request.positions { queue } else { 0 };
    let reaped = load_request.waiters_of.map_or(0, |_| queue.min(LoadRequest::REAPED_AT_ONCE));
    let permits = match &state.body {
        Body::Semaphore(semaphore) => {
            let slots = usize::try_from(semaphore.permits.slots).unwrap_or_default();
            let all = semaphore.guarded || counts_permits(load_request, semaphore);
            if all { slots } else { slots.min(load_request.permits) }
        }
        Body::Absent | Body::Mutex(_) => 0,
    };
    queue.min(load_request.queue_prefix) + counted + reaped + permits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Key, KeyId, Permits, Tenant},
        store::LoadKind,
    };

    fn request() -> LoadRequest {
        LoadRequest::new(KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") })
    }

    fn semaphore(slots: i32) -> KeyState {
        let permits = Permits { slots, ..Permits::default() };
        let semaphore = Semaphore { max_size: slots, lease_ms: 1_000, guarded: false, permits };
        KeyState { body: Body::Semaphore(semaphore), ..KeyState::absent() }
    }

    #[test]
    fn a_key_with_very_many_rows_to_read_has_to_wait_for_a_long_load() {
        let counting = LoadRequest { counts_permits: true, ..request() };
        let admit =
            |load_request: &LoadRequest, state: &KeyState| LoadRoom::default().admit(load_request, state);
        assert!(admit(&request(), &semaphore(5_000)).is_ok(), "64 permits suffice");
        assert!(matches!(admit(&counting, &semaphore(5_000)), Err(NotLoaded::IsLong)));
        let long = LoadRequest { kind: LoadKind::Long, ..counting };
        assert!(admit(&long, &semaphore(5_000)).is_ok());
        assert!(matches!(admit(&long, &semaphore(100_000)), Err(NotLoaded::IsLong)));
        assert!(admit(&LoadRequest { kind: LoadKind::VeryLong, ..long }, &semaphore(100_000)).is_ok());
    }

    #[test]
    fn a_load_reads_a_bounded_number_of_bytes() {
        let mut room = LoadRoom::default();
        assert!(room.admit(&request(), &semaphore(64)).is_ok(), "the first key is always read");
        room.note(2 << 20);
        assert!(matches!(room.admit(&request(), &semaphore(1)), Err(NotLoaded::WasFull)));
    }

    #[test]
    fn a_load_reads_the_rows_of_a_bounded_number_of_keys() {
        let mut room = LoadRoom::default();
        let admitted = (0..100).filter(|_| room.admit(&request(), &semaphore(1)).is_ok());
        assert_eq!(admitted.count(), ROWS_OF_LOAD / ROWS_OF_STATEMENT);
        assert!(matches!(room.admit(&request(), &semaphore(1)), Err(NotLoaded::WasFull)));
        assert!(room.admit(&request(), &KeyState::absent()).is_ok(), "nothing more has to be read");
    }
}
