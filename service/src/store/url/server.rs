//! The URL of a server: its host, its database, and the parameters that its driver knows.

use sea_orm::sqlx::{mysql::MySqlConnectOptions, postgres::PgConnectOptions};

use super::{
    DatabasePlace, ParsedUrl, UrlError,
    hosts::{Host, Hosts, NO_HOST, UrlHost, read_hosts},
    text::{decode, parameters, printable},
};

/// The databases that run as servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Postgres,
    MySql,
}

impl Server {
    /// The scheme that the driver knows.
    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
        }
    }

    /// The parameters that the driver knows. The driver ignores others, or logs them with their values.
    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &[
                "sslmode",
                "ssl-mode",
                "sslrootcert",
                "ssl-root-cert",
                "ssl-ca",
                "sslcert",
                "ssl-cert",
                "sslkey",
                "ssl-key",
                "statement-cache-capacity",
                "host",
                "hostaddr",
                "port",
                "dbname",
                "user",
                "password",
                "application_name",
                "options",
            ],
            Self::MySql => &[
                "sslmode",
                "ssl-mode",
                "sslca",
                "ssl-ca",
                "charset",
                "collation",
                "sslcert",
                "ssl-cert",
                "sslkey",
                "ssl-key",
                "statement-cache-capacity",
                "socket",
                "timezone",
                "time-zone",
            ],
        }
    }

    fn knows(self, parameter: &str) -> bool {
        self.parameters().contains(&parameter) || self == Self::Postgres && parameter.starts_with("options[")
    }
}

/// Reads a server's URL, from the text after `//`.
pub(super) fn server_url(server: Server, dialect: &'static str, rest: &str) -> Result<ParsedUrl, UrlError> {
    const ENCODE: &str =
        "cannot be told apart: in a user or password / ? # @ and % are written %2F %3F %23 %40 and %25";
    if rest.contains('#') {
        return Err(UrlError::Part(ENCODE));
    }
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
    let path = path.trim_start_matches('/');
    if path.contains('@') || path.contains('/') {
        return Err(UrlError::Part(ENCODE));
    }
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let user = if authority.contains('@') { format!("{user}@") } else { String::new() };
    let written = read_hosts(hosts, server.port())?;
    let parameters = Parameters::read(server, query)?;
    let socket = parameters.last(&["host", "hostaddr", "socket"]);
    if written.len() > 1 && parameters.last(&["host", "hostaddr", "socket", "port"]).is_some() {
        return Err(UrlError::Part(
            "has several hosts before the database and another one among its parameters",
        ));
    }
    let database = parameters.last(&["dbname"]).or_else(|| (!path.is_empty()).then(|| decode(path)));
    let database = database
        .ok_or(UrlError::Part("names no database; it stands after the host, as in …@HOST/DATABASE"))?;
    let database_part = before_query.strip_prefix(authority).unwrap_or_default();
    let hosts = Hosts::try_map(written, |UrlHost { text, name }| {
        let name = socket.clone().unwrap_or(name);
        if name.is_empty() {
            return Err(UrlError::Part(NO_HOST));
        }
        let url = format!("{}://{user}{text}{database_part}{}", server.scheme(), parameters.known);
        check_with_driver(server, &url)?;
        Ok(Host { url, name })
    })?;
    let place = DatabasePlace { dialect, host: hosts.names(), database };
    Ok(ParsedUrl { hosts, place, unknown_parameters: parameters.unknown })
}

/// The parameters of a server's URL.
struct Parameters<'u> {
    pairs: Vec<(&'u str, &'u str)>,
    /// The parameters that the driver knows, with the question mark before them.
    known: String,
    /// The names of the parameters that have no effect.
    unknown: Vec<String>,
}

impl<'u> Parameters<'u> {
    fn read(server: Server, query: &'u str) -> Result<Self, UrlError> {
        let ours = parameters(query).filter(|(name, _)| *name == TARGET);
        for (_, value) in ours {
            check_target(value)?;
        }
        let others = parameters(query).filter(|(name, _)| !name.is_empty() && *name != TARGET);
        let (pairs, unknown): (Vec<_>, Vec<_>) = others.partition(|(name, _)| server.knows(name));
        let list = |(name, value): &(&str, &str)| {
            ["host", "hostaddr", "port"].contains(name) && (value.contains(',') || value.contains("%2C"))
        };
        if pairs.iter().any(list) {
            return Err(UrlError::Part(
                "has a list of hosts among its parameters; write them before the database, as in \
                 …@HOST1:PORT1,HOST2:PORT2/DATABASE",
            ));
        }
        let known: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let known = if known.is_empty() { String::new() } else { format!("?{}", known.join("&")) };
        Ok(Self { pairs, known, unknown: unknown.into_iter().map(|(name, _)| printable(name)).collect() })
    }

    /// The last value of a parameter with one of these names, if it is not empty.
    fn last(&self, names: &[&str]) -> Option<String> {
        let last = self.pairs.iter().rev().find(|(name, value)| names.contains(name) && !value.is_empty());
        last.map(|(_, value)| decode(value))
    }
}

/// The parameter with which other programs choose the kind of server.
const TARGET: &str = "target_session_attrs";

/// Refuses to use a standby: the service writes, so it always uses the server that accepts writes.
fn check_target(value: &str) -> Result<(), UrlError> {
    match value {
        "any" | "read-write" | "primary" => Ok(()),
        "standby" | "read-only" | "prefer-standby" => Err(UrlError::Part(
            "asks for a standby by target_session_attrs; the service writes: leave it out, or write read-write",
        )),
        _ => Err(UrlError::Part("has a target_session_attrs that is none of any, read-write and primary")),
    }
}

/// Checks that the driver can read the URL, too. The driver's error may contain a part of the URL, so it is shown only
/// if no secret is in it.
fn check_with_driver(server: Server, url: &str) -> Result<(), UrlError> {
    let read = match server {
        Server::Postgres => url.parse::<PgConnectOptions>().map(drop),
        Server::MySql => url.parse::<MySqlConnectOptions>().map(drop),
    };
    read.map_err(|error| {
        let said = error.to_string();
        let shows_a_secret = secrets(url).iter().any(|secret| said.contains(secret));
        UrlError::Unreadable(if shows_a_secret { "a part of it is malformed".to_owned() } else { said })
    })
}

/// The parts of a URL that may be a password, as written and decoded.
fn secrets(url: &str) -> Vec<String> {
    let (before_query, query) = url.split_once('?').unwrap_or((url, ""));
    let user = before_query.rsplit_once('@').map_or("", |(user, _)| user);
    let password = user.splitn(3, ':').nth(2).unwrap_or_default();
    let of_query = parameters(query).filter(|(name, _)| *name == "password").map(|(_, value)| value);
    let written = of_query.chain([password]).filter(|secret| !secret.is_empty());
    written.flat_map(|secret| [secret.to_owned(), decode(secret)]).collect()
}
