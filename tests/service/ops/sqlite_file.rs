//! The SQLite file: its owner and mode, and its replacement.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use crate::support::{Client, Service, eventually, service::run_program};

/// The files of a folder with their modes.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().mode() & 0o777))
        .collect()
}

/// The file contains versions, which are rights to release. (The umask of the tests lets everybody read.)
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.sqlite");
    for _ in 0..2 {
        let mut service = Service::start(file.to_str().unwrap()).await;
        service.client().hold("k").await;
        let modes = modes(folder.path());
        assert!(modes.len() == 3 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
        service.signal("KILL");
        service.end(Duration::from_secs(5)).await;
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
}

/// Guards invariant 1: another process that opens the path would grant the same locks.
#[tokio::test]
async fn a_file_that_is_taken_away_stops_writes() {
    type Away = fn(&Path);
    let ways: [(&str, Away); 5] = [
        ("deleted", |file| std::fs::remove_file(file).unwrap()),
        ("its log deleted", |file| std::fs::remove_file(beside(file, "-wal")).unwrap()),
        ("moved", |file| std::fs::rename(file, file.with_extension("moved")).unwrap()),
        ("its folder moved", |file| std::fs::rename(file.parent().unwrap(), other_folder(file)).unwrap()),
        ("replaced", |file| {
            std::fs::copy(file, file.with_extension("copy")).unwrap();
            std::fs::rename(file.with_extension("copy"), file).unwrap();
        }),
    ];
    for (what, take_away) in ways {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let file = inner.join("locks.sqlite");
        let service = Service::start(file.to_str().unwrap()).await;
        let svc = service.client();
        let held = svc.hold("k").await;
        let waiting = svc.queue_up("k", json!({"wait_ms": 60_000}), 1).await;
        take_away(&file);
        for answer in [
            svc.get("/ready").await,
            svc.acquire("other", json!({"wait_ms": 0})).await,
            svc.heartbeat("k", &held.version).await,
            svc.release("k", &held.version).await,
            waiting.await.unwrap(),
        ] {
            answer.unavailable();
            assert!(
                answer.body["detail"].as_str().unwrap().contains("SQLite file"),
                "{what}: {}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn a_file_that_comes_back_is_written_to_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.sqlite");
    let service = Service::start(file.to_str().unwrap()).await;
    let svc: Client = service.client();
    let held = svc.hold("k").await;
    std::fs::rename(&file, file.with_extension("moved")).unwrap();
    svc.heartbeat("k", &held.version).await.unavailable();
    std::fs::rename(file.with_extension("moved"), &file).unwrap();
    let beats = async || (svc.heartbeat("k", &held.version).await.status == 200).then_some(());
    eventually("it writes again", Duration::from_secs(10), beats).await;
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", file.display()))
}

fn other_folder(file: &Path) -> PathBuf {
    file.parent().unwrap().with_extension("moved")
}

#[tokio::test]
async fn no_folder_is_created_and_no_planted_link_followed() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/locks.sqlite");
    let victim = folder.path().join("victim");
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    symlink(&victim, shared.join("locks.sqlite")).unwrap();
    for (path, named) in [(missing, "missing"), (shared.join("locks.sqlite"), "shared/locks.sqlite")] {
        for url in [path.display().to_string(), format!("sqlite://{}?mode=rwc", path.display())] {
            let output = run_program(&url, &["migrate", "up"]).await;
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && said.contains(named), "{said}");
        }
    }
    assert!(!folder.path().join("missing").exists() && !victim.exists());
}
