//! The plans of the sweeper's statements beside many rows: each reads a page in the order of an index, and no more.

use db_locks_service::store::sweep_statements;
use sea_orm::{ConnectionTrait, Database as SeaOrm, DatabaseConnection};

use super::{
    plans::{explain, explain_postgres, full_scans, pages, postgres_session},
    store_on,
};
use crate::support::Dialect;

/// Makes rows: keys that exist, each with a guard row, and as many tombstones in another order than that of their keys.
const FILL: [&str; 3] = [
    "INSERT INTO token_floors (tenant, floor, settled_floor, raised_at_ms) {series} SELECT 'n' || n, 1, 1, 1 FROM n",
    "INSERT INTO locks (tenant, \"key\", stamp, kind, token, chosen, released, delete_on_release, ended, slots, \
     waiters, next_seq, created_at_ms, updated_at_ms, sweep_at_ms) {series} SELECT 'n' || (n % 100), \
     'k' || (n * 7919 % {rows}), {row_version}, n % 2, 1, false, false, false, {no_bytes}, 0, 0, 0, 0, n, \
     CASE n % 2 WHEN 0 THEN n + {offset} END FROM n",
    "INSERT INTO db_locks_guards (tenant, \"key\", slot, token, granted_at, identity, uses) {series} \
     SELECT 'n' || (n % 100), 'k' || (n * 7919 % {rows}), 0, 1, {time}, '', 0 FROM n WHERE n % 2 = 1",
];

const ROWS: u32 = 40_000;

async fn fill(db: &DatabaseConnection, is_postgres: bool) {
    let (series, row_version, no_bytes, time) = if is_postgres {
        ("WITH n (n) AS (SELECT generate_series(1, {rows}))", "gen_random_uuid()", "''", "now()")
    } else {
        let series = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})";
        (series, "randomblob(16)", "x''", "0")
    };
    for sql in FILL {
        let sql = sql
            .replace("{series}", series)
            .replace("{row_version}", row_version)
            .replace("{no_bytes}", no_bytes)
            .replace("{time}", time)
            .replace("{rows}", &ROWS.to_string())
            .replace("{offset}", &(1_u64 << 60).to_string());
        db.execute_unprepared(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn sqlite_reads_the_rows_of_a_sweep_in_the_order_of_an_index() {
    let database = Dialect::Sqlite.database().await.unwrap();
    store_on(&database).await;
    let db = SeaOrm::connect(&database.url).await.unwrap();
    fill(&db, false).await;
    for analyze in ["", "ANALYZE"] {
        db.execute_unprepared(analyze).await.unwrap();
        for (name, sql) in sweep_statements("sqlite") {
            let plan = explain(&db, &format!("EXPLAIN QUERY PLAN {sql}"), "detail").await;
            // A page that the statement has made itself is called `l`, too.
            let scans = [
                "SCAN locks",
                "SCAN db_locks_guards",
                "SCAN token_floors",
                "SCAN f\n",
                "SCAN g\n",
                "SCAN k\n",
            ];
            let scans = scans.into_iter().chain(["USE TEMP B-TREE"]);
            let found: Vec<_> = scans.filter(|scan| plan.contains(scan)).collect();
            assert!(found.is_empty(), "{name}: {found:?}\n{plan}");
            assert!(!plan.contains("SCAN l\n") || plan.contains("CO-ROUTINE l\n"), "{name}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn postgresql_reads_the_rows_of_a_sweep_in_the_order_of_an_index() {
    let Some(database) = Dialect::Postgres.database().await else { return };
    store_on(&database).await;
    let statements = sweep_statements("postgres");
    let early = postgres_session(&database.url).await;
    early.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    for (number, (_, sql)) in statements.iter().enumerate() {
        early.execute_unprepared(&format!("PREPARE p{number} AS {sql}")).await.unwrap();
        explain_postgres(&early, number, sql).await;
    }
    fill(&early, true).await;
    check_plans(&early, &statements).await;
    check_pages(&early, &statements, "with statistics of empty tables").await;
    let late = postgres_session(&database.url).await;
    late.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    for (number, (_, sql)) in statements.iter().enumerate() {
        late.execute_unprepared(&format!("PREPARE p{number} AS {sql}")).await.unwrap();
    }
    check_plans(&late, &statements).await;
    check_pages(&late, &statements, "with statistics of full tables").await;
}

async fn check_plans(db: &DatabaseConnection, statements: &[(&str, String)]) {
    for (number, (name, sql)) in statements.iter().enumerate() {
        let plan = explain_postgres(db, number, sql).await;
        for word in ["Seq Scan", "Bitmap", "Sort"] {
            assert!(!plan.contains(word), "{name}:\n{plan}");
        }
        let full = full_scans(&plan);
        assert!(full.is_empty(), "{name} reads a whole index: {full:?}\n{plan}");
    }
}

/// Ten rows, and what belongs to them. All rows are more than a thousand pages.
async fn check_pages(db: &DatabaseConnection, statements: &[(&str, String)], when: &str) {
    let from = 1_u64 << 60;
    let keys = "ARRAY['n2', 'n4', 'n6'], ARRAY['k15838', 'k31676', 'k7514']";
    for (name, arguments) in [
        ("ended", format!("1, {from}, 10")),
        ("tombstones", format!("{from}, {}, 10, 0", from + u64::from(ROWS))),
        ("guards_of_tenant", "'n1', '', 10".to_owned()),
        ("guards_of_later_tenants", "'', 10".to_owned()),
        ("remove_guards", format!("{keys}, 10")),
        ("delete_tombstones", format!("{keys}, {ROWS}")),
    ] {
        let (pages, plan) = pages(db, statements, name, &arguments).await;
        assert!(pages < 150, "{name} {when}: {pages}\n{plan}");
    }
}
