//! Bare `MariaDB`: the statements of a hand-written lock with one row for each lock, directly on the database.

use std::net::SocketAddr;

use mysql_async::{Conn, OptsBuilder, Statement, prelude::Queryable};

use super::{Ask, Failure, Grant};
use crate::number::unique;

/// The table. Keys compare byte for byte, and the times are microseconds.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE bare_locks (
        name VARBINARY(255) PRIMARY KEY,
        owner VARBINARY(255) NOT NULL,
        token BIGINT UNSIGNED NOT NULL,
        fencing_token BIGINT UNSIGNED NOT NULL,
        expires_at DATETIME(6) NOT NULL
    ) ENGINE = InnoDB";

/// Creates the lock or takes it if it is free, and returns the token of the grant. Each assignment sees the earlier
/// ones, so the columns that the condition reads are assigned last.
const ACQUIRE: &str = "
    INSERT INTO bare_locks (name, owner, token, fencing_token, expires_at)
    VALUES (?, ?, ?, 1, NOW(6) + INTERVAL ? MICROSECOND)
    ON DUPLICATE KEY UPDATE
        owner = IF(expires_at <= NOW(6), VALUES(owner), owner),
        token = IF(expires_at <= NOW(6), VALUES(token), token),
        fencing_token = IF(expires_at <= NOW(6), fencing_token + 1, fencing_token),
        expires_at = IF(expires_at <= NOW(6), VALUES(expires_at), expires_at)
    RETURNING token, fencing_token";

/// Frees the lock if the token is still that of its grant.
const RELEASE: &str = "
    UPDATE bare_locks SET expires_at = '1970-01-01' WHERE name = ? AND token = ? AND expires_at > '1970-01-01'";

/// Extends the lease of the grant that the token names.
const HEARTBEAT: &str = "
    UPDATE bare_locks SET expires_at = NOW(6) + INTERVAL ? MICROSECOND
    WHERE name = ? AND token = ? AND expires_at > NOW(6)";

/// Connects over TCP as the user that the benchmark created.
pub(crate) async fn connect(address: SocketAddr, database: Option<&str>) -> Result<Conn, Failure> {
    let options = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some("locks"))
        .pass(Some("locks"))
        .db_name(database)
        .prefer_socket(false)
        .setup(vec!["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"]);
    Conn::new(options).await.map_err(|error| Failure::driver("connect", &error))
}

/// A client with its statements prepared.
pub(crate) struct Mariadb {
    connection: Conn,
    acquire: Statement,
    release: Statement,
    heartbeat: Statement,
    lease_us: u64,
}

impl Mariadb {
    /// Connects and prepares.
    pub(super) async fn connect(address: SocketAddr, ask: Ask) -> Result<Self, Failure> {
        let mut connection = connect(address, Some("locks")).await?;
        let [acquire, release, heartbeat] = [ACQUIRE, RELEASE, HEARTBEAT];
        let acquire = prepare(&mut connection, acquire).await?;
        let release = prepare(&mut connection, release).await?;
        let heartbeat = prepare(&mut connection, heartbeat).await?;
        let lease_us = ask.lease_ms * 1_000;
        Ok(Self { connection, acquire, release, heartbeat, lease_us })
    }

    /// Tries once; the token names the grant.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let own = unique();
        let values = (key, "bench", own, self.lease_us);
        let row: Option<(u64, u64)> = self
            .connection
            .exec_first(&self.acquire, values)
            .await
            .map_err(|error| Failure::driver("acquire", &error))?;
        match row {
            Some((token, fencing_token)) if token == own => {
                Ok(Grant { name: token.to_string(), fencing_token, ..Grant::default() })
            }
            Some(_) => Err(Failure::Refused("acquire")),
            None => Err(Failure::Malformed("acquire")),
        }
    }

    /// Releases.
    pub(super) async fn release(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let done = self.connection.exec_drop(&self.release, (key, token(grant)?)).await;
        self.expect_one(done, "release")
    }

    /// Extends the lease.
    pub(super) async fn heartbeat(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let values = (self.lease_us, key, token(grant)?);
        let done = self.connection.exec_drop(&self.heartbeat, values).await;
        self.expect_one(done, "heartbeat")
    }

    /// Checks that a statement changed one row.
    fn expect_one(&self, done: Result<(), mysql_async::Error>, call: &'static str) -> Result<(), Failure> {
        done.map_err(|error| Failure::driver(call, &error))?;
        if self.connection.affected_rows() == 1 { Ok(()) } else { Err(Failure::Refused(call)) }
    }
}

/// Prepares a statement.
async fn prepare(connection: &mut Conn, sql: &str) -> Result<Statement, Failure> {
    connection.prep(sql).await.map_err(|error| Failure::driver("prepare", &error))
}

/// The token as the database keeps it.
fn token(grant: &Grant) -> Result<u64, Failure> {
    grant.name.parse().map_err(|_| Failure::Malformed("token"))
}
