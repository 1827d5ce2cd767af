//! A caller of the service.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Answer, Grant, SOON, eventually};

/// A caller with a tenant; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    port: u16,
    tenant: String,
    token: Option<String>,
}

impl Client {
    /// A caller with a tenant of its own.
    pub(crate) fn new(port: u16) -> Self {
        static TENANTS: AtomicU64 = AtomicU64::new(0);
        let tenant = format!("test-{}", TENANTS.fetch_add(1, Ordering::Relaxed));
        // The time limit is longer than any wait of a test, and keeps a missing answer from blocking the run.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        Self { http, port, tenant, token: None }
    }

    /// The same, with a new connection for each request.
    pub(crate) fn connecting_anew(port: u16) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1));
        let http = http.pool_max_idle_per_host(0).build().unwrap();
        Self { http, ..Self::new(port) }
    }

    /// The same caller under another tenant.
    pub(crate) fn with_tenant(&self, tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..self.clone() }
    }

    /// The same caller with a bearer token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The bearer token.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same tenant at another replica.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self { tenant: self.tenant.clone(), token: self.token.clone(), ..Self::new(port) }
    }

    /// The tenant.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The port of the service.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A request builder with the headers of this caller.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = self.http.request(method, url).header("x-tenant", &self.tenant);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request, which must be answered.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::read(request.send().await.unwrap()).await
    }

    /// Sends a request to a service that may be gone; `None` without a complete answer.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let response = self.request(Method::POST, path).json(body).send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Some(Answer { status, headers, text, body })
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST`.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// `PUT`.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Acquires a lock.
    pub(crate) async fn acquire(&self, key: &str, body: Value) -> Answer {
        self.post(&format!("/locks/{key}/acquire"), body).await
    }

    /// Acquires a lock for a minute, which must succeed.
    pub(crate) async fn hold(&self, key: &str) -> Grant {
        self.acquire(key, json!({"lease_duration_ms": 60_000})).await.grant()
    }

    /// Sends a heartbeat for a lock.
    pub(crate) async fn heartbeat(&self, key: &str, version: &str) -> Answer {
        self.post(&format!("/locks/{key}/heartbeat"), json!({"version": version})).await
    }

    /// Releases a lock.
    pub(crate) async fn release(&self, key: &str, version: &str) -> Answer {
        self.post(&format!("/locks/{key}/release"), json!({"version": version})).await
    }

    /// Gets a lock.
    pub(crate) async fn lock(&self, key: &str) -> Answer {
        self.get(&format!("/locks/{key}")).await
    }

    /// Sends a `POST` in a task of its own.
    pub(crate) fn post_aside(&self, path: &str, body: Value) -> JoinHandle<Answer> {
        let (client, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move { client.post(&path, body).await })
    }

    /// Acquires a lock in a task of its own, and returns when the request waits in place `place`.
    pub(crate) async fn queue_up(&self, key: &str, body: Value, place: i64) -> JoinHandle<Answer> {
        let waiting = self.post_aside(&format!("/locks/{key}/acquire"), body);
        self.until_waiters(&format!("/locks/{key}"), place).await;
        waiting
    }

    /// Waits until this number of requests wait for the lock or semaphore of this path.
    pub(crate) async fn until_waiters(&self, path: &str, count: i64) {
        let what = format!("{count} wait for {path}");
        eventually(&what, SOON, async || (self.get(path).await.body["waiters"] == count).then_some(())).await;
    }

    /// Waits until nobody holds the lock.
    pub(crate) async fn until_free(&self, key: &str, within: Duration) {
        let what = format!("{key} is free");
        eventually(&what, within, async || (self.lock(key).await.body["locked"] == false).then_some(()))
            .await;
    }

    /// Waits until nobody holds the lock, or it does not exist.
    pub(crate) async fn until_free_or_absent(&self, key: &str) {
        let free = async || {
            let shown = self.lock(key).await;
            (shown.status == 404 || shown.body["locked"] == false).then_some(())
        };
        eventually(&format!("{key} is free"), SOON, free).await;
    }
}
