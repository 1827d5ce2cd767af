//! Every route, and who may use it. A route that is not in the table fails.

mod callers;
mod scope;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Client;

/// The callers that may use a route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum May {
    Everybody,
    Read,
    Write,
    Admin,
}

/// An operation of the document, with a path for which a request makes sense. Its answer does not matter.
struct Route {
    id: &'static str,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    may: May,
}

const VERSION: &str = "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42";

fn routes() -> Vec<Route> {
    let route = |id, method, path, body, may| Route { id, method, path, body, may };
    let version = || Some(json!({"version": VERSION}));
    let acquire = || Some(json!({"wait_ms": 0}));
    let forced = Some(json!({"force": true, "reason": "stuck"}));
    let forced_permit = Some(json!({"force": true, "version": VERSION}));
    let token = Some(json!({"name": "n", "role": "read"}));
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    vec![
        route("acquire_lock", post.clone(), "/locks/{key}/acquire", acquire(), May::Write),
        route("heartbeat_lock", post.clone(), "/locks/{key}/heartbeat", version(), May::Write),
        route("release_lock", post.clone(), "/locks/{key}/release", version(), May::Write),
        route("release_lock", post.clone(), "/locks/{key}/release", forced, May::Admin),
        route("get_lock", get.clone(), "/locks/{key}", None, May::Read),
        route("put_lock", put.clone(), "/locks/{key}", Some(json!({})), May::Write),
        route("delete_lock", delete.clone(), "/locks/{key}", None, May::Write),
        route("list_locks", get.clone(), "/locks", None, May::Read),
        route("acquire_permit", post.clone(), "/semaphores/{key}/acquire", acquire(), May::Write),
        route("heartbeat_permit", post.clone(), "/semaphores/{key}/heartbeat", version(), May::Write),
        route("release_permit", post.clone(), "/semaphores/{key}/release", version(), May::Write),
        route("release_permit", post.clone(), "/semaphores/{key}/release", forced_permit, May::Admin),
        route("get_semaphore", get.clone(), "/semaphores/{key}", None, May::Read),
        route("put_semaphore", put, "/semaphores/{key}", Some(json!({"max_size": 1})), May::Write),
        route("delete_semaphore", delete.clone(), "/semaphores/{key}", None, May::Write),
        route("list_permits", get.clone(), "/semaphores/{key}/permits", None, May::Read),
        route("list_semaphores", get.clone(), "/semaphores", None, May::Read),
        route("lock_state", post.clone(), "/terraform/{key}", Some(json!({"ID": "a"})), May::Write),
        route("unlock_state", delete.clone(), "/terraform/{key}", Some(json!({"ID": "a"})), May::Write),
        route("unlock_state", delete.clone(), "/terraform/{key}", None, May::Admin),
        route("create_token", post, "/tokens", token, May::Admin),
        route("list_tokens", get.clone(), "/tokens", None, May::Admin),
        route("revoke_token", delete, "/tokens/0199a3c0-5f0e-7c1d-9a57-3f1f6a1c7d42", None, May::Admin),
        route("get_health", get.clone(), "/health", None, May::Everybody),
        route("get_ready", get.clone(), "/ready", None, May::Everybody),
        route("get_metrics", get.clone(), "/metrics", None, May::Everybody),
        route("get_openapi", get.clone(), "/api-docs/openapi.json", None, May::Everybody),
        route("get_problem", get, "/problems/not-found", None, May::Everybody),
    ]
}

impl Route {
    /// Sends a request for a key of the caller's own and returns the answer.
    async fn ask(&self, caller: &Client, key: &str) -> crate::support::Answer {
        let request = caller.request(self.method.clone(), &self.path.replace("{key}", key));
        caller
            .send(match &self.body {
                Some(body) => request.json(body),
                None => request,
            })
            .await
    }

    fn name(&self) -> String {
        format!("{} {} {:?}", self.method, self.path, self.body)
    }
}
