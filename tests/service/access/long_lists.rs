//! Lists of few among very many keys: no statement searches all keys of a tenant, and no list takes longer than it should.

use serde_json::json;

use super::{Guarded, on_every_database};
use crate::support::{Client, Database, Dialect, sql::execute};

on_every_database![with_database: a_list_searches_many_keys_by_statements_of_limited_size];

/// The number of free locks of the tenant: `000000` to `009999`.
const KEYS: u64 = 10_000;
/// The most keys that a statement may search.
const MOST: u64 = 4_096;

/// Creates the free locks.
async fn fill(database: &Database, tenant: &str) {
    let (key, row_version, quoted) = match database.dialect {
        Dialect::Sqlite => ("printf('%06d', n)", "randomblob(16)", "\"key\""),
        Dialect::Postgres => ("lpad(n::text, 6, '0')", "gen_random_uuid()", "\"key\""),
        Dialect::MariaDb | Dialect::MySql => ("lpad(n, 6, '0')", "unhex(replace(uuid(), '-', ''))", "`key`"),
    };
    let empty = if database.dialect == Dialect::Sqlite { "x''" } else { "''" };
    let digits =
        (1..10).fold("SELECT 0 AS d".to_owned(), |all, digit| format!("{all} UNION ALL SELECT {digit}"));
    let sql = format!(
        "INSERT INTO locks (tenant, {quoted}, stamp, kind, token, chosen, released, delete_on_release, ended, slots, \
         waiters, next_seq, created_at_ms, updated_at_ms) SELECT '{tenant}', {key}, {row_version}, 1, 1, false, false, \
         false, {empty}, 0, 0, 0, 0, 0 FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM ({digits}) a \
         CROSS JOIN ({digits}) b CROSS JOIN ({digits}) c CROSS JOIN ({digits}) e) numbers"
    );
    execute(&database.url, &sql).await.unwrap();
}

/// The number of statements that lists have sent.
async fn statements(svc: &Client) -> u64 {
    let metrics = svc.get("/metrics").await.text;
    let counter = r#"db_locks_database_round_trips_total{operation="list"} "#;
    metrics.lines().find_map(|line| line.strip_prefix(counter)).unwrap().parse().unwrap()
}

async fn a_list_searches_many_keys_by_statements_of_limited_size(database: Database) {
    let guarded = Guarded::start(&database).await;
    let admin = guarded.admin.with_tenant("acme");
    fill(&database, "acme").await;
    let mine = ["000000-mine", "004095-mine", "004096-mine", "008191-mine", "009999-mine", "z-mine"];
    for key in mine {
        admin.acquire(key, json!({"owner": "me", "lease_duration_ms": 600_000})).await.grant();
    }
    let ask = json!({"name": "reader", "role": "read", "tenant": "acme", "keys": ["*-mine", "q*"]});
    let reader = guarded.client(ask).await.with_tenant("acme");
    let list = async |svc: &Client, query: &str| {
        let (mut keys, mut path) = (Vec::new(), format!("/locks?{query}"));
        loop {
            let page = svc.get(&path).await.expect(200).body;
            let items = page["items"].as_array().unwrap();
            keys.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { return keys };
            path = format!("/locks?{query}&cursor={cursor}");
        }
    };
    for (svc, query, found, least) in [
        (&admin, "owner=me&limit=100", mine.len(), KEYS / MOST),
        (&admin, "owner=me&limit=1", mine.len(), KEYS / MOST),
        (&admin, "owner=nobody", 0, KEYS / MOST),
        (&admin, "locked=true", mine.len(), KEYS / MOST),
        (&admin, "owner=me&prefix=0081", 1, 0),
        (&reader, "limit=100", mine.len(), KEYS / MOST),
        (&reader, "limit=2", mine.len(), KEYS / MOST),
        (&reader, "owner=me&prefix=00", mine.len() - 1, KEYS / MOST),
        (&reader, "locked=false", 0, KEYS / MOST),
    ] {
        let before = statements(&admin).await;
        let keys = list(svc, query).await;
        assert_eq!(
            keys,
            mine.iter().filter(|key| keys.contains(&(**key).to_owned())).copied().collect::<Vec<_>>()
        );
        assert_eq!(keys.len(), found, "{query}");
        let sent = statements(&admin).await - before;
        // They find windows, and search them.
        assert!(sent > 2 * least, "{query}: {sent} statements");
    }
    let before = statements(&admin).await;
    assert_eq!(list(&admin, "prefix=0050&limit=1000").await.len(), 100);
    assert_eq!(statements(&admin).await - before, 1, "an index has everything that this list needs");
}
