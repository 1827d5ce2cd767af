//! A client's host vanishes: no packet comes from it any more, not even the end of its connection.
//!
//! The service runs in a network namespace with only a loopback interface, and its clients too. When the interface is
//! taken down, both sides still run and neither hears of the other. Only TCP's keepalive can notice that.

use std::{
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{apart::serve_apart, eventually, leash::Leashed};

const PORT: u16 = 8080;
/// The longest time that keepalive takes (`api/src/http/server`): 5 to 20 s of silence, then five probes 2 s apart.
const NOTICED_WITHIN: Duration = Duration::from_secs(32);

/// A service in a network of its own.
struct Island {
    service: Leashed,
    folder: TempDir,
}

impl Island {
    /// Starts the service; `None` if this user may not create network namespaces.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("service.log");
        let up = "ip link set lo up";
        let service = serve_apart("-rn", up, "A VANISHED HOST", folder.path(), &log, PORT, &[])?;
        Some(Self { service, folder })
    }

    /// A command inside the service's network.
    fn inside(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["-t", &self.service.id().to_string(), "-n", "-U", "--preserve-credentials"])
            .args(command);
        inside
    }

    fn run(&self, command: &[&str]) -> Output {
        self.inside(command).output().unwrap()
    }

    fn acquire(&self, key: &str, body: &str) -> Command {
        let url = format!("http://127.0.0.1:{PORT}/locks/{key}/acquire");
        self.inside(&["curl", "-sf", "-H", "content-type: application/json", "-d", body, &url])
    }

    /// The number of waiters by the metrics; `None` while they cannot be read.
    fn waiters(&self) -> Option<String> {
        let metrics = self.run(&["curl", "-sf", &format!("http://127.0.0.1:{PORT}/metrics")]);
        let metrics = String::from_utf8(metrics.stdout).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("db_locks_waiters "));
        line.map(str::to_owned)
    }

    async fn until_so_many_wait(&self, expected: &str) {
        eventually(&format!("{expected} wait"), Duration::from_secs(20), || {
            std::future::ready(self.waiters().filter(|waiters| waiters == expected))
        })
        .await;
    }
}

/// Guards invariant 7.
#[tokio::test]
async fn a_waiter_whose_host_vanished_leaves_the_queue() {
    let Some(island) = Island::start() else { return };
    island.until_so_many_wait("0").await;
    assert!(island.acquire("a", r#"{"lease_duration_ms": 600000}"#).status().unwrap().success());
    let mut waiter = island.acquire("a", r#"{"wait_ms": 600000}"#).spawn().unwrap();
    island.until_so_many_wait("1").await;
    assert!(island.run(&["ip", "link", "set", "lo", "down"]).status.success());
    tokio::time::sleep(NOTICED_WITHIN).await;
    assert!(island.run(&["ip", "link", "set", "lo", "up"]).status.success());
    assert_eq!(waiter.try_wait().unwrap(), None, "the client's side has heard nothing");
    island.until_so_many_wait("0").await;
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    drop(island.folder);
}
