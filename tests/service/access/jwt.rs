//! JWTs of issuers: signed here as GitHub Actions, GitLab and Kubernetes sign theirs.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, Client, Database, Dialect, SOON, Service, eventually, service::run_program_with,
};

const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// A key of an issuer.
pub(super) enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn rsa() -> Self {
        let generate = "openssl genrsa 2048 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -outform DER";
        let key = Command::new("sh").args(["-c", generate]).output().unwrap().stdout;
        Self::Rsa(RsaKeyPair::from_pkcs8(&key).unwrap())
    }

    pub(super) fn ec() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap())
    }

    fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    pub(super) fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let RsaPublicKeyComponents { n, e }: RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                let [n, e] = [n, e].map(base64);
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": n, "e": e})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64(key.public_key())})
            }
        }
    }

    pub(super) fn sign(&self, id: &str, claims: &Value) -> String {
        self.sign_with(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": id}), claims)
    }

    /// A token with this header.
    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64(signature))
    }
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tokens name wall-clock times")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a job of GitHub Actions, some of them replaced.
pub(super) fn github(other: &Value) -> Value {
    let mut claims = json!({
        "iss": GITHUB, "aud": "db-locks", "exp": now() + 300, "nbf": now() - 600, "iat": now(),
        "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_owner": "acme",
        "ref": "refs/heads/main", "run_id": "1658821493", "run_attempt": "1", "actor": "ann", "workflow": "deploy",
    });
    claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    claims
}

/// A service with rules.
pub(super) struct Ruled {
    pub(super) service: Service,
    folder: TempDir,
    _database: Database,
}

impl Ruled {
    /// Starts a service whose rules name the key sets by their file names in the folder.
    pub(super) async fn start(rules: &str, sets: &[(&str, Value)]) -> Self {
        Self::start_with(rules, sets, &[]).await
    }

    /// The same, with further settings.
    pub(super) async fn start_with(rules: &str, sets: &[(&str, Value)], more: &[(&str, &str)]) -> Self {
        let database = Dialect::Sqlite.database().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, keys) in sets {
            std::fs::write(folder.path().join(name), json!({"keys": keys}).to_string()).unwrap();
        }
        let file = write_rules(&folder, rules);
        let own = [("DB_LOCKS_AUTH", "required"), ("DB_LOCKS_AUTH_RULES", file.to_str().unwrap())];
        let service = Service::start_with(&database.url, &[&own, more].concat()).await;
        Self { service, folder, _database: database }
    }

    /// A caller with a JWT, in the tenant of the rules.
    fn bearer(&self, token: &str) -> Client {
        self.service.client().with_tenant("acme").with_token(token)
    }

    /// Writes other rules and lets the service read them.
    pub(super) fn change_rules(&mut self, rules: &str) {
        write_rules(&self.folder, rules);
        self.service.signal("HUP");
    }

    pub(super) async fn ask(&self, token: &str) -> Answer {
        self.bearer(token).get("/locks").await
    }
}

