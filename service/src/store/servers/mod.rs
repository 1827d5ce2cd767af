//! The servers that a URL names, and which of them is written to.
//!
//! One that is named alone is used as it is. Of several the one that accepts writes is found by asking all of them side by side, at
//! start and about once a second from then on (`watch`); `choice` has the rule. When another one is chosen, all connections to
//! the former one are left.

mod choice;
mod look;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sqlx::{self, Connection};
use tokio::{sync::watch::Sender, task::JoinHandle, time::Instant};

use self::look::{Found, Look};
use super::{
    health::Health,
    session::{Driver, ReadOnlyServer, Session, refused},
    standing::Timeline,
    url::{Host, Hosts},
};
use crate::spawn_critical;

/// The options of a driver's connections.
pub(super) type OptionsOf<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// The servers of one URL. The task that watches several of them ends with this.
pub(super) struct Servers<DB: Driver> {
    shared: Arc<Shared<DB>>,
    watch: Option<JoinHandle<()>>,
}

/// What the task that watches shares with the pools.
struct Shared<DB: Driver> {
    servers: Vec<Server<DB>>,
    health: Arc<Health>,
    /// What the last look at all servers found.
    look: Sender<Look>,
    /// The highest timeline that was used so far. Never locked across an await.
    highest: Mutex<Option<Timeline>>,
}

/// One server.
struct Server<DB: Driver> {
    host: Host,
    options: OptionsOf<DB>,
}

impl<DB: Driver> std::fmt::Debug for Servers<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs and options may hold a password.
        let names = self.shared.servers.iter().map(|server| &server.host.name);
        f.debug_list().entries(names).finish()
    }
}

impl<DB: Driver> Drop for Servers<DB> {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

impl<DB: Driver> Servers<DB> {
    /// The servers of a URL. Several of them are watched from now on; the pools that use them share `health`.
    pub(super) fn start(
        hosts: &Hosts,
        options: impl Fn(&str) -> Result<OptionsOf<DB>, sqlx::Error>,
        health: Arc<Health>,
    ) -> Result<Arc<Self>, sqlx::Error> {
        let server = |host: &Host| Ok(Server { host: host.clone(), options: options(&host.url)? });
        let servers = hosts.iter().map(server).collect::<Result<Vec<_>, sqlx::Error>>()?;
        let look = if hosts.are_several() { Look::before_the_first() } else { Look::at_the_only_one() };
        let shared = Arc::new(Shared { servers, health, look: Sender::new(look), highest: Mutex::default() });
        let watch = hosts.are_several().then(|| spawn_critical(watch::watch(shared.clone())));
        Ok(Arc::new(Self { shared, watch }))
    }

    /// Whether there are several.
    pub(super) const fn are_several(&self) -> bool {
        self.watch.is_some()
    }

    /// What is known about the way to the servers.
    pub(super) fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// The host that accepts writes.
    pub(super) async fn host(&self) -> Result<&Host, sqlx::Error> {
        Ok(&self.shared.servers[self.choose().await?].host)
    }

    /// How to connect to the server that accepts writes.
    pub(super) async fn options(&self) -> Result<&OptionsOf<DB>, sqlx::Error> {
        Ok(&self.shared.servers[self.choose().await?].options)
    }

    /// A connection to the server that accepts writes, with the settings of a session if there are any to be made.
    pub(super) async fn connect(&self, session: Option<&Session>) -> Result<DB::Connection, sqlx::Error> {
        let server = self.choose().await?;
        let connected = self.shared.connect(server, session).await;
        if connected.is_err() {
            self.shared.health.suspect();
        }
        let connection = connected?;
        if self.shared.look.borrow().found == Found::Server(server) {
            return Ok(connection);
        }
        Err(refused(ChosenAnew))
    }

    /// The server that accepts writes. If none is known, this waits for what is found next.
    async fn choose(&self) -> Result<usize, sqlx::Error> {
        let called = Instant::now();
        let mut looks = self.shared.look.subscribe();
        let is_answer = |look: &Look| matches!(look.found, Found::Server(_)) || look.began >= Some(called);
        let look = looks.wait_for(is_answer).await.map_err(|_| sqlx::Error::PoolClosed)?;
        look.found.server()
    }
}

impl<DB: Driver> Shared<DB> {
    async fn connect(&self, server: usize, session: Option<&Session>) -> Result<DB::Connection, sqlx::Error> {
        let mut connection = DB::Connection::connect_with(&self.servers[server].options).await?;
        if let Some(session) = session {
            DB::set_up(session, &mut connection).await?;
        }
        if let Some(timeline) = DB::timeline(&mut connection).await? {
            self.note_timeline(timeline)?;
        }
        if let Some(session) = session {
            session.epochs.check::<DB>(session.dialect, &mut connection).await?;
        }
        Ok(connection)
    }

    /// Notes the timeline of a server that is used, or refuses it: an address may lead back to a former primary.
    fn note_timeline(&self, timeline: Timeline) -> Result<(), sqlx::Error> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if highest.as_ref().is_some_and(|highest| timeline.is_behind(highest)) {
            return Err(refused(ReadOnlyServer(
                "its timeline is lower than one seen before: it is a former primary",
            )));
        }
        *highest = Some(timeline);
        Ok(())
    }
}

/// Another server was chosen while a connection was made.
#[derive(Debug, thiserror::Error)]
#[error("another server was chosen while this one was connected to")]
struct ChosenAnew;
