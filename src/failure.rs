//! How failures that end the program are told: in one line, with their causes, and where.

use std::{error::Error, fmt::Write as _};

use db_locks_service::store::DatabasePlace;

/// What ends the program early, for the log.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// An error and its causes, each once: many repeat what their cause says.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

/// Tells why the program ends: in the log, and where the log leaves errors out on standard error all the same.
pub(crate) fn tell(error: &(dyn Error + 'static)) {
    use std::io::Write;
    let text = with_causes(error);
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{text}");
    } else {
        // There is nobody left to tell that this cannot be written.
        let _ = writeln!(std::io::stderr(), "error: {text}");
    }
}

/// A failure at a database, with the place of that database. A place has no user and no password.
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
