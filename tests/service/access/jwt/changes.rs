//! Keys and rules that change, and rules with a mistake.

use std::time::Duration;

use serde_json::json;

use super::{Key, Ruled, documented, github, write_rules};
use crate::support::{Dialect, SOON, eventually, service::run_program_with};

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
