//! Authentication, roles, tenants and key patterns.

mod audit;
mod client_certificates;
mod documents;
mod hostile;
mod issuer;
mod jwt;
mod list_flood;
mod long_lists;
mod odd_files;
mod routes;
mod start;
pub(crate) mod tls;
mod tokens;
mod unfinished_bodies;
mod withheld;

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    conformance::on_every_database,
    support::{Client, Database, Service},
};

/// The secret of the first administrator.
const FIRST_ADMIN: &str = "the-first-administrator-of-all-tenants";

/// A service that requires authentication, with a first administrator.
pub(crate) struct Guarded {
    pub(crate) service: Service,
    /// A client of the first administrator, in a tenant of its own.
    admin: Client,
    secret_file: PathBuf,
    _folder: TempDir,
    /// The folder of the secret's file, removed on drop.
    _database: Database,
}

impl Guarded {
    pub(crate) async fn start(database: &Database) -> Self {
        Self::start_with(database, &[]).await
    }

    async fn start_with(database: &Database, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret_file = folder.path().join("bootstrap");
        std::fs::write(&secret_file, format!("{FIRST_ADMIN}\n")).unwrap();
        let own =
            [("DB_LOCKS_AUTH", "required"), ("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", secret_file.to_str().unwrap())];
        let service = Service::start_with(&database.url, &[&own, settings].concat()).await;
        let admin = service.client().with_token(FIRST_ADMIN);
        Self { service, admin, secret_file, _folder: folder, _database: database.clone() }
    }

    /// A client with a new token.
    pub(crate) async fn client(&self, token: Value) -> Client {
        self.service.client().with_token(&self.token(token).await)
    }

    /// The secret of a new token.
    async fn token(&self, token: Value) -> String {
        let created = self.admin.post("/tokens", token).await.expect(201);
        created.body["token"].as_str().unwrap().to_owned()
    }
}
