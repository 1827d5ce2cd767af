//! JWTs of issuers: signed here as GitHub Actions, GitLab and Kubernetes sign theirs.

mod changes;
mod genuine;
mod key;

use std::{path::PathBuf, time::SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(super) use self::key::{Key, base64};
use crate::support::{Answer, Client, Database, Dialect, Service};

const GITHUB: &str = "https://token.actions.githubusercontent.com";

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
