//! The messages of a failed start, and the secrets that they do not contain.

use std::{process::Output, time::Duration};

use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{
    Dialect, Service, eventually,
    names::{free_port, random_text},
    service::{run_program, run_program_with},
    sql,
};

fn said(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// The rules of URLs have their own tests. This test is about the whole program, which also logs messages of its
/// libraries.
#[tokio::test]
async fn a_mistyped_database_url_makes_no_file_and_shows_no_password() {
    for url in [
        "'postgres://app:S3cret@127.0.0.1:1/locks'",
        " postgres://app:S3cret@127.0.0.1:1/locks",
        "host=127.0.0.1 password=S3cret",
        "app:S3cret@127.0.0.1:1/locks",
        "postgres://app:S3cret@127.0.0.1:notaport/locks",
        "postgres://app:S3cret/x@127.0.0.1:1/locks",
        "postgres://app:S3cret@127.0.0.1:1/locks?pasword=S3cret",
        "mysql://app:S3%63ret@127.0.0.1:1/locks",
        "postgres://127.0.0.1:1/locks?user=app&password=S3cret",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_db-locks"));
        command.env_clear().env("DATABASE_URL", url).env("DB_LOCKS_LOG", "trace");
        command.env("DB_LOCKS_LISTEN", "127.0.0.1:0").current_dir(folder.path());
        let said = said(&command.output().await.unwrap());
        assert!(said.to_lowercase().contains("database") && !said.contains("S3cret"), "{url}: {said}");
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "{url}");
    }
}

