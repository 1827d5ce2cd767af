//! FIFOs and folders in place of the files that settings name: whoever opens a FIFO waits for another program.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
    time::timeout,
};

use super::{FIRST_ADMIN, Guarded, tls::Pki};
use crate::support::{Client, Dialect, SOON, Service, eventually, service::run_program_with};

/// Why such a file is refused.
const REFUSED: &str = "not a regular file";

/// How long a stop may take.
const AT_MOST: Duration = Duration::from_secs(10);

/// Puts a FIFO in place of what is there.
fn put_fifo(path: &Path) {
    let _ = std::fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts a file in place of what is there, without opening that.
fn put_file(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn ends(service: &mut Service) {
    service.signal("TERM");
    assert_eq!(service.end(AT_MOST).await.code(), Some(0), "its log:\n{}", service.log());
}

#[tokio::test]
async fn a_fifo_in_place_of_a_secret_ends_it_and_stops_neither_the_check_nor_the_end() {
    let mut guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    let until = async |admin: &Client, status: u16| {
        let has_status = async || (admin.get("/locks").await.status == status).then_some(());
        eventually("the file is read", SOON, has_status).await;
    };
    until(&guarded.admin, 200).await;
    put_fifo(&guarded.secret_file);
    until(&guarded.admin, 401).await;
    guarded.service.until_logged(REFUSED).await;
    put_file(&guarded.secret_file, FIRST_ADMIN);
    until(&guarded.admin, 200).await;
    put_fifo(&guarded.secret_file);
    until(&guarded.admin, 401).await;
    ends(&mut guarded.service).await;
}

#[tokio::test]
async fn a_fifo_in_place_of_a_certificate_leaves_the_old_one_in_force() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let pki = Pki::new();
    pki.certificate("server", "/CN=locks.test", "DNS:locks.test");
    let (mut service, port) = pki.serve(&database.url, &[("DB_LOCKS_ALLOWED_HOSTS", "locks.test")]).await;
    let file = pki.path("server.pem");
    let good = std::fs::read(&file).unwrap();
    put_fifo(&file);
    let says = async |service: &Service, text: &str| {
        eventually(text, SOON, async || service.log().contains(text).then_some(())).await;
    };
    says(&service, REFUSED).await;
    let answer = pki.curl(port, &["-o", "/dev/null", "-w", "%{http_code}"], "/health").await;
    assert_eq!(answer, "200");
    put_file(&file, good);
    says(&service, "read again after a change").await;
    ends(&mut service).await;
}

/// The files of all settings, and those that they name.
#[tokio::test]
async fn a_fifo_or_a_folder_ends_the_start_with_the_name_of_the_setting() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let pki = Pki::new();
    pki.certificate("server", "/CN=locks.test", "DNS:locks.test");
    let path = |name: &str| pki.path(name).to_str().unwrap().to_owned();
    let (fifo, certificate, key) = (path("fifo"), path("server.pem"), path("server.key"));
    put_fifo(&PathBuf::from(&fifo));
    let rules = format!(
        "[[issuer]]\nname = \"i\"\nissuer = \"https://issuer.test\"\naudience = \"a\"\njwks = {fifo:?}\n"
    );
    std::fs::write(pki.path("rules"), rules).unwrap();
    let rules = path("rules");
    let folder = pki.path(".").to_str().unwrap().to_owned();
    for (setting, file, reason) in [
        ("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", &fifo, REFUSED),
        ("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", &folder, REFUSED),
        ("DB_LOCKS_AUTH_RULES", &fifo, REFUSED),
        ("DB_LOCKS_AUTH_RULES", &rules, REFUSED),
        ("DB_LOCKS_TLS_CLIENT_CA", &fifo, REFUSED),
        ("DB_LOCKS_TLS_CERT", &fifo, REFUSED),
        ("DB_LOCKS_TLS_KEY", &fifo, REFUSED),
        ("DB_LOCKS_AUDIT_LOG", &fifo, "nobody reads from this pipe"),
    ] {
        let mut settings = vec![
            ("DB_LOCKS_LISTEN", "127.0.0.1:0"),
            ("DB_LOCKS_AUTH", "required"),
            ("DB_LOCKS_TLS_CERT", certificate.as_str()),
            ("DB_LOCKS_TLS_KEY", key.as_str()),
            ("DB_LOCKS_TLS_CLIENT_CA", path("ca.pem").leak()),
        ];
        settings.retain(|(name, _)| *name != setting);
        settings.push((setting, file));
        let output = run_program_with(&database.url, &settings, &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(reason) && said.contains(file),
            "{setting}: {said}"
        );
    }
    let sqlite = run_program_with(&format!("sqlite://{fifo}"), &[], &[]).await;
    assert!(!sqlite.status.success());
    let said = String::from_utf8(sqlite.stderr).unwrap();
    assert!(said.contains(REFUSED), "{said}");
}

/// A program that takes the records, such as a log shipper, may read from a FIFO.
#[tokio::test]
async fn records_go_to_a_fifo_from_which_somebody_reads() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    put_fifo(&fifo);
    let reader = pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
    let settings = [("DB_LOCKS_AUDIT_LOG", fifo.to_str().unwrap())];
    let mut service = Service::start_with(&database.url, &settings).await;
    service.client().hold("k").await;
    let mut line = String::new();
    timeout(SOON, BufReader::new(reader).read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["key"], "k");
    ends(&mut service).await;
}
