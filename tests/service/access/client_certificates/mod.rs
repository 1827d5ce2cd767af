//! Client certificates, and which of them count.

mod ended;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FIRST_ADMIN, jwt::documented, tls::Pki};
use crate::support::{Database, Dialect, Service};

/// Certificates of a server and of a runner, and the path of the documented rules for runners.
fn with_runner() -> (Pki, PathBuf) {
    let pki = Pki::new();
    pki.certificate("server", "/CN=locks.test", "DNS:locks.test");
    pki.certificate("runner", "/CN=runner-7", "DNS:a.ci.acme.test");
    let rules = pki.path("rules.toml");
    std::fs::write(&rules, documented("Client certificates")).unwrap();
    (pki, rules)
}

/// A service with these rules for the certificates of these authorities, and its port.
async fn serve(
    pki: &Pki,
    database: &Database,
    rules: &Path,
    authorities: &Path,
    more: &[(&str, &str)],
) -> (Service, u16) {
    let own = [
        ("DB_LOCKS_AUTH", "required"),
        ("DB_LOCKS_AUTH_RULES", rules.to_str().unwrap()),
        ("DB_LOCKS_TLS_CLIENT_CA", authorities.to_str().unwrap()),
    ];
    pki.serve(&database.url, &[&own, more].concat()).await
}

/// A client certificate is optional. One that cannot be verified ends the handshake. A bearer token has precedence.
#[tokio::test]
async fn a_client_certificate_counts_by_its_rule() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let ((pki, rules), foreign) = (with_runner(), Pki::new());
    pki.certificate("stranger", "/CN=stranger", "DNS:a.ci.acme.test");
    foreign.certificate("runner", "/CN=runner-7", "DNS:a.ci.acme.test");
    let ca = pki.path("ca.pem");
    let secret = pki.path("secret");
    std::fs::write(&secret, FIRST_ADMIN).unwrap();
    let (_service, port) =
        serve(&pki, &database, &rules, &ca, &[("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", secret.to_str().unwrap())])
            .await;
    let code = async |from: &Pki, name: &str, more: &[&str]| {
        let [certificate, key] = ["pem", "key"].map(|kind| from.path(&format!("{name}.{kind}")));
        let own = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let own = if name.is_empty() { &[][..] } else { &own };
        let print = ["-o", "/dev/null", "-w", "%{http_code}"];
        pki.curl(port, &[&print[..], own, more].concat(), "/locks").await
    };
    assert_eq!(code(&pki, "", &[]).await, "401");
    assert_eq!(code(&pki, "runner", &[]).await, "200");
    assert_eq!(code(&pki, "stranger", &[]).await, "403");
    assert_eq!(code(&foreign, "runner", &[]).await, "000", "the handshake ends");
    assert_eq!(code(&pki, "runner", &["-H", "x-tenant: other"]).await, "403");
    let admin = format!("authorization: Bearer {FIRST_ADMIN}");
    assert_eq!(code(&pki, "stranger", &["-H", &admin]).await, "200", "the token goes before");
}

/// webpki tries all orders of authorities, so a client could keep a thread busy for seconds with a chain of its own making.
#[tokio::test]
async fn a_client_certificate_has_at_most_three_authorities_behind_it() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let (pki, rules) = with_runner();
    std::fs::write(pki.path("authority.ext"), "basicConstraints=critical,CA:true\n").unwrap();
    let sign = |name: &str, subject: &str, by: &str, extensions: &str| {
        pki.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"
        ));
        pki.openssl(&format!(
            "x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -set_serial 7 -days 1 -extfile {extensions} -out {name}.pem"
        ));
        std::fs::read_to_string(pki.path(&format!("{name}.pem"))).unwrap()
    };
    let (mut by, mut chain) = ("ca".to_owned(), String::new());
    for depth in 1..=4 {
        let authority = format!("authority-{depth}");
        chain.insert_str(0, &sign(&authority, &format!("/CN={authority}"), &by, "authority.ext"));
        let runner = format!("runner-{depth}");
        let own = sign(&runner, "/CN=runner-7", &authority, "runner.ext");
        std::fs::write(pki.path(&format!("{runner}.pem")), own + &chain).unwrap();
        by = authority;
    }
    let ca = pki.path("ca.pem");
    let (_service, port) = serve(&pki, &database, &rules, &ca, &[]).await;
    for (depth, code) in [(1, "200"), (2, "200"), (3, "200"), (4, "000")] {
        let [certificate, key] = ["pem", "key"].map(|kind| pki.path(&format!("runner-{depth}.{kind}")));
        let own = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let print = ["-o", "/dev/null", "-w", "%{http_code}"];
        assert_eq!(pki.curl(port, &[&own[..], &print].concat(), "/locks").await, code, "{depth}");
    }
}

