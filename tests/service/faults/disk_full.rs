//! The disk is full, and later has room again.
//!
//! A service with its SQLite file on a small disk, in a mount namespace of its own.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Client, SOON, apart::serve_apart, eventually, leash::Leashed, names::free_port};

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
        let service = serve_apart("-rm", &mount, "A FULL DISK", &disk, &log, port)?;
        Some(Self { service, folder, port })
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

/// Guards invariant 3: a change that is answered 200 is stored. Other requests get the cause at once.
#[tokio::test]
async fn a_full_disk_is_told_as_one_and_noticed_when_it_is_not_full_any_more() {
    let Some(disk) = SmallDisk::start() else { return };
    let svc = Client::new(disk.port);
    let port = disk.port;
    let listens = async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(());
    eventually("the service listens", SOON, listens).await;
    let ready = async || (svc.get("/ready").await.status == 200).then_some(());
    eventually("the service is ready", SOON, ready).await;
    let held = svc.hold("held").await;
    disk.run(r#"dd if=/dev/zero of="$0/filler" bs=1k 2>/dev/null; true"#);

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

    disk.run(r#"rm "$0/filler""#);
    // There are no writes meanwhile.
    eventually("the service is ready again", SOON, ready).await;
    svc.put("/locks/more", json!({"data": data})).await.expect(201);
    assert_eq!(svc.heartbeat("held", &held.version).await.grant().token, held.token);
}
