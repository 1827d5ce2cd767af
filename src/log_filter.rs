//! The value of `--log`.

use std::{fmt, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The log filter: a level, or directives such as `info,db_locks=debug`.
#[derive(Debug, Clone)]
pub(crate) struct LogFilter(String);

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    /// Rejects misspelled levels. `tracing` would read such a word as a target that nothing logs to, and the log would be silent.
    fn from_str(text: &str) -> Result<Self, String> {
        let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
        let directives = directives.map(read_directive).collect::<Result<Vec<_>, _>>()?;
        if directives.is_empty() {
            return Err(format!("it names no level; levels are {LEVELS}"));
        }
        let text = directives.join(",");
        EnvFilter::try_new(&text).map_err(|error| error.to_string())?;
        Ok(Self(text))
    }
}

const LEVELS: &str = "off, error, warn, info, debug, trace";

/// A level, or a target and its level.
fn read_directive(directive: &str) -> Result<String, String> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (Some(target.trim()), level.trim()),
        None => (None, directive),
    };
    if level.parse::<LevelFilter>().is_err() {
        return Err(format!("'{level}' is not a level; levels are {LEVELS}"));
    }
    let Some(target) = target else { return Ok(level.to_owned()) };
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !target.split("::").all(is_name) {
        return Err(format!(
            "'{target}' is not a target; a target is a module's path, such as db_locks_service::store"
        ));
    }
    Ok(format!("{target}={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_with_levels_are_understood() {
        for filter in [
            "debug",
            "INFO",
            "0",
            "info,db_locks=debug",
            " warn , sqlx::query = off ,",
            "db_locks_api::server=5",
        ] {
            assert!(filter.parse::<LogFilter>().is_ok(), "{filter}");
        }
    }

    /// A typing error must not silence the log.
    #[test]
    fn what_is_no_level_is_refused_by_its_name() {
        for (filter, named) in [
            ("debg", "'debg'"),
            ("db_locks", "'db_locks'"),
            ("info,db_locks=debg", "'debg'"),
            ("info;db_locks=debug", "'info;db_locks'"),
            ("db-locks=debug", "'db-locks'"),
            ("db_locks:debug", "'db_locks:debug'"),
            ("=debug", "''"),
            ("info db_locks=debug", "'info db_locks'"),
            (",", "no level"),
        ] {
            let refusal = filter.parse::<LogFilter>().err().unwrap_or_default();
            assert!(refusal.contains(named), "{filter}: {refusal}");
        }
    }
}
