//! Watches several servers: asks all of them about once a second, and at once when a connection raises suspicion.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sea_orm::sqlx::{self, Connection};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    ConnectOptionsOf, Shared,
    choice::{Choice, choose},
    search::{FoundServer, ServerSearch},
};
use crate::{
    log_limit::LogLimit,
    store::{server_status::ServerStatus, session::Driver},
};

/// The time between two searches for the server that accepts writes.
const PERIOD: Duration = Duration::from_secs(1);
/// The time between two searches while no server is known to accept writes, and the least pause between searches.
const SHORT_PERIOD: Duration = Duration::from_millis(100);
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// How long a search lasts. A server that has not answered by then is not asked again: the next search waits for its
/// answer. So one server that hangs does not keep another one from being found.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a connection is used. After that, a name may lead to another server.
const LIFE: Duration = Duration::from_secs(10);

/// A connection that is kept for the next question.
struct KeptConnection<DB: Driver> {
    connection: DB::Connection,
    opened: Instant,
}

/// The result of a question.
struct Answer<DB: Driver> {
    server: usize,
    /// The state that the server reports, or else its refusal or why there is no answer.
    said: Result<(ServerStatus, KeptConnection<DB>), String>,
}

/// Searches for the server that accepts writes, in an endless loop.
pub(super) async fn watch<DB: Driver>(shared: Arc<Shared<DB>>) {
    let mut kept: Vec<Option<KeptConnection<DB>>> = shared.servers.iter().map(|_| None).collect();
    let mut is_asked = vec![false; kept.len()];
    let mut questions = FuturesUnordered::new();
    loop {
        let began = Instant::now();
        for (server, is_asked) in is_asked.iter_mut().enumerate() {
            // A question that was not answered during the last search still waits for its answer.
            if !std::mem::replace(is_asked, true) {
                let question = ask::<DB>(server, shared.servers[server].options.clone(), kept[server].take());
                questions.push(question);
            }
        }
        let mut answers: Vec<Result<ServerStatus, String>> =
            kept.iter().map(|_| Err("no answer".to_owned())).collect();
        let until = began + SEARCH_TIMEOUT;
        while let Ok(Some(Answer { server, said })) = timeout_at(until, questions.next()).await {
            is_asked[server] = false;
            answers[server] = said.map(|(status, connection)| {
                kept[server] = Some(connection);
                status
            });
        }
        let is_sure = shared.choose_server(questions.is_empty().then_some(began), &answers);
        sleep(SHORT_PERIOD).await;
        if is_sure {
            // After a suspicion or the full period, it is time for the next search.
            let _ = timeout(PERIOD.saturating_sub(SHORT_PERIOD), shared.health.check_requested()).await;
        }
    }
}

/// Asks a server for its state, over the connection that was kept, or else over a new one.
async fn ask<DB: Driver>(
    server: usize,
    options: ConnectOptionsOf<DB>,
    kept: Option<KeptConnection<DB>>,
) -> Answer<DB> {
    let asked = async {
        if let Some(mut kept) = kept.filter(|kept| kept.opened.elapsed() < LIFE)
            && let Ok(status) = DB::status(&mut kept.connection).await
        {
            return Ok((status, kept));
        }
        let mut connection = DB::Connection::connect_with(&options).await?;
        let status = DB::status(&mut connection).await?;
        Ok::<_, sqlx::Error>((status, KeptConnection { connection, opened: Instant::now() }))
    };
    let said = match timeout(ANSWER, asked).await {
        Ok(said) => said.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    Answer { server, said }
}

impl<DB: Driver> Shared<DB> {
    /// Chooses a server by the answers. Returns whether the chosen server has answered. `began` is `None` if answers
    /// are still missing after the search: then it is not certain that there is no server to use.
    fn choose_server(&self, began: Option<Instant>, answers: &[Result<ServerStatus, String>]) -> bool {
        let statuses: Vec<_> = answers.iter().map(|answer| answer.as_ref().ok()).collect();
        let found = {
            let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
            let choice = choose(&statuses, highest.as_ref());
            if let Choice::Use { server, .. } = &choice
                && let Some(timeline) = statuses[*server].and_then(|status| status.timeline.clone())
            {
                *highest = Some(timeline);
            }
            self.found(choice, answers)
        };
        let before = self.search.borrow().found.clone();
        self.search.send_modify(|search| {
            if matches!(before, FoundServer::Server(_)) && before != found {
                // Done together with the choice: connections that are begun later lead to the new server.
                self.health.abandon_server();
            }
            *search = ServerSearch { began: began.or(search.began), found: found.clone() };
        });
        if before != found {
            match &found {
                FoundServer::Server(server) => {
                    tracing::info!(
                        host = self.servers[*server].host.name,
                        "the database is written to at this host"
                    );
                }
                FoundServer::NoneWrites => tracing::warn!("no host of the database URL accepts writes"),
                FoundServer::Several(_) | FoundServer::Silence(_) => {}
            }
        }
        matches!(found, FoundServer::Server(server) if answers[server].is_ok())
    }

    /// The result of a choice. A server that was in use stays in use if it has not answered and no other one accepts
    /// writes.
    fn found(&self, choice: Choice, answers: &[Result<ServerStatus, String>]) -> FoundServer {
        static SEVERAL_WRITABLE: LogLimit = LogLimit::new();
        match choice {
            Choice::Use { server, rivals } => {
                if !rivals.is_empty()
                    && let Some(left_out) = SEVERAL_WRITABLE.pass()
                {
                    tracing::error!(
                        left_out,
                        used = self.servers[server].host.name,
                        not_used = self.names(&rivals),
                        "several servers accept writes: those that are not used are former primaries; take them away"
                    );
                }
                FoundServer::Server(server)
            }
            Choice::Undecided(servers) => {
                let names = self.names(&servers);
                if let Some(left_out) = SEVERAL_WRITABLE.pass() {
                    tracing::error!(
                        left_out,
                        hosts = names,
                        "several servers accept writes, and it is unknown which of them is the right one: none is used"
                    );
                }
                FoundServer::Several(names)
            }
            // The server in use has not answered: its connections find out by themselves whether it can still be used.
            Choice::NoneWrites | Choice::Silence
                if let FoundServer::Server(server) = self.search.borrow().found
                    && answers[server].is_err() =>
            {
                FoundServer::Server(server)
            }
            Choice::NoneWrites => FoundServer::NoneWrites,
            Choice::Silence => FoundServer::Silence(self.describe_failures(answers)),
        }
    }

    fn names(&self, servers: &[usize]) -> String {
        servers.iter().map(|server| self.servers[*server].host.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Why no server answered, for each server.
    fn describe_failures(&self, answers: &[Result<ServerStatus, String>]) -> String {
        let said = self.servers.iter().zip(answers);
        let said = said.filter_map(|(server, answer)| {
            Some(format!("{} ({})", server.host.name, answer.as_ref().err()?))
        });
        said.collect::<Vec<_>>().join(", ")
    }
}
