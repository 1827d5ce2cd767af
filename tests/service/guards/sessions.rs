//! The session that keeps a guarded key waiting is named.

use serde_json::{Value, json};

use super::{User, on_every_database};
use crate::support::{Client, Database, Dialect, SHORT_MS, SOON, Service, eventually, random_text, sql};

on_every_database![with_database:
    the_session_of_an_open_transaction_is_named,
    without_the_right_to_see_sessions_none_is_named,
];

/// A user with an open transaction, the id of its session, and the 423 of others for which `is_named` is true.
async fn refused_by(
    database: &Database,
    svc: &Client,
    is_named: impl Fn(&Value) -> bool,
) -> (User, String, Value) {
    let user = User::of(database, svc).await;
    let grant = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": SHORT_MS})).await.grant();
    user.begin().await;
    assert_eq!(user.guard("k", &grant.version).await, Ok(grant.token));
    // MariaDB distinguishes transactions that have written something.
    user.run("INSERT INTO account VALUES (1, 100)").await;
    svc.until_free("k", SOON).await;
    let ask = async || {
        let refused = svc.acquire("k", json!({"wait_ms": 0})).await;
        let session = refused.not_granted("guarded_transaction")["session"].clone();
        is_named(&session).then_some(session)
    };
    let session = eventually("the answer names the session", SOON, ask).await;
    let own = user.session().await;
    (user, own, session)
}

async fn the_session_of_an_open_transaction_is_named(database: Database) {
    let tells = matches!(database.dialect, Dialect::Postgres | Dialect::MariaDb);
    if database.dialect == Dialect::Sqlite {
        // SQLite has one writer at a time, so there is nothing to wait for.
        return;
    }
    let service = Service::start_with(&database.url, &[("DB_LOCKS_GUARD_WAIT_MS", "200")]).await;
    let svc = service.client();
    let (user, own, named) = refused_by(&database, &svc, |session| session.is_string() == tells).await;
    let logged = service.until_logged("a guarded key waits for its end").await;
    if tells {
        assert_eq!(named, own);
        assert!(logged.contains(&format!("session=\"{own}\"")), "{logged}");
    } else {
        assert!(!logged.contains("session="), "{logged}");
    }
    user.run("COMMIT").await;
    eventually("it is granted", SOON, async || {
        (svc.acquire("k", json!({"wait_ms": 0})).await.status == 200).then_some(())
    })
    .await;
}

/// On `MariaDB` only users with the privilege PROCESS see which session waits for which.
async fn without_the_right_to_see_sessions_none_is_named(database: Database) {
    if database.dialect != Dialect::MariaDb {
        return;
    }
    // Creates the tables.
    drop(Service::start(&database.url).await);
    let (role, name) = (format!("app_{}", random_text()), database.url.rsplit('/').next().unwrap());
    for statement in [
        format!("CREATE USER {role}@'127.0.0.1' IDENTIFIED BY 'app'"),
        format!("GRANT ALL ON {name}.* TO {role}@'127.0.0.1'"),
    ] {
        sql::execute(&database.url, &statement).await.unwrap();
    }
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let (_, rest) = rest.split_once('@').unwrap();
    let service = Service::start(&format!("{scheme}://{role}:app@{rest}")).await;
    let svc = service.client();
    let (_user, _, named) = refused_by(&database, &svc, Value::is_null).await;
    assert_eq!(named, Value::Null);
    service.until_logged("needs the privilege PROCESS").await;
    let logged = service.until_logged("a guarded key waits for its end").await;
    assert!(!logged.contains("session="), "{logged}");
    assert_eq!(service.log().matches("needs the privilege PROCESS").count(), 1);
}
