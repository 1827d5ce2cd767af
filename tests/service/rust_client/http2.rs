//! Connections that many calls share, if the service speaks HTTP/2.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use db_locks::{Client, LocksConfig};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    access::tls::Pki,
    support::{Dialect, SOON, Service, eventually, may_open_files},
};

/// A proxy to a port that counts its connections.
async fn counted(port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (way, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (way, count)
}

/// More acquires than can share a connection.
const WAITING: usize = 510;

#[tokio::test]
async fn waiting_acquires_share_a_connection() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let pki = Pki::new();
    pki.certificate("server", "/CN=localhost", "DNS:localhost,DNS:locks.test");
    let hosts = [("DB_LOCKS_ALLOWED_HOSTS", "locks.test,localhost")];
    let (_service, port) = pki.serve(&database.url, &hosts).await;
    let (way, connections) = counted(port).await;
    let authority = std::fs::read(pki.path("ca.pem")).unwrap();
    let config = LocksConfig::new(format!("https://localhost:{way}")).with_authority(authority);
    // One for each acquire beyond 500, and those that ask for the number of waiters.
    let new = connections_of_waiting(&config, &connections).await;
    assert!((10..30).contains(&new), "{new} new connections");
}

#[tokio::test]
async fn they_do_so_in_the_clear_where_the_service_is_known_to_speak_http2() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let (way, connections) = counted(service.port()).await;
    let config = LocksConfig::new(format!("http://127.0.0.1:{way}"));
    let new = connections_of_waiting(&config.clone().with_http2_prior_knowledge(true), &connections).await;
    assert!((10..30).contains(&new), "{new} new connections");
    let new = connections_of_waiting(&config, &connections).await;
    assert!(new >= WAITING, "{new} new connections: HTTP/1.1 has one for each");
}

/// The number of connections for more waiting acquires than may share one. A release does not wait behind them, and a
/// dropped acquire leaves the queue.
async fn connections_of_waiting(config: &LocksConfig, connections: &AtomicUsize) -> usize {
    // A connection has its two ends and those of the proxy's connection here.
    assert!(may_open_files(4 * WAITING), "the limit of open files is too low (ulimit -n)");
    let client = Client::new(config).unwrap();
    let held = client.lock("k").lease(Duration::from_mins(5)).acquire().await.unwrap();
    let before = connections.load(Ordering::Relaxed);
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        waiting.spawn(client.lock("k").wait(Duration::from_mins(5)).acquire());
    }
    let waiters = async || client.get_lock("k").await.unwrap().waiters;
    let all_wait = async || (waiters().await == WAITING as u64).then_some(());
    eventually("all wait", 3 * SOON, all_wait).await;
    let new = connections.load(Ordering::Relaxed) - before;
    waiting.abort_all();
    let none_waits = async || (waiters().await == 0).then_some(());
    eventually("none waits", 3 * SOON, none_waits).await;
    held.release().await.unwrap();
    assert!(!client.get_lock("k").await.unwrap().locked);
    new
}
