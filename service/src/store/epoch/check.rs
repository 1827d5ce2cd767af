//! The check of a connection before its first write.

use sea_orm::sqlx;

use super::{
    identity::Identity,
    sql::{self, COLUMNS},
};
use crate::{
    domain::Epoch,
    store::{dialect::Dialect, fence::EpochWatch, not_sent::NotSent, session::Driver},
};

/// How often this process tries to change the row while other replicas change it.
const MOST_TRIES: usize = 10;

/// The state that a connection's server and its row of the epoch have.
#[derive(Debug)]
struct StoredEpoch {
    /// The server that the connection leads to.
    server: Identity,
    /// Seconds since 2026 by the server's clock.
    seconds: i64,
    /// The stored epoch.
    epoch: Epoch,
    /// The server that the epoch was valid for; `None` in a new database, and after a raise by hand.
    stored: Option<Identity>,
}

/// The change that has to be stored before the first write.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Nothing,
    /// The server, beside the stored epoch.
    First,
    /// The server, and a new epoch.
    Raise(Epoch),
}

impl StoredEpoch {
    /// The change that has to be stored. `seen` is the highest epoch that this process has seen.
    fn step(&self, seen: Epoch, tolerance_ms: i64) -> Result<Step, NotSent> {
        let raised = || {
            let raised = Epoch::after(self.epoch, seen, self.seconds);
            raised.map(Step::Raise).ok_or(NotSent::UnusableEpoch("the database's clock is beyond 2094"))
        };
        match &self.stored {
            // The database has lost its epoch: a backup was restored.
            _ if self.epoch < seen => raised(),
            None => Ok(Step::First),
            Some(stored) if !self.server.is_same(stored, tolerance_ms) => raised(),
            Some(_) => Ok(Step::Nothing),
        }
    }

    /// Reads an answer; `None` if it is malformed or the table has no row.
    fn read(row: &[Option<String>]) -> Option<Self> {
        let text = |index: usize| row.get(index).cloned().flatten();
        let number = |index: usize| text(index).and_then(|text| text.parse::<i64>().ok());
        if row.len() != COLUMNS {
            return None;
        }
        let identity = |first: usize, number_at: [usize; 2]| {
            let [started_at_ms, generation] = number_at.map(number);
            text(first).map(|server| Identity { server, started_at_ms, generation })
        };
        Some(Self {
            server: identity(1, [2, 3])?,
            seconds: number(4)?,
            epoch: Epoch::new(number(5)?)?,
            stored: identity(6, [7, 8]),
        })
    }
}

/// The server in an answer; `None` if that makes no sense.
pub(super) fn server_of(row: &[Option<String>]) -> Option<Identity> {
    StoredEpoch::read(row).map(|found| found.server)
}

impl EpochWatch {
    /// Compares the server that a connection leads to with the server that the stored epoch was valid for. Raises the
    /// epoch if they differ. Refuses a server that takes no writes.
    pub(in super::super) async fn check<DB: Driver>(
        &self,
        dialect: Dialect,
        connection: &mut DB::Connection,
    ) -> Result<(), sqlx::Error> {
        if dialect == Dialect::Sqlite {
            return Ok(());
        }
        for _ in 0..MOST_TRIES {
            let Some(row) = read_epoch::<DB>(dialect, connection).await? else { return Ok(()) };
            if row.first().and_then(Option::as_deref) != Some("0") {
                return Err(NotSent::ReadOnly("it is a standby, or was made read-only").into());
            }
            let found =
                StoredEpoch::read(&row).ok_or(NotSent::UnusableEpoch("db_locks_epoch cannot be read"))?;
            match found.step(self.current(), sql::tolerance_ms(dialect))? {
                Step::Nothing => {
                    self.note(found.epoch);
                    self.note_server(row.get(2).and_then(Option::as_deref));
                    return Ok(());
                }
                Step::First => {
                    let text = sql::store(dialect, found.epoch, found.epoch, &found.server, true);
                    DB::run(connection, &text).await?;
                }
                Step::Raise(epoch) => {
                    let text = sql::store(dialect, found.epoch, epoch, &found.server, false);
                    DB::run(connection, &text).await?;
                    tracing::warn!(
                        epoch = epoch.number(),
                        "the database's server is another one, or was restarted, or its cluster has other members: it may lack \
                         the last grants, so the epoch of fencing tokens is raised"
                    );
                }
            }
        }
        Err(NotSent::UnusableEpoch("other replicas change it again and again").into())
    }
}

