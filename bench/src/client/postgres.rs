//! Bare `PostgreSQL`: the statements of a hand-written lock with one row for each lock, directly on the database.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    task::Poll,
};

use tokio_postgres::{NoTls, Socket, Statement, tls::NoTlsStream};

use super::{Ask, Failure, Grant};

/// The table. The free space in its pages lets an update stay on the page of the row that it replaces.
pub(crate) const SCHEMA: &str = r#"
    CREATE TABLE bare_locks (
        key text COLLATE "C" PRIMARY KEY,
        owner text NOT NULL,
        fencing_token bigint NOT NULL,
        expires_at timestamptz NOT NULL
    ) WITH (fillfactor = 50)"#;

/// Creates the lock or takes it if it is free; no row if another client holds it.
pub(crate) const ACQUIRE: &str = "
    INSERT INTO bare_locks AS held (key, owner, fencing_token, expires_at)
    VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
    ON CONFLICT (key) DO UPDATE SET owner = excluded.owner,
        fencing_token = held.fencing_token + 1, expires_at = excluded.expires_at
    WHERE held.expires_at <= clock_timestamp()
    RETURNING fencing_token";

/// Frees the lock if the token is still that of its grant.
pub(crate) const RELEASE: &str = "
    UPDATE bare_locks SET expires_at = '-infinity'
    WHERE key = $1 AND fencing_token = $2 AND expires_at > '-infinity'";

/// Extends the lease of the grant that the token names.
const HEARTBEAT: &str = "
    UPDATE bare_locks SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
    WHERE key = $1 AND fencing_token = $2 AND expires_at > clock_timestamp()";

/// A connection whose traffic the calling task handles, so that no second task has to be woken for each statement.
pub(crate) struct Session {
    client: tokio_postgres::Client,
    connection: Pin<Box<tokio_postgres::Connection<Socket, NoTlsStream>>>,
}

impl Session {
    /// Connects to a database over TCP. Sequential scans are off: a plan made while the table was empty stays right.
    pub(crate) async fn connect(address: SocketAddr, database: &str) -> Result<Self, Failure> {
        let connected = tokio_postgres::Config::new()
            .host(address.ip().to_string())
            .port(address.port())
            .user("locks")
            .dbname(database)
            .options("-c enable_seqscan=off")
            .connect(NoTls)
            .await;
        let (client, connection) = connected.map_err(|error| Failure::driver("connect", &error))?;
        Ok(Self { client, connection: Box::pin(connection) })
    }

    /// Runs a request on the connection to its end.
    async fn drive<T>(
        connection: &mut Pin<Box<tokio_postgres::Connection<Socket, NoTlsStream>>>,
        call: &'static str,
        request: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let mut request = pin!(request);
        let answer = poll_fn(|context| {
            // The request hands its message to the connection, which sends it, or hands back what has arrived.
            if let Poll::Ready(answer) = request.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            request.as_mut().poll(context).map(Some)
        });
        match answer.await {
            Some(answer) => answer.map_err(|error| Failure::driver(call, &error)),
            None => Err(Failure::Io(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Prepares a statement.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        Self::drive(&mut self.connection, "prepare", self.client.prepare(sql)).await
    }

    /// Runs a prepared statement that returns at most one row.
    pub(crate) async fn query(
        &mut self,
        call: &'static str,
        statement: &Statement,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Option<tokio_postgres::Row>, Failure> {
        Self::drive(&mut self.connection, call, self.client.query_opt(statement, values)).await
    }

    /// Runs a prepared statement, and returns the number of rows that it changed.
    async fn execute(
        &mut self,
        call: &'static str,
        statement: &Statement,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<u64, Failure> {
        Self::drive(&mut self.connection, call, self.client.execute(statement, values)).await
    }

    /// Runs statements that are not part of a measurement.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        Self::drive(&mut self.connection, "batch", self.client.batch_execute(sql)).await
    }
}

/// A client with its statements prepared.
pub(crate) struct Postgres {
    session: Session,
    acquire: Statement,
    release: Statement,
    heartbeat: Statement,
    /// `PostgreSQL` multiplies intervals by double precision.
    lease_ms: f64,
}

impl Postgres {
    /// Connects and prepares.
    pub(super) async fn connect(address: SocketAddr, ask: Ask) -> Result<Self, Failure> {
        let mut session = Session::connect(address, "locks").await?;
        let acquire = session.prepare(ACQUIRE).await?;
        let release = session.prepare(RELEASE).await?;
        let heartbeat = session.prepare(HEARTBEAT).await?;
        Ok(Self { session, acquire, release, heartbeat, lease_ms: crate::number::float(ask.lease_ms) })
    }

    /// Tries once; the fencing token names the grant.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let row = self.session.query("acquire", &self.acquire, &[&key, &"bench", &self.lease_ms]).await?;
        let token: i64 = row.ok_or(Failure::Refused("acquire"))?.get(0);
        let fencing_token = u64::try_from(token).map_err(|_| Failure::Malformed("acquire"))?;
        Ok(Grant { fencing_token, ..Grant::default() })
    }

    /// Releases.
    pub(super) async fn release(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let token = token(grant)?;
        one(self.session.execute("release", &self.release, &[&key, &token]).await?, "release")
    }

    /// Extends the lease.
    pub(super) async fn heartbeat(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let token = token(grant)?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&key, &token, &self.lease_ms];
        one(self.session.execute("heartbeat", &self.heartbeat, &values).await?, "heartbeat")
    }
}

/// The token as the database keeps it.
fn token(grant: &Grant) -> Result<i64, Failure> {
    i64::try_from(grant.fencing_token).map_err(|_| Failure::Malformed("token"))
}

/// Checks that a statement changed one row.
fn one(rows: u64, call: &'static str) -> Result<(), Failure> {
    if rows == 1 { Ok(()) } else { Err(Failure::Refused(call)) }
}
