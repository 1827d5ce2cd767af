//! The keys of an issuer, from its https URL.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{
    jwt::{Key, Ruled, documented, github},
    tls::Pki,
};
use crate::support::{Client, SOON, eventually};

/// A server of key sets, with a certificate of the test's own authority.
struct Issuer {
    port: u16,
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    /// It answers only while nobody holds this.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Issuer {
    async fn start(pki: &Pki) -> Self {
        let certificate = CertificateDer::from_pem_file(pki.path("issuer.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(pki.path("issuer.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            port: listener.local_addr().unwrap().port(),
            keys: Arc::new(Mutex::new(json!([]))),
            asked: Arc::default(),
            gate: Arc::default(),
        };
        let (keys, asked, gate) = (issuer.keys.clone(), issuer.asked.clone(), issuer.gate.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
                drop(stream.read(&mut [0; 4_096]).await);
                asked.fetch_add(1, Ordering::SeqCst);
                drop(gate.lock().await);
                let body = json!({"keys": *keys.lock().unwrap()}).to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                drop(stream.write_all((head + &body).as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
        issuer
    }

    /// Rules with the URL of the key server.
    fn rules(&self) -> String {
        let url = format!("https://localhost:{}/jwks", self.port);
        documented("GitHub Actions").replace("FOLDER/github.jwks.json", &url)
    }

    /// A service with these rules that trusts the test's authority if `trusts` is set.
    async fn service(&self, pki: &Pki, trusts: bool) -> Ruled {
        let rules = self.rules();
        let authorities = pki.path(if trusts { "ca.pem" } else { "issuer-of-another.pem" });
        Ruled::start_with(&rules, &[], &[("SSL_CERT_FILE", authorities.to_str().unwrap())]).await
    }
}

#[tokio::test]
async fn the_keys_of_an_issuer_come_from_its_https_url() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.certificate("issuer", "/CN=localhost", "DNS:localhost");
    std::fs::copy(other.path("ca.pem"), pki.path("issuer-of-another.pem")).unwrap();
    let issuer = Issuer::start(&pki).await;
    let (known, unknown) = (Key::ec(), Key::ec());
    *issuer.keys.lock().unwrap() = json!([known.jwk("1")]);
    let [good, bad] = [("1", &known), ("2", &unknown)].map(|(id, key)| key.sign(id, &github(&json!({}))));
    let ruled = issuer.service(&pki, true).await;
    ruled.ask(&good).await.expect(200);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    // Anybody can invent a key id, so the service does not ask the URL for each of them.
    for _ in 0..20 {
        ruled.ask(&bad).await.problem(401, "unauthorized");
    }
    ruled.ask(&good).await.expect(200);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "it was asked less than 10 s ago");
    let wary = issuer.service(&pki, false).await;
    let unread = wary.ask(&good).await;
    let detail = unread.problem(503, "unavailable")["detail"].as_str().unwrap();
    assert!(detail.starts_with("The keys of the token's issuer cannot be read."), "{detail}");
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "its certificate is of an unknown authority");
}

/// An issuer with one key, and a service with its rules.
async fn with_key() -> (Pki, Issuer, Key, Ruled) {
    let pki = Pki::new();
    pki.certificate("issuer", "/CN=localhost", "DNS:localhost");
    let issuer = Issuer::start(&pki).await;
    let key = Key::ec();
    *issuer.keys.lock().unwrap() = json!([key.jwk("1")]);
    let ruled = issuer.service(&pki, true).await;
    (pki, issuer, key, ruled)
}

/// Otherwise anybody could keep all callers with a JWT out, or a withdrawn key valid.
#[tokio::test]
async fn a_client_that_hangs_up_does_not_end_the_reading_of_keys() {
    let (_pki, issuer, key, ruled) = with_key().await;
    let watcher = Client::connecting_anew(ruled.service.port());
    // The connections of the start may still be ending.
    let is_alone = async || Some(connections(&watcher).await).filter(|count| count.ends_with(" 1"));
    let before = eventually("nobody else is connected", SOON, is_alone).await;

    let closed = issuer.gate.lock().await;
    let mut client = TcpStream::connect(("127.0.0.1", ruled.service.port())).await.unwrap();
    let invented = key.sign("another", &github(&json!({})));
    let request =
        format!("GET /locks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {invented}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let is_asked = async || (issuer.asked.load(Ordering::SeqCst) == 1).then_some(());
    eventually("the issuer is asked", SOON, is_asked).await;
    drop(client);
    let is_gone = async || (connections(&watcher).await == before).then_some(());
    eventually("the service notices the hang-up", SOON, is_gone).await;
    drop(closed);

    ruled.ask(&key.sign("1", &github(&json!({})))).await.expect(200);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "its answer to the first request counts");
}

/// An issuer may be out of reach when somebody changes another rule.
#[tokio::test]
async fn keys_from_a_url_outlive_a_change_of_the_rules() {
    let (_pki, issuer, key, mut ruled) = with_key().await;
    let guest = key.sign("1", &github(&json!({"ref": "refs/heads/next"})));
    ruled.ask(&guest).await.problem(403, "forbidden");

    let _closed = issuer.gate.lock().await;
    ruled.change_rules(&issuer.rules().replace("refs/heads/main", "refs/heads/next"));
    let is_ruled = async || (ruled.ask(&guest).await.status == 200).then_some(());
    eventually("the new rules count", SOON, is_ruled).await;
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
}

/// The number of open connections, this one included.
async fn connections(svc: &Client) -> String {
    let metrics = svc.get("/metrics").await.text;
    metrics.lines().find(|line| line.starts_with("db_locks_http_connections ")).unwrap().to_owned()
}
