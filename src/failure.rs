//! Reports failures that end the program: in one line, with their causes and the place.

use std::error::Error;

use db_locks_service::{store::DatabasePlace, with_causes};

/// The reason why the program ends early, for the log.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Reports why the program ends: in the log, or on standard error if the log's filter drops errors.
pub(crate) fn report(error: &(dyn Error + 'static)) {
    use std::io::Write;
    let text = with_causes(error);
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{text}");
    } else {
        // If standard error cannot be written, the failure cannot be reported.
        let _ = writeln!(std::io::stderr(), "error: {text}");
    }
}

/// A failure at a database, with the database's host and name, without user and password.
pub(crate) fn with_place(place: &DatabasePlace, error: impl Into<Failure>) -> Failure {
    let error: Failure = error.into();
    format!("database {place}: {}", with_causes(&*error)).into()
}
