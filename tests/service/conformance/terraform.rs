//! `/terraform/{key}`: the `http` backend of Terraform and `OpenTofu`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client};

on_every_database!(
    with_client:
        a_state_is_locked_and_unlocked,
        another_id_is_told_who_holds_the_lock,
        an_empty_body_unlocks_whoever_holds_the_lock,
        the_lease_is_the_longest_unless_the_query_names_another,
        a_holder_of_another_path_is_shown_as_lock_information,
);

/// The lock information of Terraform, with members that the service does not know.
fn info(id: &str) -> Value {
    json!({
        "ID": id, "Operation": "OperationTypeApply", "Info": "", "Who": "ann@build-7", "Version": "1.11.4",
        "Created": "2026-11-23T05:06:53.381Z", "Path": "", "Later": {"a": [1]}
    })
}

async fn send(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
    // An empty body is declared as JSON too.
    let request = request.header("content-type", "application/json");
    client.send(request.body(body.map(Value::to_string).unwrap_or_default())).await
}

async fn a_state_is_locked_and_unlocked(client: Client) {
    for (lock, unlock) in [("LOCK", "UNLOCK"), ("POST", "DELETE")] {
        let path = format!("/terraform/{lock}%2Fprod");
        send(&client, unlock, &path, Some(&info("a"))).await.expect(200);
        let first = send(&client, lock, &path, Some(&info("a"))).await.expect(200);
        let again = send(&client, lock, &path, Some(&info("a"))).await.expect(200);
        assert_eq!(first.body["version"], again.body["version"], "{lock}");
        let seen = client.get(&format!("/locks/{lock}%2Fprod")).await.expect(200);
        assert_eq!((&seen.body["owner"], &seen.body["locked"]), (&json!("a"), &json!(true)));
        assert_eq!(serde_json::from_str::<Value>(seen.body["data"].as_str().unwrap()).unwrap(), info("a"));
        for _ in 0..2 {
            send(&client, unlock, &path, Some(&info("a"))).await.expect(200);
        }
        let seen = client.get(&format!("/locks/{lock}%2Fprod")).await.expect(200);
        assert_eq!(seen.body["locked"], false);
        let next = send(&client, lock, &path, Some(&info("b"))).await.expect(200);
        assert_eq!(serde_json::from_str::<Value>(next.body["data"].as_str().unwrap()).unwrap(), info("b"));
    }
}

async fn another_id_is_told_who_holds_the_lock(client: Client) {
    send(&client, "LOCK", "/terraform/k", Some(&info("a"))).await.expect(200);
    for (method, status) in [("LOCK", 423), ("POST", 423), ("UNLOCK", 409), ("DELETE", 409)] {
        let refused = send(&client, method, "/terraform/k", Some(&info("b"))).await.expect(status);
        assert_eq!(refused.header("content-type"), "application/json", "{method}");
        assert_eq!(refused.body, info("a"), "{method}");
    }
    let seen = client.get("/locks/k").await.expect(200);
    assert_eq!(seen.body["owner"], "a");
}

async fn an_empty_body_unlocks_whoever_holds_the_lock(client: Client) {
    for unlock in ["UNLOCK", "DELETE"] {
        send(&client, unlock, "/terraform/k", None).await.expect(200);
        let locked = send(&client, "LOCK", "/terraform/k", Some(&info("a"))).await.expect(200);
        send(&client, unlock, "/terraform/k", None).await.expect(200);
        assert_eq!(client.get("/locks/k").await.expect(200).body["locked"], false);
        let version = json!({"version": locked.body["version"]});
        let answer = client.post("/locks/k/heartbeat", version).await.expect(409);
        assert_eq!(answer.body["type"], "/problems/revoked");
    }
    for lock in ["LOCK", "POST"] {
        let refused = send(&client, lock, "/terraform/k", None).await.expect(400);
        assert_eq!(refused.body["errors"][0]["field"], "body", "{lock}");
        let refused = send(&client, lock, "/terraform/k", Some(&json!({"Who": "ann"}))).await.expect(400);
        assert_eq!(refused.body["errors"][0]["field"], "ID", "{lock}");
    }
    let refused = send(&client, "PUT", "/terraform/k", None).await.expect(405);
    for method in ["LOCK", "UNLOCK", "POST", "DELETE"] {
        assert!(refused.header("allow").split(',').any(|allowed| allowed.trim() == method), "{refused:?}");
    }
}

async fn the_lease_is_the_longest_unless_the_query_names_another(client: Client) {
    let longest = send(&client, "LOCK", "/terraform/a", Some(&info("a"))).await.expect(200);
    assert_eq!(longest.body["lease_duration_ms"], 86_400_000);
    let path = "/terraform/b?lease_duration_ms=60000";
    assert_eq!(
        send(&client, "LOCK", path, Some(&info("a"))).await.expect(200).body["lease_duration_ms"],
        60_000
    );
    // The same address works for both.
    send(&client, "UNLOCK", path, Some(&info("a"))).await.expect(200);
    for query in ["lease_duration_ms=0", "lease_duration_ms=86400001", "lease_duration_ms=x", "lease=1"] {
        let refused =
            send(&client, "LOCK", &format!("/terraform/c?{query}"), Some(&info("a"))).await.expect(400);
        assert!(query.starts_with(refused.body["errors"][0]["field"].as_str().unwrap()), "{refused:?}");
    }
}

async fn a_holder_of_another_path_is_shown_as_lock_information(client: Client) {
    client.post("/locks/k/acquire", json!({"owner": "ci-42", "data": "build 811"})).await.expect(200);
    let refused = send(&client, "LOCK", "/terraform/k", Some(&info("a"))).await.expect(423);
    assert_eq!(
        (&refused.body["ID"], &refused.body["Who"], &refused.body["Info"]),
        (&json!("ci-42"), &json!("ci-42"), &json!("build 811"))
    );
    let read_again: Value = serde_json::from_str(&refused.text).unwrap();
    assert!(read_again["Created"].as_str().unwrap().ends_with('Z'), "{read_again}");
    client.request(Method::PUT, "/semaphores/s").json(&json!({"max_size": 1})).send().await.unwrap();
    for method in ["LOCK", "UNLOCK"] {
        let refused = send(&client, method, "/terraform/s", Some(&info("a"))).await.expect(409);
        assert_eq!(refused.body["type"], "/problems/wrong-kind", "{method}");
    }
}
