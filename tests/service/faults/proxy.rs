//! A TCP proxy between the service and its database that loses connections on purpose.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

use crate::support::{Database, names::free_port};

/// The state of the proxy.
struct Plan {
    /// The address to which new connections lead.
    server: String,
    /// Connections are closed as soon as they are opened.
    refuse: bool,
    /// The armed cut.
    cut: Option<Cut>,
    /// One answer of this number is lost, with its connection; 0 loses none.
    loses_one_in: u32,
    /// The number of answers since the last lost one.
    answers: u32,
}

/// A cut that waits for its statement.
#[derive(Clone)]
struct Cut {
    /// The text that the first relevant message contains.
    marker: Vec<u8>,
    /// The number of further messages of the connection that pass.
    skip: u32,
    /// Whether the database gets the message, and only its answer is lost.
    forward: bool,
}

/// A proxy; its connections end with it.
pub(crate) struct Proxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
    generation: watch::Sender<u64>,
    freezes: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
}

impl Proxy {
    /// Starts a proxy to the server of this database.
    pub(crate) async fn before(database: &Database) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let proxy = Self {
            port,
            plan: Arc::new(Mutex::new(Plan {
                server: database.server_address(),
                refuse: false,
                cut: None,
                loses_one_in: 0,
                answers: 0,
            })),
            generation: watch::Sender::new(0),
            freezes: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
        };
        let way = Way {
            plan: proxy.plan.clone(),
            generation: proxy.generation.subscribe(),
            freezes: proxy.freezes.subscribe(),
            cuts: proxy.cuts.clone(),
        };
        tokio::spawn(way.accept(listener));
        proxy
    }

    /// The port on which the proxy listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections, and lets new ones through.
    pub(crate) fn cut_all(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Cuts all connections, and lets none through.
    pub(crate) fn take_away(&self) {
        self.plan.lock().unwrap().refuse = true;
        self.cut_all();
    }

    /// Lets connections through again.
    pub(crate) fn bring_back(&self) {
        self.plan.lock().unwrap().refuse = false;
    }

    /// From now on open connections accept bytes and never answer, without an error. New connections work.
    pub(crate) fn freeze(&self) {
        self.freezes.send_modify(|freezes| *freezes += 1);
    }

    /// Leads new connections to another server. Open connections stay as they are.
    pub(crate) fn lead_to(&self, database: &Database) {
        self.plan.lock().unwrap().server = database.server_address();
    }

    /// Arms a cut of the connection that sends a message with `marker`: `skip` messages later, either before the
    /// database receives the message or after it has answered it.
    pub(crate) fn arm(&self, marker: &str, skip: u32, forward: bool) {
        self.plan.lock().unwrap().cut = Some(Cut { marker: marker.into(), skip, forward });
    }

    /// Disarms the cut. Returns whether it had happened.
    pub(crate) fn disarm(&self) -> bool {
        self.plan.lock().unwrap().cut.take().is_none()
    }

    /// From now on loses one of this number of answers, with its connection.
    pub(crate) fn lose_one_in(&self, answers: u32) {
        self.plan.lock().unwrap().loses_one_in = answers;
    }

    /// The number of connections that were cut by an armed cut or a lost answer.
    pub(crate) fn cuts(&self) -> u64 {
        *self.cuts.borrow()
    }
}

/// The state that all connections share.
#[derive(Clone)]
struct Way {
    plan: Arc<Mutex<Plan>>,
    generation: watch::Receiver<u64>,
    freezes: watch::Receiver<u64>,
    cuts: watch::Sender<u64>,
}

/// The fate of a message.
enum Fate {
    Pass,
    LoseIt,
    LoseItsAnswer,
}

impl Way {
    async fn accept(self, listener: TcpListener) {
        let mut generation = self.generation.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => drop(tokio::spawn(self.clone().serve(accepted.unwrap().0))),
                // The proxy is gone when its sender was dropped.
                Err(_) = generation.changed() => return,
            }
        }
    }

    async fn serve(mut self, client: TcpStream) {
        let server = {
            let plan = self.plan.lock().unwrap();
            if plan.refuse {
                return;
            }
            plan.server.clone()
        };
        let Ok(server) = TcpStream::connect(server).await else { return };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let mut generation = self.generation.clone();
        generation.mark_unchanged();
        // From the moment when a statement is passed on whose answer is lost, nothing is passed back.
        let silent = watch::Sender::new(false);
        let heard = silent.subscribe();
        self.freezes.mark_unchanged();
        let (freezes, back) = (self.freezes.clone(), self.clone());
        tokio::select! {
            () = self.requests(from_client, to_server, &silent) => {}
            () = back.answers(from_server, to_client, heard, freezes) => {}
            // Cut, or the proxy is gone.
            _ = generation.changed() => {}
        }
        // The end of one half ends both: the halves are dropped here.
    }

    async fn requests(
        &mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        silent: &watch::Sender<bool>,
    ) {
        let mut buffer = vec![0; 1 << 16];
        let mut counting = None;
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if self.freezes.has_changed().unwrap_or(false) {
                continue;
            }
            let message = &buffer[..read];
            match self.fate(message, &mut counting) {
                Fate::Pass => {}
                Fate::LoseIt => return,
                Fate::LoseItsAnswer => {
                    silent.send_replace(true);
                    drop(to.write_all(message).await);
                    // The other half ends the connection when the answer has come.
                    return std::future::pending().await;
                }
            }
            if to.write_all(message).await.is_err() {
                return;
            }
        }
    }

    fn fate(&self, message: &[u8], counting: &mut Option<u32>) -> Fate {
        let mut plan = self.plan.lock().unwrap();
        let Some(cut) = plan.cut.clone() else { return Fate::Pass };
        let marked = || message.windows(cut.marker.len()).any(|bytes| bytes == cut.marker);
        *counting = match *counting {
            None if marked() => Some(0),
            None => None,
            Some(count) => Some(count + 1),
        };
        if *counting != Some(cut.skip) {
            return Fate::Pass;
        }
        plan.cut = None;
        self.cuts.send_modify(|cuts| *cuts += 1);
        if cut.forward { Fate::LoseItsAnswer } else { Fate::LoseIt }
    }

    async fn answers(
        self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        silent: watch::Receiver<bool>,
        freezes: watch::Receiver<u64>,
    ) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if freezes.has_changed().unwrap_or(false) {
                continue;
            }
            if *silent.borrow() || self.is_lost() || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    /// Whether this answer is lost.
    fn is_lost(&self) -> bool {
        let mut plan = self.plan.lock().unwrap();
        plan.answers += 1;
        let lost = plan.loses_one_in > 0 && plan.answers >= plan.loses_one_in;
        if lost {
            plan.answers = 0;
            self.cuts.send_modify(|cuts| *cuts += 1);
        }
        lost
    }
}
