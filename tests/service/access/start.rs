//! Settings of authentication that are refused at the start.

use crate::support::{Dialect, Service, names::free_port, service::run_program_with};

/// The output of a start with these settings, which must fail.
async fn refused(url: &str, settings: &[(&str, &str)]) -> String {
    let output = run_program_with(url, settings, &[]).await;
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn beyond_loopback_a_start_needs_authentication_or_insecure() {
    let database = Dialect::Sqlite.database().await.unwrap();
    for listen in ["0.0.0.0:0", ":0", "127.0.0.1:0, 0.0.0.0:0"] {
        for auth in ["", "none"] {
            let said = refused(&database.url, &[("DB_LOCKS_LISTEN", listen), ("DB_LOCKS_AUTH", auth)]).await;
            assert!(said.contains("DB_LOCKS_AUTH=required") && said.contains("--insecure"), "{said}");
        }
    }
    let listen = format!("0.0.0.0:{}", free_port());
    let port = listen.rsplit(':').next().unwrap().parse().unwrap();
    let settings = [("DB_LOCKS_LISTEN", listen.as_str()), ("DB_LOCKS_INSECURE", "true")];
    let _service = Service::start_at(&database.url, &settings, port).await;
}

#[tokio::test]
async fn authentication_needs_a_way_to_authenticate() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let required = [("DB_LOCKS_AUTH", "required"), ("DB_LOCKS_LISTEN", "127.0.0.1:0")];
    let said = refused(&database.url, &required).await;
    assert!(
        said.contains("db-locks token create") && said.contains("DB_LOCKS_BOOTSTRAP_TOKEN_FILE"),
        "{said}"
    );
    let output = run_program_with(&database.url, &[], &["token", "create", "ci", "--role", "write"]).await;
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    let service = Service::start_with(&database.url, &[("DB_LOCKS_AUTH", "required")]).await;
    service.client().with_token(token.trim()).hold("k").await;
    service.client().lock("k").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_bootstrap_file_that_cannot_be_used_is_named() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap();
    let settings = [("DB_LOCKS_AUTH", "required"), ("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", path)];
    assert!(refused(&database.url, &settings).await.contains(path));
    std::fs::write(&file, "too-short").unwrap();
    let said = refused(&database.url, &settings).await;
    assert!(said.contains("32 characters") && !said.contains("too-short"), "{said}");
}
