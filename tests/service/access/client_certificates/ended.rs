//! Client certificates whose rule or authority ends while they are in use.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{serve, with_runner};
use crate::{
    access::{FIRST_ADMIN, tls::Pki},
    support::{Dialect, SOON, eventually},
};

/// A connection with the certificate of the runner.
struct Connection {
    input: ChildStdin,
    output: ChildStdout,
    _client: Child,
}

impl Connection {
    fn open(pki: &Pki, port: u16, protocol: &str) -> Self {
        let connect =
            format!("s_client -quiet -connect 127.0.0.1:{port} -cert runner.pem -key runner.key -alpn");
        let mut client = tokio::process::Command::new("openssl")
            .args(connect.split(' '))
            .arg(protocol)
            .current_dir(pki.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { input: client.stdin.take().unwrap(), output: client.stdout.take().unwrap(), _client: client }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).await.unwrap();
    }

    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        tokio::time::timeout(SOON, self.output.read_exact(&mut bytes)).await.expect("it comes").unwrap();
        bytes
    }

    /// Asks for the list of locks with HTTP/2.
    async fn ask_http2(&mut self, stream: u8) {
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", "locks.test"), (":path", "/locks")];
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        // Literal fields without indexing.
        let head = fields.map(|(name, value)| [vec![0], text(name), text(value)].concat()).concat();
        let length = u8::try_from(head.len()).unwrap();
        // A HEADERS frame, which ends the headers and the stream.
        self.send(&[&[0, 0, length, 1, 4 | 1, 0, 0, 0, stream][..], &head].concat()).await;
    }

    /// Reads frames of HTTP/2 up to one of this type, and returns its content. It answers none of them.
    async fn frame(&mut self, of_type: u8) -> Vec<u8> {
        loop {
            let head = self.read(9).await;
            let content = self.read(usize::from(head[1]) << 8 | usize::from(head[2])).await;
            if head[3] == of_type {
                return content;
            }
        }
    }

    async fn until_closed(&mut self) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SOON, self.output.read_to_end(&mut rest));
        ended.await.expect("the connection is closed").unwrap();
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GO_AWAY: u8 = 7;
/// `:status: 200` in a HEADERS frame.
const STATUS_200: u8 = 0x88;

/// Otherwise an open connection would outlive the removal of its authority. The client need not do anything for that, not even answer a
/// PING.
#[tokio::test]
async fn a_client_whose_authority_was_replaced_has_to_connect_again() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let ((pki, rules), next) = (with_runner(), Pki::new());
    let trusted = pki.path("trusted.pem");
    std::fs::copy(pki.path("ca.pem"), &trusted).unwrap();
    let (mut service, port) = serve(&pki, &database, &rules, &trusted, &[]).await;
    let mut http1 = Connection::open(&pki, port, "http/1.1");
    http1.send(b"GET /locks HTTP/1.1\r\nhost: locks.test\r\n\r\n").await;
    assert_eq!(http1.read(12).await, b"HTTP/1.1 200");
    let mut http2 = Connection::open(&pki, port, "h2");
    // The preface and empty SETTINGS.
    http2.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    http2.ask_http2(1).await;
    assert_eq!(http2.frame(HEADERS).await[0], STATUS_200);
    std::fs::copy(next.path("ca.pem"), &trusted).unwrap();
    service.signal("HUP");
    http1.until_closed().await;
    http2.frame(GO_AWAY).await;
    http2.ask_http2(3).await;
    assert_ne!(http2.frame(HEADERS).await[0], STATUS_200);
    let refused = String::from_utf8(http2.frame(DATA).await).unwrap();
    assert!(refused.contains("misdirected-request") && refused.contains("Connect again"), "{refused}");
    http2.until_closed().await;
}

/// Otherwise a client that waits would get a lock that nobody allows it any more.
#[tokio::test]
async fn a_waiting_acquire_is_granted_unless_its_rule_or_authority_ended() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let ((pki, rules), next) = (with_runner(), Pki::new());
    let pki = Arc::new(pki);
    let rule = "[[rule]]\ncertificate = { subject = \"CN=runner-7\" }\ntenant = \"acme\"\nrole = \"write\"\n";
    let (trusted, secret) = (pki.path("trusted.pem"), pki.path("secret"));
    std::fs::copy(pki.path("ca.pem"), &trusted).unwrap();
    std::fs::write(&rules, rule).unwrap();
    std::fs::write(&secret, FIRST_ADMIN).unwrap();
    let (mut service, port) = serve(
        &pki,
        &database,
        &rules,
        &trusted,
        &[("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", secret.to_str().unwrap())],
    )
    .await;
    let token = format!("authorization: Bearer {FIRST_ADMIN}");
    let admin = async |more: &[&str], path: &str| {
        let answer = pki.curl(port, &[&["-H", &token, "-H", "x-tenant: acme"], more].concat(), path).await;
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    let runner = |path: String, more: &'static [&'static str]| {
        let pki = Arc::clone(&pki);
        async move {
            let [certificate, key] = ["runner.pem", "runner.key"].map(|name| pki.path(name));
            let own = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
            let print = ["-o", "/dev/null", "-w", "%{http_code}"];
            pki.curl(port, &[&own[..], &print, more].concat(), &path).await
        }
    };
    let remove_rule = || std::fs::write(&rules, rule.replace("runner-7", "nobody")).unwrap();
    let replace_authority = || {
        std::fs::write(&rules, rule).unwrap();
        std::fs::copy(next.path("ca.pem"), &trusted).unwrap();
    };
    let ways: [(&dyn Fn(), &str, &str); 3] =
        [(&|| (), "200", "200"), (&remove_rule, "403", "403"), (&replace_authority, "000", "421")];
    for (end, new_request, waiter) in ways {
        let path = |action: &str| format!("/locks/{waiter}{action}");
        std::fs::write(&rules, rule).unwrap();
        service.signal("HUP");
        eventually("its rule counts", SOON, async || {
            (runner("/locks".to_owned(), &[]).await == "200").then_some(())
        })
        .await;
        let held = admin(&["--json", "{\"lease_duration_ms\":600000}"], &path("/acquire")).await;
        // The header is for somebody else, such as a proxy.
        let waits = &["-H", "authorization: Basic dTpw", "--json", "{\"wait_ms\":60000}"];
        let waiting = tokio::spawn(runner(path("/acquire"), waits));
        eventually("it waits", SOON, async || (admin(&[], &path("")).await["waiters"] == 1).then_some(()))
            .await;
        // From this time on it is checked again.
        tokio::time::sleep(Duration::from_secs(1)).await;
        end();
        service.signal("HUP");
        let refused = async || (runner("/locks".to_owned(), &[]).await == new_request).then_some(());
        eventually("new requests are refused", SOON, refused).await;
        let release = serde_json::json!({"version": held["version"]}).to_string();
        assert_eq!(admin(&["--json", &release], &path("/release")).await["key"], waiter);
        assert_eq!(waiting.await.unwrap(), waiter);
        let is_granted = waiter == "200";
        let has_it = async || (admin(&[], &path("")).await["locked"] == is_granted).then_some(());
        eventually("who is granted the lock has it", SOON, has_it).await;
    }
}