fn write_rules(folder: &TempDir, rules: &str) -> PathBuf {
    let file = folder.path().join("rules.toml");
    std::fs::write(&file, rules.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
    file
}

/// The rules of the example with this name in the documentation.
pub(super) fn documented(name: &str) -> String {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/authentication.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let section = docs.split(&format!("### {name}\n")).nth(1).unwrap();
    let rules = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    rules.replace("/etc/db-locks", "FOLDER")
}

#[tokio::test]
async fn a_job_of_github_actions_locks_for_its_repository() {
    let key = Key::rsa();
    let ruled =
        Ruled::start(&documented("GitHub Actions"), &[("github.jwks.json", json!([key.jwk("1")]))]).await;
    let job = ruled.bearer(&key.sign("1", &github(&json!({}))));
    let grant = job.hold("deploy%2Fapp").await;
    assert_eq!(grant.body["owner"], "acme/app#1658821493", "its template is used if the request names none");
    assert_eq!(job.acquire("deploy%2Fx", json!({"owner": "me"})).await.grant().body["owner"], "me");
    job.acquire("other", json!({})).await.problem(403, "forbidden");
    job.with_tenant("other").lock("deploy%2Fapp").await.problem(403, "forbidden");
    let branch = key.sign("1", &github(&json!({"ref": "refs/heads/topic"})));
    let refused = ruled.bearer(&branch).acquire("deploy%2Fy", json!({})).await;
    assert!(refused.problem(403, "forbidden")["detail"].as_str().unwrap().contains("rule"));
}

#[tokio::test]
async fn a_job_of_gitlab_locks_for_its_project() {
    let key = Key::rsa();
    let ruled = Ruled::start(&documented("GitLab CI"), &[("gitlab.jwks.json", json!([key.jwk("k")]))]).await;
    let claims = json!({
        "iss": "https://gitlab.com", "aud": "db-locks", "exp": now() + 300, "nbf": now() - 5, "iat": now(),
        "sub": "project_path:acme/app:ref_type:branch:ref:main", "project_path": "acme/app", "namespace_path": "acme",
        "ref": "main", "ref_protected": "true", "pipeline_id": "574", "job_id": "302", "environment": "production",
    });
    let grant = ruled.bearer(&key.sign("k", &claims)).hold("deploy%2Fproduction").await;
    assert_eq!(grant.body["owner"], "acme/app#302");
}

#[tokio::test]
async fn a_service_account_of_kubernetes_locks_for_its_namespace() {
    let key = Key::rsa();
    let ruled =
        Ruled::start(&documented("Kubernetes"), &[("kubernetes.jwks.json", json!([key.jwk("k8s")]))]).await;
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "aud": ["db-locks"], "exp": now() + 3600, "iat": now(),
        "nbf": now(), "sub": "system:serviceaccount:billing:worker",
        "kubernetes.io": {"namespace": "billing", "serviceaccount": {"name": "worker", "uid": "0f1e"}},
    });
    ruled.bearer(&key.sign("k8s", &claims)).hold("billing%2Fnightly").await;
}

