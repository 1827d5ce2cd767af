//! Commits whose fate is unknown: the connection breaks after the statement was sent and before its answer came.

use serde_json::{Value, json};

use super::proxy::Proxy;
use crate::support::{Answer, Client, Database, SOON, Service, eventually, random_text, random_version};

on_every_server![
    an_acquire_of_unknown_fate_is_one_grant_or_none,
    an_acquire_whose_version_the_service_made_leaves_nobody_holding,
    a_release_of_unknown_fate_can_be_sent_again,
    a_heartbeat_of_unknown_fate_acts_on_its_grant_or_on_nothing,
    a_hand_over_of_unknown_fate_reaches_the_waiter,
];

/// Every place at which a transaction can break: the number of the message after the first one with the key, and
/// whether the database received it. The first message always comes; the number of further ones depends on the dialect.
const BREAKS: [(u32, bool); 8] =
    [(0, true), (0, false), (1, true), (1, false), (2, true), (2, false), (3, true), (3, false)];

struct Setting {
    svc: Client,
    proxy: Proxy,
    _service: Service,
}

impl Setting {
    async fn new(database: &Database) -> Self {
        let proxy = Proxy::before(database).await;
        let service = Service::start(&database.through_port(proxy.port())).await;
        Self { svc: service.client(), proxy, _service: service }
    }

    /// Sends a `POST` and breaks the connection to the database. Returns whether the request succeeded or was refused.
    async fn broken_post(&self, at: (u32, bool), key: &str, action: &str, body: &Value) -> Answer {
        self.proxy.arm(key, at.0, at.1);
        let answer = self.svc.post(&format!("/locks/{key}/{action}"), body.clone()).await;
        let cut = self.proxy.disarm();
        assert!(cut || at.0 > 0, "no statement named {key}");
        if answer.status == 503 {
            answer.unavailable();
        }
        answer
    }
}

fn key() -> String {
    format!("key-{}", random_text())
}

/// Repeats a request until the answer is not 503.
async fn until_answered(svc: &Client, path: &str, body: &Value) -> Answer {
    let ask = async || {
        let answer = svc.post(path, body.clone()).await;
        (answer.status != 503).then_some(answer)
    };
    eventually("the service answers again", SOON, ask).await
}

/// Guards invariants 3 and 9: the answer matches the stored grant, and a retry gets the same grant, or none.
async fn an_acquire_of_unknown_fate_is_one_grant_or_none(database: Database) {
    let setting = Setting::new(&database).await;
    let svc = &setting.svc;
    for at in BREAKS {
        let (key, version) = (key(), random_version());
        let ask = json!({"version": version, "lease_duration_ms": 60_000, "wait_ms": 0});
        let answer = setting.broken_post(at, &key, "acquire", &ask).await;
        let again = until_answered(svc, &format!("/locks/{key}/acquire"), &ask).await;
        if answer.status == 200 {
            assert_eq!(again.grant().token, answer.grant().token, "{at:?}");
        }
        if again.status == 200 {
            assert_eq!(svc.lock(&key).await.grant().version, version, "{at:?}");
            svc.release(&key, &version).await.unheld(200);
        } else {
            // The service gave back the grant for which it had answered 503.
            again.problem(409, "version-mismatch");
        }
        svc.until_free_or_absent(&key).await;
    }
}

/// Guards invariant 7: an unanswered grant is given back, and does not stay until its lease ends.
async fn an_acquire_whose_version_the_service_made_leaves_nobody_holding(database: Database) {
    let setting = Setting::new(&database).await;
    for at in BREAKS {
        let key = key();
        let ask = json!({"lease_duration_ms": 600_000, "wait_ms": 0});
        let answer = setting.broken_post(at, &key, "acquire", &ask).await;
        if answer.status == 200 {
            let grant = answer.grant();
            assert_eq!(setting.svc.lock(&key).await.grant().version, grant.version, "{at:?}");
            setting.svc.release(&key, &grant.version).await.unheld(200);
        } else {
            answer.unavailable();
        }
        setting.svc.until_free_or_absent(&key).await;
    }
}

/// Guards invariants 3 and 9.
async fn a_release_of_unknown_fate_can_be_sent_again(database: Database) {
    let setting = Setting::new(&database).await;
    for at in BREAKS {
        let key = key();
        let grant = setting.svc.hold(&key).await;
        let release = json!({"version": grant.version, "data": "done"});
        let answer = setting.broken_post(at, &key, "release", &release).await;
        if answer.status != 503 {
            answer.unheld(200);
            setting.svc.lock(&key).await.unheld(200);
        }
        let again = until_answered(&setting.svc, &format!("/locks/{key}/release"), &release).await;
        assert_eq!(again.unheld(200)["data"], "done", "{at:?}");
        assert!(setting.svc.hold(&key).await.token > grant.token);
    }
}

/// Guards invariants 3 and 4.
async fn a_heartbeat_of_unknown_fate_acts_on_its_grant_or_on_nothing(database: Database) {
    let setting = Setting::new(&database).await;
    for at in BREAKS {
        let key = key();
        let grant = setting.svc.hold(&key).await;
        let beat = json!({"version": grant.version, "lease_duration_ms": 600_000});
        let answer = setting.broken_post(at, &key, "heartbeat", &beat).await;
        let shown = eventually("the lock is shown", SOON, async || {
            let shown = setting.svc.lock(&key).await;
            (shown.status != 503).then_some(shown)
        });
        let shown = shown.await.grant();
        assert_eq!((&shown.version, shown.token), (&grant.version, grant.token), "{at:?}");
        if answer.status == 200 {
            assert_eq!(shown.body["expires_at"], answer.grant().body["expires_at"], "{at:?}");
        }
    }
}

/// Guards invariants 6 and 9: the release and the grant are one commit, and both answers say what happened.
async fn a_hand_over_of_unknown_fate_reaches_the_waiter(database: Database) {
    let setting = Setting::new(&database).await;
    let svc = &setting.svc;
    for at in BREAKS {
        let key = key();
        let held = svc.hold(&key).await;
        let waiting = svc.queue_up(&key, json!({"wait_ms": 40_000, "lease_duration_ms": 60_000}), 1).await;
        let release = json!({"version": held.version});
        setting.broken_post(at, &key, "release", &release).await;
        let again = until_answered(svc, &format!("/locks/{key}/release"), &release).await;
        let grant = waiting.await.unwrap().grant();
        assert!(grant.token > held.token);
        // The first release may have been carried out. Another grant is then current.
        assert!(again.status == 200 || again.status == 409, "{at:?}: {}", again.text);
        assert_eq!(svc.lock(&key).await.grant().version, grant.version, "{at:?}");
    }
}
