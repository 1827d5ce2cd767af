//! The servers that a URL names, and the one among them that is written to.
//!
//! A server that is named alone is used as it is. Of several servers the one that accepts writes is used. It is found
//! by asking all of them side by side, at start and then about once a second (`watch`); `choice` has the rule. When
//! another server is chosen, connections to the former one are no longer used.

mod choice;
mod nodelay;
mod search;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sqlx::{self, Connection};
use tokio::{sync::watch::Sender, task::JoinHandle, time::Instant};

use self::{
    nodelay::set_nodelay,
    search::{FoundServer, ServerSearch},
};
use super::{
    health::Health,
    not_sent::NotSent,
    server_status::Timeline,
    session::{Driver, Session},
    url::{Host, Hosts},
};
use crate::spawn_critical;

/// The options of a driver's connections.
pub(super) type ConnectOptionsOf<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// The servers of one URL. The task that watches several servers ends when this is dropped.
pub(super) struct Servers<DB: Driver> {
    shared: Arc<Shared<DB>>,
    watch: Option<JoinHandle<()>>,
}

/// The state that the watching task shares with the pools.
struct Shared<DB: Driver> {
    servers: Vec<Server<DB>>,
    health: Arc<Health>,
    /// The result of the last search.
    search: Sender<ServerSearch>,
    /// The highest timeline that was used so far. Never locked across an await.
    highest: Mutex<Option<Timeline>>,
}

/// One server.
struct Server<DB: Driver> {
    host: Host,
    options: ConnectOptionsOf<DB>,
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
    /// Makes the servers of a URL. Several servers are watched from now on. The pools that use the servers share
    /// `health`.
    pub(super) fn start(
        hosts: &Hosts,
        options: impl Fn(&str) -> Result<ConnectOptionsOf<DB>, sqlx::Error>,
        health: Arc<Health>,
    ) -> Result<Arc<Self>, sqlx::Error> {
        let server = |host: &Host| Ok(Server { host: host.clone(), options: options(&host.url)? });
        let servers = hosts.iter().map(server).collect::<Result<Vec<_>, sqlx::Error>>()?;
        let search =
            if hosts.are_several() { ServerSearch::unknown() } else { ServerSearch::of_single_server() };
        let shared =
            Arc::new(Shared { servers, health, search: Sender::new(search), highest: Mutex::default() });
        let watch = hosts.are_several().then(|| spawn_critical(watch::watch(shared.clone())));
        Ok(Arc::new(Self { shared, watch }))
    }

    /// Whether there are several servers.
    pub(super) const fn are_several(&self) -> bool {
        self.watch.is_some()
    }

    /// Failures on the way to the servers.
    pub(super) fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// The host that accepts writes.
    pub(super) async fn host(&self) -> Result<&Host, sqlx::Error> {
        Ok(&self.shared.servers[self.choose().await?].host)
    }

    /// Connection options for the server that accepts writes.
    pub(super) async fn options(&self) -> Result<&ConnectOptionsOf<DB>, sqlx::Error> {
        Ok(&self.shared.servers[self.choose().await?].options)
    }

    /// Opens a connection to the server that accepts writes, with the settings of `session` if there is one.
    pub(super) async fn connect(&self, session: Option<&Session>) -> Result<DB::Connection, sqlx::Error> {
        let server = self.choose().await?;
        let connected = self.shared.connect(server, session).await;
        if connected.is_err() {
            self.shared.health.request_check();
        }
        let connection = connected?;
        if self.shared.search.borrow().found == FoundServer::Server(server) {
            return Ok(connection);
        }
        Err(NotSent::ServerChanged.into())
    }

    /// The server that accepts writes. If none is known, this waits for the next search.
    async fn choose(&self) -> Result<usize, sqlx::Error> {
        let called = Instant::now();
        let mut searches = self.shared.search.subscribe();
        let is_answer = |search: &ServerSearch| {
            matches!(search.found, FoundServer::Server(_)) || search.began >= Some(called)
        };
        let search = searches.wait_for(is_answer).await.map_err(|_| sqlx::Error::PoolClosed)?;
        search.found.server()
    }
}

impl<DB: Driver> Shared<DB> {
    async fn connect(&self, server: usize, session: Option<&Session>) -> Result<DB::Connection, sqlx::Error> {
        let options = &self.servers[server].options;
        let mut connection = DB::Connection::connect_with(options).await?;
        if let Some(port) = DB::port(options) {
            set_nodelay(port).await;
        }
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

    /// Records the timeline of a server that is used. Refuses a lower timeline: an address may lead back to a former
    /// primary.
    fn note_timeline(&self, timeline: Timeline) -> Result<(), sqlx::Error> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if highest.as_ref().is_some_and(|highest| timeline.is_behind(highest)) {
            let why = "its timeline is lower than one seen before: it is a former primary";
            return Err(NotSent::ReadOnly(why).into());
        }
        *highest = Some(timeline);
        Ok(())
    }
}