#[tokio::test]
async fn only_genuine_tokens_of_the_right_time_and_audience_count() {
    let (rsa, ec, ed) = (Key::rsa(), Key::ec(), Key::ed());
    let keys = json!([rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed")]);
    let ruled = Ruled::start(&documented("GitHub Actions"), &[("github.jwks.json", keys)]).await;
    for (id, key) in [("rsa", &rsa), ("ec", &ec), ("ed", &ed)] {
        ruled.ask(&key.sign(id, &github(&json!({})))).await.expect(200);
        ruled.ask(&key.sign(id, &github(&json!({"aud": ["other", "db-locks"]})))).await.expect(200);
    }
    for (what, claims) in [
        ("expired", json!({"exp": now() - 120})),
        ("no exp", json!({"exp": null})),
        ("exp is text", json!({"exp": "9999999999"})),
        ("not yet", json!({"nbf": now() + 120})),
        ("audience", json!({"aud": "other"})),
        ("issuer", json!({"iss": "https://evil.example"})),
        ("no issuer", json!({"iss": null})),
    ] {
        let answer = ruled.ask(&rsa.sign("rsa", &github(&claims))).await;
        assert_eq!(answer.status, 401, "{what} {}", answer.text);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
    let good = rsa.sign("rsa", &github(&json!({})));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let payload = message.split_once('.').unwrap().1;
    let with = |header: Value| format!("{}.{payload}.{signature}", base64(header.to_string()));
    for (what, token) in [
        ("none", format!("{}.{payload}.", base64(r#"{"alg":"none"}"#))),
        ("HS256", with(json!({"alg": "HS256", "kid": "rsa"}))),
        ("RS512", with(json!({"alg": "RS512", "kid": "rsa"}))),
        ("another key", Key::rsa().sign("rsa", &github(&json!({})))),
        ("another kid", rsa.sign("ec", &github(&json!({})))),
        ("an unknown kid", rsa.sign("new", &github(&json!({})))),
        (
            "changed",
            format!(
                "{}.{}.{signature}",
                message.split_once('.').unwrap().0,
                base64(github(&json!({"actor": "eve"})).to_string())
            ),
        ),
        ("cut", good[..good.len() - 8].to_owned()),
        ("an extension that must be understood", {
            let header = json!({"alg": rsa.algorithm(), "kid": "rsa", "crit": ["exp"], "exp": 0});
            rsa.sign_with(&header, &github(&json!({})))
        }),
    ] {
        assert_eq!(ruled.ask(&token).await.status, 401, "{what}");
    }
}

/// A key set is read again when it changes. If new rules have a mistake, the old ones stay in force.
#[tokio::test]
async fn keys_and_rules_are_read_again() {
    let (old, new) = (Key::ec(), Key::ec());
    let mut ruled =
        Ruled::start(&documented("GitHub Actions"), &[("github.jwks.json", json!([old.jwk("1")]))]).await;
    let [by_old, by_new] = [("1", &old), ("2", &new)].map(|(id, key)| key.sign(id, &github(&json!({}))));
    ruled.ask(&by_old).await.expect(200);
    ruled.ask(&by_new).await.problem(401, "unauthorized");
    let file = ruled.folder.path().join("github.jwks.json");
    std::fs::write(&file, json!({"keys": [new.jwk("2")]}).to_string()).unwrap();
    ruled.service.signal("HUP");
    eventually("the new key counts", SOON, async || (ruled.ask(&by_new).await.status == 200).then_some(()))
        .await;
    ruled.ask(&by_old).await.problem(401, "unauthorized");
    ruled.change_rules("[[rule]]\nrolle = \"read\"\n");
    eventually("the log says why", SOON, async || ruled.service.log().contains("line 2").then_some(())).await;
    ruled.ask(&by_new).await.expect(200);
}

/// A caller whose rule allows less than before gets no grant.
#[tokio::test]
async fn a_waiting_acquire_whose_rule_allows_less_is_not_granted() {
    let key = Key::ec();
    let holders =
        "[[rule]]\nissuer = \"github\"\nclaims = { run_id = \"1\" }\ntenant = \"acme\"\nrole = \"write\"\n";
    let text = documented("GitHub Actions").replace("ref = \"refs/heads/main\"", "run_id = \"2\"") + holders;
    let mut ruled = Ruled::start(&text, &[("github.jwks.json", json!([key.jwk("1")]))]).await;
    let [holder, waiter] =
        ["1", "2"].map(|run| ruled.bearer(&key.sign("1", &github(&json!({"run_id": run})))));
    let held = holder.hold("deploy%2Fapp").await;
    let waiting = waiter.queue_up("deploy%2Fapp", json!({"wait_ms": 60_000}), 1).await;
    // From this time on it is checked again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let narrower = text.replace("keys = [\"deploy/*\"]", "keys = [\"deploy/b\"]");
    assert_ne!(narrower, text);
    ruled.change_rules(&narrower);
    let refused = async || (waiter.lock("deploy%2Fapp").await.status == 403).then_some(());
    eventually("the new rules count", SOON, refused).await;
    holder.release("deploy%2Fapp", &held.version).await.unheld(200);
    waiting.await.unwrap().problem(403, "forbidden");
    holder.until_free("deploy%2Fapp", SOON).await;
}

#[tokio::test]
async fn a_mistake_in_the_rules_ends_the_start_with_its_line() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write_rules(&folder, "# rules\n[[rule]]\nissuer = \"nobody\"\nrole = \"read\"\n");
    let settings = [("DB_LOCKS_AUTH", "required"), ("DB_LOCKS_AUTH_RULES", file.to_str().unwrap())];
    let output = run_program_with(&database.url, &settings, &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("line 2") && said.contains("rules.toml"), "{said}");
}
