//! A connection whose server's side is polled by hand, so that a test decides what has come before it goes on.

use std::{
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
};

use futures_util::poll;
use tokio::{sync::oneshot, task::yield_now};

use super::*;
use crate::http::connection::{LastParty, Party};

/// A connection. Each of its requests takes the next answer of those that the test has put.
pub(super) struct ByHand {
    pub(super) client: TcpStream,
    pub(super) turns: Turns,
    pub(super) phase: watch::Sender<Phase>,
    /// Notified when a request has begun.
    began: Arc<Notify>,
    answer: Option<oneshot::Sender<Response>>,
    served: Served,
}

impl ByHand {
    /// A connection that nobody has polled. Its first request is answered by [`Self::answer`], later ones at once.
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (tcp, peer) = listener.accept().await.unwrap();
        let (turns, phase) = (Turns::new(1), watch::channel(Phase::Serving).0);
        let party = LastParty::of_newcomer(peer.ip(), turns.newcomers());
        let slot = Slots::new(1, false).take(Party::UNKNOWN, peer.ip()).unwrap();
        let protocols = Protocols { http1: http1(), tls: None, memory: Arc::default(), turns: turns.clone() };
        let (answer, first) = oneshot::channel();
        let (began, first) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Some(first))));
        let begins = Arc::clone(&began);
        let service = tower::service_fn(move |_: Request<ClientBody>| {
            begins.notify_one();
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            Box::pin(async move {
                let answer = match first {
                    Some(first) => first.await.ok(),
                    None => None,
                };
                Ok(answer.unwrap_or_default())
            }) as Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>
        });
        let counted = (slot, ConnectionMetrics::new(1).opened());
        let connection =
            client::serve(protocols, (tcp, peer, party), true, service, phase.subscribe(), counted);
        let served = Served { connection: Some(Box::pin(connection)) };
        Self { client, turns, phase, began, answer: Some(answer), served }
    }

    /// Sends these bytes, and serves the connection until a request has begun.
    pub(super) async fn request(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        let began = Arc::clone(&self.began);
        self.serve_until(began.notified()).await;
    }

    /// Serves the connection until this is ready.
    pub(super) async fn serve_until<T>(&mut self, ready: impl Future<Output = T>) -> T {
        in_time(self.served.while_waiting(ready)).await
    }

    /// Serves the connection until its client has read this text so many times.
    pub(super) async fn serve_until_read(&mut self, text: &str, times: usize) {
        let read_all = async {
            let mut read = Vec::new();
            while String::from_utf8_lossy(&read).matches(text).count() < times {
                assert!(self.client.read_buf(&mut read).await.unwrap() > 0, "it ends after {read:?}");
            }
        };
        in_time(self.served.while_waiting(read_all)).await;
    }

    /// Answers the first request.
    pub(super) fn answer(&mut self, answer: Response) {
        assert!(self.answer.take().unwrap().send(answer).is_ok(), "the request waits");
    }

    /// Polls the connection once, after the runtime has noticed what the client has sent. Returns whether it has ended.
    pub(super) async fn poll(&mut self) -> bool {
        for _ in 0..2 {
            yield_now().await;
        }
        self.poll_before_runtime().await
    }

    /// The same before the runtime has noticed anything.
    pub(super) async fn poll_before_runtime(&mut self) -> bool {
        let polled = poll!(pin!(self.served.run()));
        polled.is_ready()
    }
}

/// The server's side.
struct Served {
    /// `None` once it has ended.
    connection: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Served {
    /// Completes when the connection has ended.
    async fn run(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.await;
            self.connection = None;
        }
    }

    async fn while_waiting<T>(&mut self, ready: impl Future<Output = T>) -> T {
        let mut ready = pin!(ready);
        tokio::select! {
            biased;
            () = self.run() => ready.await,
            ready = &mut ready => ready,
        }
    }
}
