//! Reports failures that end the program: in one line, with their causes and the place.

use std::{error::Error, fmt::Write as _};

use db_locks_service::store::DatabasePlace;

/// The reason why the program ends early, for the log.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Formats an error and its causes, each text once: many errors repeat the text of their cause.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

/// Reports why the program ends: in the log, or on standard error if the log's filter drops errors.
pub(crate) fn tell(error: &(dyn Error + 'static)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Layer {
        said: &'static str,
        source: Option<Box<Self>>,
    }

    fn layer(said: &'static str, source: Option<Layer>) -> Layer {
        Layer { said, source: source.map(Box::new) }
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = layer("cannot start", Some(layer("io: refused", Some(layer("refused", None)))));
        assert_eq!(with_causes(&error), "cannot start: io: refused");
    }
}