/// The names are compared with each rule.
#[tokio::test]
async fn a_certificate_with_more_than_100_names_does_not_count() {
    let names = |count: usize| (0..count).map(|name| format!("DNS:{name}.ci.acme.test")).collect::<Vec<_>>();
    let subject = || "/CN=runner-7".to_owned();
    assert_codes([100, 101].map(|count| (subject(), names(count).join(","))), ["200", "401"]).await;
}

/// The subject is compared with each rule, too.
#[tokio::test]
async fn a_certificate_with_more_than_8_kib_of_subject_and_names_does_not_count() {
    // openssl writes at most 64 characters in a common name.
    let subject = |names: usize| format!("/CN=runner-7{}", format!("/CN={}", ",".repeat(64)).repeat(names));
    let name = |length: usize| format!("DNS:{}.ci.acme.test", "a".repeat(length));
    let certificates = [(90, 1), (110, 1), (0, 7_000), (0, 9_000), (50, 5_000)];
    let certificates = certificates.map(|(names, length)| (subject(names), name(length)));
    assert_codes(certificates, ["200", "401", "200", "401", "401"]).await;
}

/// Asserts the status codes of requests with certificates of these subjects and names.
async fn assert_codes<const N: usize>(certificates: [(String, String); N], codes: [&str; N]) {
    let database = Dialect::Sqlite.database().await.unwrap();
    let (pki, rules) = with_runner();
    std::fs::write(&rules, "[[rule]]\ncertificate = { subject = \"*CN=runner-7\" }\nrole = \"read\"\n")
        .unwrap();
    let ca = pki.path("ca.pem");
    let (_service, port) = serve(&pki, &database, &rules, &ca, &[]).await;
    for ((subject, names), code) in certificates.iter().zip(codes) {
        pki.certificate("runner", subject, names);
        let [certificate, key] = ["runner.pem", "runner.key"].map(|file| pki.path(file));
        let own = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let print = ["-o", "/dev/null", "-w", "%{http_code}"];
        let answered = pki.curl(port, &[&own[..], &print].concat(), "/locks").await;
        assert_eq!(answered, code, "subject of {}, names of {}", subject.len(), names.len());
    }
}

/// Authorities sign one subject for several machines: each has its own grants.
#[tokio::test]
async fn certificates_of_one_subject_with_other_names_are_other_credentials() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let (pki, rules) = with_runner();
    std::fs::write(&rules, "[[rule]]\ncertificate = { subject = \"CN=runner-7\" }\nrole = \"write\"\n")
        .unwrap();
    pki.certificate("renewed", "/CN=runner-7", "DNS:a.ci.acme.test");
    pki.certificate("other-host", "/CN=runner-7", "DNS:b.ci.acme.test");
    pki.certificate("other-address", "/CN=runner-7", "DNS:a.ci.acme.test,IP:192.0.2.7");
    let ca = pki.path("ca.pem");
    let (_service, port) = serve(&pki, &database, &rules, &ca, &[]).await;
    let ask = async |name: &str, more: &[&str], path: &str| {
        let [certificate, key] = ["pem", "key"].map(|kind| pki.path(&format!("{name}.{kind}")));
        let own = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let answer = pki.curl(port, &[&own, more].concat(), path).await;
        serde_json::from_str::<Value>(&answer).unwrap()["version"].clone()
    };
    let version = ask("runner", &["-d", ""], "/locks/k/acquire").await;
    assert!(version.is_string(), "{version}");
    for (name, seen) in [("renewed", &version), ("other-host", &Value::Null), ("other-address", &Value::Null)]
    {
        assert_eq!(ask(name, &[], "/locks/k").await, *seen, "{name}");
    }
}
