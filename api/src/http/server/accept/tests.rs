use std::{
    future::{Ready, ready},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use axum::{http::Request, response::Response};
use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::http::{connection::ClientBody, server::turns::Turns};

/// No more than a kernel keeps until they are accepted.
const CLIENTS: usize = 100;
/// More than the runtime's queue of a thread has places for.
const TASKS: usize = 600;

fn answer(_: Request<ClientBody>) -> Ready<Result<Response, Infallible>> {
    ready(Ok(Response::default()))
}

fn acceptor() -> Acceptor<impl HttpService> {
    let (http1, turns) = (crate::http::server::http1(), Turns::new(1));
    Acceptor {
        protocols: Protocols { http1, tls: None, memory: Arc::default(), turns },
        service: tower::service_fn(answer),
        phase: watch::channel(Phase::Serving).0,
        slots: Slots::new(CLIENTS, false),
        refuser: Refuser::default(),
        metrics: ConnectionMetrics::new(CLIENTS),
    }
}

fn connect(address: SocketAddr, count: usize) -> Vec<net::TcpStream> {
    (0..count).map(|_| net::TcpStream::connect(address).unwrap()).collect()
}

#[tokio::test]
async fn clients_that_connect_at_once_leave_other_tasks_a_chance() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clients = connect(listener.local_addr().unwrap(), CLIENTS);
    let acceptor = acceptor();
    let _accepting = acceptor.accept_on(vec![listener]).unwrap();
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut begun = 0;
    while begun < CLIENTS {
        yield_now().await;
        let now = Handle::current().metrics().num_alive_tasks() - tasks;
        assert!(now - begun <= IN_A_ROW, "{} were begun in a row", now - begun);
        begun = now;
    }
    drop(clients);
}

/// Requests of others keep the runtime's only thread busy: each time that a task is polled it takes a millisecond.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_are_accepted_while_very_many_tasks_are_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, polls) = (acceptor(), Arc::new(AtomicUsize::new(0)));
    let accepting = acceptor.clone();
    let _accepting = tokio::spawn(async move { accepting.accept_on(vec![listener]) }).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let polls = Arc::clone(&polls);
        tasks.spawn(async move {
            loop {
                thread::sleep(Duration::from_millis(1));
                polls.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
    }
    let clients = connect(address, CLIENTS);
    let before = polls.load(Ordering::Relaxed);
    while acceptor.slots.free() > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let meanwhile = polls.load(Ordering::Relaxed) - before;
    assert!(meanwhile < 2 * TASKS, "{meanwhile} others were polled meanwhile");
    drop(clients);
}

/// Otherwise its client would see a reset, and not that the service stops.
#[tokio::test]
async fn a_stop_waits_for_a_connection_that_has_not_begun() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clients = connect(listener.local_addr().unwrap(), 1);
    let (acceptor, arrivals) = (acceptor(), Arrivals::new(1));
    let (tcp, peer) = listener.accept().await.unwrap();
    acceptor.admit(tcp.into_std().unwrap(), peer, true, &arrivals);
    assert_eq!(acceptor.phase.receiver_count(), 1);
    acceptor.begin(arrivals.next().await);
    drop(clients);
    acceptor.phase.closed().await;
}

#[tokio::test]
async fn a_client_that_is_gone_takes_no_slot() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..CLIENTS {
        drop(connect(address, 1));
    }
    let waiting = connect(address, 1);
    let acceptor = acceptor();
    let _accepting = acceptor.accept_on(vec![listener]).unwrap();
    while acceptor.phase.receiver_count() == 0 {
        yield_now().await;
        assert!(acceptor.slots.free() >= CLIENTS - 1);
    }
    drop(waiting);
}