/// Asks the server and reads the epoch's row; `None` if there is no table yet.
async fn read_epoch<DB: Driver>(
    dialect: Dialect,
    connection: &mut DB::Connection,
) -> Result<Option<Vec<Option<String>>>, sqlx::Error> {
    match DB::ask(connection, &sql::read_epoch(dialect, true)).await {
        Err(error) if is_one_of(&error, &["42P01", "42S02"]) => Ok(None),
        // A function or a variable is missing, or this user may not use it.
        Err(error) if is_one_of(&error, &["42501", "42883", "0A000", "HY000"]) => {
            DB::ask(connection, &sql::read_epoch(dialect, false)).await.map(Some)
        }
        asked => asked.map(Some),
    }
}

fn is_one_of(error: &sqlx::Error, states: &[&str]) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| states.contains(&&*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(server: &str, epoch: i64, stored: Option<&str>) -> StoredEpoch {
        let identity = |server: &str| Identity {
            server: server.to_owned(),
            started_at_ms: Some(1_000),
            generation: None,
        };
        let epoch = Epoch::new(epoch).unwrap_or_default();
        StoredEpoch { server: identity(server), seconds: 100, epoch, stored: stored.map(identity) }
    }

    fn step(found: &StoredEpoch, seen: i64) -> Step {
        found.step(Epoch::new(seen).unwrap_or_default(), 0).unwrap_or(Step::Nothing)
    }

    fn raise(number: i64) -> Step {
        Step::Raise(Epoch::new(number).unwrap_or_default())
    }

    #[test]
    fn the_first_server_is_stored_without_a_raise_and_another_one_with_one() {
        assert_eq!(step(&found("a", 0, None), 0), Step::First);
        assert_eq!(step(&found("a", 0, Some("a")), 0), Step::Nothing);
        assert_eq!(step(&found("b", 0, Some("a")), 0), raise(100));
        assert_eq!(step(&found("b", 700, Some("a")), 0), raise(701));
        assert_eq!(step(&found("b", 0, Some("a")), 900), raise(901), "what this process has seen is lost");
    }

    #[test]
    fn a_database_that_has_forgotten_its_epoch_is_raised() {
        assert_eq!(step(&found("a", 5, Some("a")), 200), raise(201));
        assert_eq!(step(&found("a", 5, None), 200), raise(201));
    }

    #[test]
    fn a_clock_beyond_all_epochs_is_refused() {
        let found = StoredEpoch { seconds: 1 << 31, ..found("b", 0, Some("a")) };
        assert!(found.step(Epoch::default(), 0).is_err());
    }

    #[test]
    fn an_answer_is_read() {
        let row = ["0", "s", "5", "", "7", "9", "t", "6", "3"].map(|text| Some(text.to_owned()));
        let read = StoredEpoch::read(&row);
        let Some(StoredEpoch { server, seconds: 7, epoch, stored: Some(stored) }) = read else {
            panic!("{read:?}")
        };
        assert_eq!((server.server.as_str(), server.started_at_ms, server.generation), ("s", Some(5), None));
        assert_eq!((epoch.number(), stored.started_at_ms, stored.generation), (9, Some(6), Some(3)));
        assert!(StoredEpoch::read(&[]).is_none());
        assert!(StoredEpoch::read(&[None; COLUMNS].map(|_: Option<()>| None)).is_none(), "the row is gone");
    }
}
