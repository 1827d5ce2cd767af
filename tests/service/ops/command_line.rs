//! Arguments, environment variables and logs.

use serde_json::{Value, json};

use crate::support::{Dialect, Service, service::run_program};

const NOWHERE: &str = "sqlite://nowhere.sqlite";

#[tokio::test]
async fn help_lists_all_settings() {
    let output = run_program(NOWHERE, &["--help"]).await;
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for name in [
        "DATABASE_URL",
        "DB_LOCKS_LISTEN",
        "DB_LOCKS_MIGRATE",
        "DB_LOCKS_MIGRATE_WAIT_MS",
        "DB_LOCKS_LOG",
        "DB_LOCKS_LOG_FORMAT",
        "DB_LOCKS_MAX_LEASE_MS",
        "DB_LOCKS_MAX_WAIT_MS",
        "DB_LOCKS_MAX_WAITERS_PER_KEY",
        "DB_LOCKS_MAX_WAITERS_PER_TENANT",
        "DB_LOCKS_MAX_WAITERS",
        "DB_LOCKS_MAX_BYTES_PER_TENANT",
        "DB_LOCKS_SWEEP_PERIOD_MS",
        "DB_LOCKS_TOMBSTONE_RETENTION_MS",
        "DB_LOCKS_FLOOR_SETTLE_MS",
        "DB_LOCKS_IDLE_LOCK_RETENTION_MS",
        "DB_LOCKS_EXPIRED_DELETE_AFTER_MS",
        "migrate",
        "health",
        "openapi",
    ] {
        assert!(help.contains(name), "{name} in:\n{help}");
    }
}

#[tokio::test]
async fn help_does_not_show_the_databases_password() {
    let output = run_program("postgres://user:secret-word@localhost/locks", &["--help"]).await;
    assert!(!String::from_utf8(output.stdout).unwrap().contains("secret-word"));
}

#[tokio::test]
async fn the_document_is_the_repositorys() {
    let output = run_program(NOWHERE, &["openapi"]).await;
    assert!(output.status.success());
    let committed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
    let committed = std::fs::read_to_string(committed).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed == committed, "openapi.yaml is not what `db-locks openapi` prints: generate it again");
}

#[tokio::test]
async fn invalid_settings_are_refused_at_start() {
    let unknown_scheme = run_program("oracle://localhost/locks", &[]).await;
    assert!(!unknown_scheme.status.success());
    let unknown_flag = run_program(NOWHERE, &["--no-such-flag"]).await;
    assert!(!unknown_flag.status.success());
    let no_file = run_program("sqlite:///dev/null/locks.sqlite", &[]).await;
    assert!(!no_file.status.success());
    for output in [unknown_scheme, unknown_flag, no_file] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.is_empty() && !said.contains("panicked"), "{said}");
    }
}

/// A value without a scheme is a file, whatever its name would mean in a URL.
#[tokio::test]
async fn a_value_without_a_scheme_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("my dir")).unwrap();
    let file = folder.path().join("my dir/a%20b?c#d:e <[f.sqlite");
    let service = Service::start(file.to_str().unwrap()).await;
    service.client().hold("k").await;
    assert!(file.exists());
}

#[tokio::test]
async fn a_name_without_a_scheme_is_a_file_of_the_working_directory() {
    for name in ["with space.db", "a:b.db", "[x].db", "a%41.db", "a?b.db", "file:x"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_db-locks"));
        command.args(["migrate", "up"]).env_clear().env("DATABASE_URL", name).current_dir(folder.path());
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && folder.path().join(name).exists(), "{name}: {said}");
    }
}

#[tokio::test]
async fn logs_are_json_where_asked_for_and_tell_no_secrets() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let settings = [("DB_LOCKS_LOG_FORMAT", "json"), ("DB_LOCKS_LOG", "debug")];
    let mut service = Service::start_with(&database.url, &settings).await;
    let svc = service.client();
    let ask = json!({"owner": "secret-owner", "data": "secret-data"});
    let grant = svc.acquire("k", ask).await.grant();
    svc.acquire("k", json!({"owner": 1})).await.names_invalid("owner");
    svc.release("k", &grant.version).await.unheld(200);
    service.signal("TERM");
    service.end(std::time::Duration::from_secs(10)).await;
    let log = service.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let entry = serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
        assert_ne!(entry["level"], "ERROR", "a bad request is no error of ours: {line}");
    }
    assert!(!log.contains("secret-data"), "no lock data in a log:\n{log}");
}

#[tokio::test]
async fn manual_pages_come_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_program(NOWHERE, &["manual", folder.path().to_str().unwrap()]).await;
    assert!(output.status.success());
    let page = std::fs::read_to_string(folder.path().join("db-locks-run.1")).unwrap();
    assert!(page.contains("skip") && page.contains(".TH db-locks-run"), "{page}");
    assert!(!folder.path().join("db-locks-run-watchdog.1").exists(), "it is hidden");
    let absent = folder.path().join("absent");
    let output = run_program(NOWHERE, &["manual", absent.to_str().unwrap()]).await;
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success() && text.contains(absent.to_str().unwrap()), "{text}");
}
