//! The disk is full, and later has room again.
//!
//! A service with its SQLite file on a small disk, in a mount namespace of its own.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Client, SOON, apart::serve_apart, eventually, leash::Leashed, names::free_port};

/// The secret of an administrator.
const ADMIN: &str = "the-administrator-of-a-small-disk";

/// A service on a disk of a few megabytes.
struct SmallDisk {
    service: Leashed,
    folder: TempDir,
    port: u16,
}

impl SmallDisk {
    /// Starts the service; `None` if this user may not mount anything.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let mount = format!("mount -t tmpfs -o size=4m tmpfs {}", disk.display());
        let port = free_port();
        let log = folder.path().join("service.log");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, ADMIN).unwrap();
        let settings =
            [("DB_LOCKS_AUTH", "required"), ("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", secret.to_str().unwrap())];
        let service = serve_apart("-rm", &mount, "A FULL DISK", &disk, &log, port, &settings)?;
        Some(Self { service, folder, port })
    }

    /// An administrator's client, when the service is ready.
    async fn client(&self) -> Client {
        let listens = async || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(());
        eventually("the service listens", SOON, listens).await;
        let client = Client::new(self.port).with_token(ADMIN);
        until_ready(&client).await;
        client
    }

    fn fill(&self) {
        self.run(r#"dd if=/dev/zero of="$0/filler" bs=1k 2>/dev/null; true"#);
    }

    fn free(&self) {
        self.run(r#"rm "$0/filler""#);
    }

    /// Runs a command where the disk is mounted.
    fn run(&self, script: &str) {
        let disk = self.folder.path().join("disk");
        let pid = self.service.id().to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &pid, "-m", "-U", "--preserve-credentials", "sh", "-c", script]).arg(disk);
        let _ = inside.output().unwrap();
    }
}

async fn until_ready(client: &Client) {
    let ready = async || (client.get("/ready").await.status == 200).then_some(());
    eventually("the service is ready", SOON, ready).await;
}

/// Guards invariant 3: a change that is answered 200 is stored. Other requests get the cause at once.
#[tokio::test]
async fn a_full_disk_is_told_as_one_and_noticed_when_it_is_not_full_any_more() {
    let Some(disk) = SmallDisk::start() else { return };
    let svc = disk.client().await;
    let held = svc.hold("held").await;
    disk.fill();

    let data = "x".repeat(30_000);
    let mut stored = 0;
    let refused = loop {
        let begin = std::time::Instant::now();
        let answer = svc.put(&format!("/locks/k{stored}"), json!({"data": data})).await;
        if answer.status != 201 {
            assert!(begin.elapsed().as_secs() < 3, "answered only after {:?}", begin.elapsed());
            break answer;
        }
        stored += 1;
        assert!(stored < 300, "the disk is never full");
    };
    refused.unavailable();
    assert!(
        refused.body["detail"].as_str().unwrap().to_lowercase().contains("disk full"),
        "{}",
        refused.text
    );
    let not_ready = svc.get("/ready").await;
    not_ready.unavailable();
    assert!(
        not_ready.body["detail"].as_str().unwrap().to_lowercase().contains("disk full"),
        "{}",
        not_ready.text
    );
    svc.lock("held").await.grant();

    disk.free();
    // There are no writes meanwhile.
    until_ready(&svc).await;
    svc.put("/locks/more", json!({"data": data})).await.expect(201);
    assert_eq!(svc.heartbeat("held", &held.version).await.grant().token, held.token);
}

/// Tokens, replicas and trials are written over another connection than locks. SQLite ends the transaction of such a write by
/// itself, when the disk is full.
#[tokio::test]
async fn after_a_full_disk_tokens_and_locks_are_stored_as_before() {
    let Some(disk) = SmallDisk::start() else { return };
    let svc = disk.client().await;
    let held = svc.hold("held").await;
    disk.fill();
    let mut refused = 0;
    for number in 0..2_000 {
        let token = svc.post("/tokens", json!({"name": format!("t{number}"), "role": "write"})).await;
        refused += u32::from(token.status == 503);
        svc.heartbeat("held", &held.version).await;
        svc.get("/ready").await;
        if refused == 10 {
            break;
        }
    }
    assert_eq!(refused, 10, "the disk is never full");

    disk.free();
    until_ready(&svc).await;
    let token = svc.post("/tokens", json!({"name": "late", "role": "write"})).await.expect(201);
    let late = svc.with_token(token.body["token"].as_str().unwrap());
    assert_eq!(late.heartbeat("held", &held.version).await.grant().token, held.token);
    late.hold("other").await;
}