#[tokio::test]
async fn a_url_as_an_argument_is_not_shown() {
    for arguments in [
        &["postgres://app:S3cret@h/d"][..],
        &["--databaseurl=postgres://app:S3cret@h/d"],
        &["migrate", "postgres://a:S3cret@h/d"],
    ] {
        let said = said(&run_program("x.sqlite", arguments).await);
        assert!(!said.contains("S3cret"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_named_with_its_cause() {
    let port = free_port();
    for scheme in ["postgres", "mysql"] {
        let said = said(&run_program(&format!("{scheme}://app:S3cret@127.0.0.1:{port}/locks"), &[]).await);
        assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("refused"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_the_database_or_the_user_is_quoted() {
    for dialect in Dialect::SERVERS {
        let Some(database) = dialect.database().await else { continue };
        let address = database.server_address();
        let (server, _) = database.url.rsplit_once('/').unwrap();
        let unknown = said(&run_program(&format!("{server}/no_such_database"), &[]).await);
        assert!(unknown.contains("no_such_database") && unknown.contains(&address), "{unknown}");
        let (scheme, _) = server.split_once("://").unwrap();
        let refused = said(&run_program(&format!("{scheme}://nobody:S3cret@{address}/x"), &[]).await);
        assert!(refused.contains("nobody") && !refused.contains("S3cret"), "{refused}");
    }
}

/// The message of the driver itself would ask the user to compile something.
#[tokio::test]
async fn a_mysql_that_wants_the_password_encrypted_is_explained() {
    let Some(database) = Dialect::MySql.database().await else { return };
    // Nobody has logged in as this user, so the server has not cached its password.
    let user = format!("new_{}", random_text());
    sql::execute(&database.url, &format!("CREATE USER {user} IDENTIFIED BY 'S3cret'")).await.unwrap();
    let address = database.server_address();
    let url = format!("mysql://{user}:S3cret@{address}/mysql?ssl-mode=disabled");
    let refused = said(&run_program(&url, &[]).await);
    assert!(refused.contains("ssl-mode") && !refused.contains("feature"), "{refused}");
}

/// The address is taken before the database is touched.
#[tokio::test]
async fn an_address_in_use_ends_the_start_before_anything_is_migrated() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.sqlite");
    let output = run_program_with(file.to_str().unwrap(), &[("DB_LOCKS_LISTEN", &address)], &[]).await;
    let said = said(&output);
    assert!(said.contains(&address) && said.contains("DB_LOCKS_LISTEN"), "{said}");
    assert!(!file.exists());
}

#[tokio::test]
async fn empty_variables_count_as_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_db-locks"));
    command.args(["migrate", "up"]).env_clear().current_dir(folder.path());
    for name in [
        "DATABASE_URL",
        "DB_LOCKS_LISTEN",
        "DB_LOCKS_SHARDS",
        "DB_LOCKS_LOG",
        "DB_LOCKS_LOG_FORMAT",
        "DB_LOCKS_MIGRATE",
    ] {
        command.env(name, "");
    }
    let output = command.output().await.unwrap();
    assert!(output.status.success() && folder.path().join("db-locks.sqlite").exists(), "{output:?}");
}

#[tokio::test]
async fn a_mistyped_level_is_refused_by_its_name() {
    let by_flag = run_program("x.sqlite", &["--log", "debg"]).await;
    let by_variable = run_program_with("x.sqlite", &[("DB_LOCKS_LOG", "info,db_locks=debg")], &[]).await;
    for output in [by_flag, by_variable] {
        assert!(said(&output).contains("debg"));
    }
}

#[tokio::test]
async fn the_start_is_logged_with_numbers_as_numbers_and_without_the_password() {
    for dialect in [&[Dialect::Sqlite], &Dialect::SERVERS[..]].concat() {
        let Some(database) = dialect.database().await else { continue };
        let service = Service::start_with(&database.url, &[("DB_LOCKS_LOG_FORMAT", "json")]).await;
        let log = service.log();
        let start = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|line| line["message"] == "starting")
            .unwrap();
        let place = database.url.rsplit('/').next().unwrap().split('?').next().unwrap();
        assert!(start["version"].is_string() && start["dialect"].is_string(), "{start}");
        assert!(start["database"].as_str().unwrap().ends_with(place), "{start}");
        assert!(!log.contains("locks:locks"), "{log}");
    }
}

#[tokio::test]
async fn health_tells_a_service_that_is_ready_from_one_that_is_not() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let (here, nowhere) =
        (format!("http://127.0.0.1:{}", service.port()), format!("http://127.0.0.1:{}", free_port()));
    let health = async |name, value: &str| run_program_with("x.sqlite", &[(name, value)], &["health"]).await;
    assert_eq!(health("DB_LOCKS_URL", &here).await.status.code(), Some(0));
    assert_eq!(health("DB_LOCKS_URL", &format!("{nowhere},{here}/")).await.status.code(), Some(0));
    assert_eq!(health("DB_LOCKS_LISTEN", &format!(":{}", service.port())).await.status.code(), Some(0));
    let away = health("DB_LOCKS_URL", &nowhere).await;
    assert_eq!(away.status.code(), Some(69));
    assert!(said(&away).contains(&nowhere));
    let no_url = health("DB_LOCKS_URL", "postgres://app:S3cret@h/d").await;
    assert_eq!(no_url.status.code(), Some(64));
    assert!(!said(&no_url).contains("S3cret"));
}

#[tokio::test]
async fn one_service_listens_on_several_addresses() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let (one, other) = (free_port(), free_port());
    let listen = format!("localhost:{one}, {other}");
    let mut service = Service::spawn(&database.url, &[("DB_LOCKS_LISTEN", &listen)]);
    let urls = [format!("http://127.0.0.1:{one}"), format!("http://127.0.0.1:{other}")];
    eventually("both answer", Duration::from_secs(20), async || {
        let mut ready = true;
        for url in &urls {
            ready &=
                run_program_with("x.sqlite", &[("DB_LOCKS_URL", url)], &["health"]).await.status.success();
        }
        ready.then_some(())
    })
    .await;
    service.signal("TERM");
    assert!(service.end(Duration::from_secs(10)).await.success());
}
