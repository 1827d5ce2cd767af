//! The URL of a server: its host, its database, and the parameters that its driver knows.

use sea_orm::sqlx::{mysql::MySqlConnectOptions, postgres::PgConnectOptions};

use super::{
    DatabasePlace, Read, UrlError,
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

    /// The parameters that its driver knows. It says nothing of others, or logs them with their values.
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

/// A server's URL, of what comes after `//`.
pub(super) fn server_url(server: Server, dialect: &'static str, rest: &str) -> Result<Read, UrlError> {
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
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = read_host(server, host)?;
    let (known, unknown): (Vec<_>, Vec<_>) =
        parameters(query).filter(|(name, _)| !name.is_empty()).partition(|(name, _)| server.knows(name));
    let given = |names: &[&str]| {
        let last = known.iter().rev().find(|(name, value)| names.contains(name) && !value.is_empty());
        last.map(|(_, value)| decode(value))
    };
    let socket = given(&["host", "hostaddr", "socket"]);
    let host = socket.or_else(|| (!host.is_empty()).then(|| decode(&host)));
    let host = host.ok_or(UrlError::Part("names no host"))?;
    let database = given(&["dbname"]).or_else(|| (!path.is_empty()).then(|| decode(path)));
    let database = database
        .ok_or(UrlError::Part("names no database; it stands after the host, as in …@HOST/DATABASE"))?;
    let mut url = format!("{}://{before_query}", server.scheme());
    let known: Vec<String> = known.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !known.is_empty() {
        url = format!("{url}?{}", known.join("&"));
    }
    check_with_driver(server, &url)?;
    let place = DatabasePlace { dialect, host, database };
    let unknown_parameters = unknown.into_iter().map(|(name, _)| printable(name)).collect();
    Ok(Read { url, place, unknown_parameters })
}

/// The host with its port, where there is one.
fn read_host(server: Server, host: &str) -> Result<String, UrlError> {
    const PORT: UrlError = UrlError::Part("has a port that is not a number from 1 to 65535");
    const HOST: UrlError = UrlError::Part("has a host that is neither a name nor an address");
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(HOST)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| HOST)?;
        match port.strip_prefix(':') {
            None if !port.is_empty() => return Err(HOST),
            port => (format!("[{address}]"), port),
        }
    } else {
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        (name.to_owned(), port)
    };
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%[:]".contains(&byte) || !byte.is_ascii();
    if !name.bytes().all(may_stand) {
        return Err(HOST);
    }
    match port {
        None if name.is_empty() || name.starts_with("%2") => Ok(name),
        None => Ok(format!("{name}:{}", server.port())),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(format!("{name}:{port}")),
            Ok(_) | Err(_) => Err(PORT),
        },
    }
}

/// Whether the driver can read the URL too. What it says may hold a part of it, so it is shown only where that is no secret.
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

/// What of a URL may be a password: as it is written, and decoded.
fn secrets(url: &str) -> Vec<String> {
    let (before_query, query) = url.split_once('?').unwrap_or((url, ""));
    let user = before_query.rsplit_once('@').map_or("", |(user, _)| user);
    let password = user.splitn(3, ':').nth(2).unwrap_or_default();
    let of_query = parameters(query).filter(|(name, _)| *name == "password").map(|(_, value)| value);
    let written = of_query.chain([password]).filter(|secret| !secret.is_empty());
    written.flat_map(|secret| [secret.to_owned(), decode(secret)]).collect()
}
