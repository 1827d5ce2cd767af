//! Errors as one line of text.

use std::{error::Error, fmt::Write as _};

/// Formats an error and its causes, each text once: many errors repeat the text of their cause.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
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
    fn each_cause_is_named_once() {
        let error = layer("cannot start", Some(layer("io: refused", Some(layer("refused", None)))));
        assert_eq!(with_causes(&error), "cannot start: io: refused");
    }
}
