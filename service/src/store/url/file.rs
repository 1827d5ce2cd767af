//! Reads the URL or the path of a SQLite file.

use std::path::Path;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use super::{
    DatabasePlace, ParsedUrl, UrlError,
    hosts::{Host, Hosts},
    text::parameters,
};

/// Reads a SQLite URL, from the text after `sqlite:`. A missing file is created unless the URL says otherwise.
pub(super) fn sqlite_url(rest: &str) -> Result<ParsedUrl, UrlError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (file, query) = path.split_once('?').unwrap_or((path, "mode=rwc"));
    if file.is_empty() || file == ":memory:" || parameters(query).any(|pair| pair == ("mode", "memory")) {
        return Err(UrlError::InMemory);
    }
    if file.contains("://") {
        return Err(UrlError::Suspicious("another URL in it"));
    }
    // Looks like the user and password before a server's host.
    if file.split('/').next().is_some_and(|first| first.contains('@')) {
        return Err(UrlError::Suspicious("an @ where a SQLite file's path begins"));
    }
    for (name, value) in parameters(query) {
        match (name, value) {
            ("mode", "rw" | "rwc") | ("cache", "private" | "shared") => {}
            ("mode", _) => {
                return Err(UrlError::Part("has a mode other than rw and rwc: the service writes"));
            }
            _ => {
                return Err(UrlError::Part(
                    "has a parameter other than mode, which is all that a SQLite file takes",
                ));
            }
        }
    }
    sqlite(format!("sqlite://{file}?{query}"))
}

/// Makes the SQLite URL of a path. Characters with a meaning in URLs are escaped.
pub(super) fn file_url(path: &str) -> Result<ParsedUrl, UrlError> {
    if path.is_empty() || path == ":memory:" {
        return Err(UrlError::InMemory);
    }
    check_path(path)?;
    // SQLite reads a name that begins with `file:` as a URL, but not a name that begins with a folder.
    let path = Path::new(".").join(path);
    let escaped = |byte: u8| match byte {
        b'/' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let path: String = path.to_string_lossy().bytes().map(escaped).collect();
    sqlite(format!("sqlite://{path}?mode=rwc"))
}

/// Refuses a path that may have been meant for something else.
fn check_path(path: &str) -> Result<(), UrlError> {
    let lower = path.to_ascii_lowercase();
    if let Some((scheme, _)) = lower.split_once("://")
        && is_scheme(scheme)
    {
        return Err(UrlError::Scheme(scheme.to_owned()));
    }
    let signs = [
        ("jdbc:", "jdbc: in it"),
        ("odbc:", "odbc: in it"),
        ("://", "a :// without a known scheme before it"),
        (":/", "a :/ in it"),
        ("=", "an = in it"),
        ("@", "an @ in it, and no known scheme before it"),
        ("\"", "quotation marks in it"),
        ("'", "quotation marks in it"),
        ("`", "quotation marks in it"),
        ("${", "a variable in it that nothing replaced"),
        ("$(", "a variable in it that nothing replaced"),
        ("{{", "a variable in it that nothing replaced"),
    ];
    if let Some((_, what)) = signs.iter().find(|(sign, _)| lower.contains(sign)) {
        return Err(UrlError::Suspicious(what));
    }
    if ["sqlite", "postgres", "postgresql", "mysql", "mariadb", "localhost"].contains(&lower.as_str()) {
        return Err(UrlError::Suspicious("a word in it that is neither a URL nor the path of a file"));
    }
    // `user:password/host/database`. A folder with such a name can be written with ./ before it.
    if path.split_once('/').is_some_and(|(first, _)| first.contains(':')) {
        return Err(UrlError::Suspicious("a : before its first /, and no known scheme"));
    }
    let has_port =
        |(_, port): (&str, &str)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !path.contains('/') && path.rsplit_once(':').is_some_and(has_port) {
        return Err(UrlError::Suspicious("a host and a port in it, and no scheme"));
    }
    Ok(())
}

/// Whether a URL may begin with this text. A word that is longer than any scheme may be anything.
fn is_scheme(text: &str) -> bool {
    text.len() <= 24
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn sqlite(url: String) -> Result<ParsedUrl, UrlError> {
    let options: SqliteConnectOptions =
        url.parse().map_err(|error: sea_orm::sqlx::Error| UrlError::Unreadable(error.to_string()))?;
    let database = options.get_filename().display().to_string();
    let place = DatabasePlace { dialect: "sqlite", host: String::new(), database };
    let hosts = Hosts::one(Host { url, name: String::new() });
    Ok(ParsedUrl { hosts, place, unknown_parameters: Vec::new() })
}
