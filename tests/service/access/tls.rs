//! TLS and HTTP/2, with common clients.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{Dialect, SOON, Service, eventually, names::free_port, service::run_program_with};

/// Certificates of the test's own authority.
pub(crate) struct Pki {
    folder: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self { folder: tempfile::tempdir().unwrap() };
        pki.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
        pki
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Creates NAME.pem and NAME.key.
    pub(crate) fn certificate(&self, name: &str, subject: &str, san: &str) {
        std::fs::write(self.path(&format!("{name}.ext")), format!("subjectAltName={san}\n")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile {name}.ext -out {name}.pem"
        ));
    }

    /// A service with the certificate `server`.
    pub(crate) async fn serve(&self, url: &str, settings: &[(&str, &str)]) -> (Service, u16) {
        let port = free_port();
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        let listen = format!("127.0.0.1:{port}");
        let own = [
            ("DB_LOCKS_TLS_CERT", certificate.to_str().unwrap()),
            ("DB_LOCKS_TLS_KEY", key.to_str().unwrap()),
            ("DB_LOCKS_LISTEN", &listen),
        ];
        let service = Service::spawn(url, &[&own, settings].concat());
        eventually("it answers", Duration::from_secs(20), async || {
            (self.curl(port, &["-o", "/dev/null", "-w", "%{http_code}"], "/ready").await == "200")
                .then_some(())
        })
        .await;
        (service, port)
    }

    /// Runs curl and returns its output.
    pub(crate) async fn curl(&self, port: u16, arguments: &[&str], path: &str) -> String {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-s", "--cacert", self.path("ca.pem").to_str().unwrap(), "--connect-to"]);
        curl.arg(format!("locks.test:443:127.0.0.1:{port}"))
            .args(arguments)
            .arg(format!("https://locks.test{path}"));
        String::from_utf8(curl.output().await.unwrap().stdout).unwrap()
    }
}

const VERSION: [&str; 4] = ["-o", "/dev/null", "-w", "%{http_version}"];

#[tokio::test]
async fn https_is_spoken_in_both_versions() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let pki = Pki::new();
    pki.certificate("server", "/CN=locks.test", "DNS:locks.test");
    let (_service, port) = pki.serve(&database.url, &[("DB_LOCKS_ALLOWED_HOSTS", "locks.test")]).await;
    assert_eq!(pki.curl(port, &VERSION, "/health").await, "2", "it is preferred");
    assert_eq!(pki.curl(port, &[&VERSION[..], &["--http1.1"]].concat(), "/health").await, "1.1");
    let put = ["-X", "PUT", "--json", "{\"data\":\"x\"}"];
    assert!(pki.curl(port, &put, "/locks/k").await.contains("\"data\":\"x\""));
    let certificate = pki.path("server.pem");
    let listen = format!("127.0.0.1:{port}");
    let settings = [("DB_LOCKS_TLS_CERT", certificate.to_str().unwrap()), ("DB_LOCKS_LISTEN", &listen)];
    let health = run_program_with(&database.url, &settings, &["health"]).await;
    assert!(health.status.success(), "a container's own check: {health:?}");
    let client =
        format!("s_client -connect 127.0.0.1:{port} -alpn h2 -CAfile ca.pem -verify_return_error -brief");
    pki.openssl(&client);
}

#[tokio::test]
async fn http2_without_tls_needs_prior_knowledge() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let base = format!("http://127.0.0.1:{}", service.port());
    for (how, version) in [("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
        let curl = |method, path: &str| {
            let url = format!("{base}{path}");
            let output =
                Command::new("curl").arg("-sf").args(VERSION).args([how, "-X", method, &url]).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{method} {url}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(curl("GET", "/health"), version);
        assert_eq!(curl("POST", &format!("/locks/{version}/acquire")), version);
    }
}

/// Certificates are replaced under load. No answer is lost, and an invalid certificate changes nothing.
#[tokio::test]
async fn a_new_certificate_is_taken_without_a_lost_answer() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let pki = Arc::new(Pki::new());
    pki.certificate("server", "/CN=locks.test", "DNS:locks.test");
    let (mut service, port) = pki.serve(&database.url, &[("DB_LOCKS_ALLOWED_HOSTS", "locks.test")]).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (pki, stop, asked) = (pki.clone(), stop.clone(), asked.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let code = pki.curl(port, &["-o", "/dev/null", "-w", "%{http_code}"], "/health").await;
                assert_eq!(code, "200");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let shown = |pki: &Pki| {
        let file = pki.path("shown.pem");
        let connect = format!(
            "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 > {}",
            file.display()
        );
        Command::new("sh").args(["-c", &connect]).status().unwrap();
        std::fs::read_to_string(&file).unwrap()
    };
    let first = shown(&pki);
    let good = std::fs::read(pki.path("server.pem")).unwrap();
    std::fs::write(pki.path("server.pem"), "nonsense").unwrap();
    eventually("the log says why", SOON, async || service.log().contains("stays in force").then_some(()))
        .await;
    assert_eq!(shown(&pki), first);
    std::fs::write(pki.path("server.pem"), good).unwrap();
    pki.certificate("renewed", "/CN=locks.test", "DNS:locks.test");
    replace(&pki.path("renewed.key"), &pki.path("server.key"));
    replace(&pki.path("renewed.pem"), &pki.path("server.pem"));
    service.signal("HUP");
    eventually("the new one is shown", SOON, async || (shown(&pki) != first).then_some(())).await;
    let are_enough = async || (asked.load(Ordering::Relaxed) > 5).then_some(());
    eventually("requests were answered meanwhile", SOON, are_enough).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
}

fn replace(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

#[tokio::test]
async fn invalid_tls_settings_are_refused_at_the_start() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let pki = Pki::new();
    pki.certificate("server", "/CN=locks.test", "DNS:locks.test");
    let [certificate, key, other] = ["server.pem", "server.key", "ca.key"].map(|name| pki.path(name));
    let refused = async |settings: &[(&str, &Path)]| {
        let mut all = vec![("DB_LOCKS_LISTEN", "127.0.0.1:0")];
        all.extend(settings.iter().map(|(name, path)| (*name, path.to_str().unwrap())));
        let output = run_program_with(&database.url, &all, &[]).await;
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&[("DB_LOCKS_TLS_CERT", &certificate)]).await;
    assert!(said.contains("DB_LOCKS_TLS_KEY"), "{said}");
    let said = refused(&[("DB_LOCKS_TLS_CERT", &certificate), ("DB_LOCKS_TLS_KEY", &other)]).await;
    assert!(said.contains("DB_LOCKS_TLS_CERT"), "{said}");
    let said = refused(&[("DB_LOCKS_TLS_CERT", &key), ("DB_LOCKS_TLS_KEY", &key)]).await;
    assert!(said.contains("no certificate"), "{said}");
}
