//! Guard rows, and the transactions of users that call `db_locks_guard`, as the routines of the real databases have
//! them.

use std::collections::BTreeMap;

use super::{
    Database,
    key_rows::{GuardRow, KeyRows},
    tables::{Tables, UserTransaction},
};
use crate::{
    domain::{Body, KeyChange, KeyId, Version},
    simulation::request::short,
    store::Write,
};

impl UserTransaction {
    /// Whether the transaction has a guard row locked.
    pub(super) const fn has_passed(&self) -> bool {
        self.passed.is_some()
    }
}

/// The reason why the guard refuses a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum GuardRefusal {
    /// DL001: the version is not that of the current grant.
    NotStanding,
    /// DL002: the transaction began before the grant.
    BeganBefore,
    /// The transaction is gone, with its server.
    Gone,
}

impl KeyRows {
    /// The versions in the guard rows, by slot.
    pub(super) fn named(&self) -> BTreeMap<i32, Version> {
        self.guards.iter().filter_map(|(slot, row)| Some((*slot, row.version?))).collect()
    }

    pub(super) fn write_guards(&mut self, change: &KeyChange, serial: u64) {
        for edit in change.guard_edits() {
            self.guards.insert(edit.slot, GuardRow { version: edit.version, written: serial });
        }
    }

    /// Removes the versions from all guard rows.
    pub(super) fn clear_guards(&mut self, serial: u64) {
        for row in self.guards.values_mut() {
            *row = GuardRow { version: None, written: serial };
        }
    }

    /// The slot whose guard row names a version that was not marked as ended.
    fn standing_slot(&self, version: Version) -> Option<i32> {
        let (slot, _) = self.guards.iter().find(|(_, row)| row.version == Some(version))?;
        let grant = match &self.row.as_ref()?.body {
            Body::Absent => None,
            Body::Mutex(mutex) => mutex.grant.as_ref(),
            Body::Semaphore(_) => self.permits.get(slot).map(|permit| &permit.grant),
        };
        grant.filter(|grant| grant.version == version && !grant.released).map(|_| *slot)
    }
}

impl Tables {
    /// The slots of the guard rows that a write has to change and that transactions of users have locked.
    pub(super) fn locked_slots(&self, write: &Write) -> Vec<i32> {
        let id = &write.change.id;
        let row = self.keys.get(id).and_then(|rows| rows.row.as_ref());
        if row.and_then(|row| row.row_version) != write.prev {
            return Vec::new();
        }
        let locked = |slot: i32| {
            let has = |transaction: &UserTransaction| {
                transaction.id == *id && transaction.passed.is_some_and(|(_, passed)| passed == slot)
            };
            self.transactions.values().any(has)
        };
        let edits = write.change.guard_edits();
        edits.into_iter().map(|edit| edit.slot).filter(|slot| locked(*slot)).collect()
    }

    /// Keys with a grant that was ended while a transaction was open.
    pub(super) fn unfinished_releases(&self) -> Vec<KeyId> {
        let unfinished = |rows: &KeyRows| rows.row.is_some() && rows.whole().is_ending();
        self.keys.iter().filter(|(_, rows)| unfinished(rows)).map(|(id, _)| id.clone()).collect()
    }
}

impl Database {
    /// Begins a user's transaction on the data that a key protects, and reads. `None` if the database is away.
    pub(in super::super) fn begin(&self, id: &KeyId) -> Option<u64> {
        let mut tables = self.tables();
        if tables.away_until.is_some_and(|until| until > tokio::time::Instant::now()) {
            return None;
        }
        let began = tables.next_serial();
        tables
            .transactions
            .insert(began, UserTransaction { id: id.clone(), began, read: began, passed: None });
        Some(began)
    }

    /// The current moment, for a read outside of a transaction.
    pub(in super::super) fn moment(&self) -> u64 {
        self.tables().next_serial()
    }

    /// Reads in a transaction, or uses what was read at an earlier moment.
    pub(in super::super) fn read(&self, number: u64, at: Option<u64>) {
        let mut tables = self.tables();
        let now = tables.next_serial();
        if let Some(transaction) = tables.transactions.get_mut(&number) {
            transaction.read = at.unwrap_or(now);
        }
    }

    /// Calls the guard in a transaction: it first reads without a lock, then locks the row and compares.
    pub(in super::super) async fn guard(&self, number: u64, version: Version) -> Result<(), GuardRefusal> {
        let result = self.look_and_lock(number, version).await;
        let (number, name) = (number, short(version));
        match result {
            Ok(()) => self.record.count("guards passed"),
            Err(refusal) => {
                self.record.count("guards refused");
                self.record.note(&format!("transaction {number} is refused for {name}: {refusal:?}"));
            }
        }
        result
    }

    async fn look_and_lock(&self, number: u64, version: Version) -> Result<(), GuardRefusal> {
        let look = |tables: &Tables| {
            let transaction = tables.transactions.get(&number).ok_or(GuardRefusal::Gone)?;
            let rows = tables.keys.get(&transaction.id).ok_or(GuardRefusal::NotStanding)?;
            rows.standing_slot(version).ok_or(GuardRefusal::NotStanding)
        };
        let slot = look(&self.tables())?;
        self.travel().await;
        let mut tables = self.tables();
        let transaction = tables.transactions.get(&number).ok_or(GuardRefusal::Gone)?;
        let (id, began) = (transaction.id.clone(), transaction.began);
        let row = tables.keys.get(&id).and_then(|rows| rows.guards.get(&slot)).copied();
        let row = row.filter(|row| row.version == Some(version)).ok_or(GuardRefusal::NotStanding)?;
        if began <= row.written {
            return Err(GuardRefusal::BeganBefore);
        }
        if let Some(transaction) = tables.transactions.get_mut(&number) {
            transaction.passed = Some((version, slot));
        }
        drop(tables);
        let name = short(version);
        self.record.note(&format!("{}: transaction {number} passes the guard for {name}", id.key.as_str()));
        self.record.check(|checker, _| checker.guard_passed(&id, number, version));
        Ok(())
    }

    /// Ends a transaction. Returns whether it existed.
    pub(in super::super) fn end(&self, number: u64, commits: bool) -> bool {
        let Some(ended) = self.tables().transactions.remove(&number) else { return false };
        let now = self.moment();
        let how = if commits { "commits" } else { "is rolled back" };
        self.record.note(&format!("{}: transaction {number} {how}", ended.id.key.as_str()));
        let committed = commits.then_some((ended.read, now));
        self.record.check(|checker, at| checker.transaction_ended(at, &ended.id, number, committed));
        true
    }
}
