//! The plans of the sweeper's statements beside many rows: each reads a page in the order of an index, and no more.

use db_locks_service::store::sweep_statements;
use sea_orm::{ConnectionTrait, Database as SeaOrm, DatabaseConnection, Statement, Value};

use super::{
    plans::{explain, explain_postgres, full_scans, pages, postgres_session},
    store_on,
};
use crate::support::{Dialect, sql};

/// Makes rows: keys that exist, each with a guard row, and as many tombstones in another order than that of their keys.
const FILL: [&str; 3] = [
    "INSERT INTO token_floors (tenant, {floor}, settled_floor, raised_at_ms) {series} SELECT concat('n', n), 1, 1, 1 FROM n",
    "INSERT INTO locks (tenant, {key}, stamp, kind, token, chosen, released, delete_on_release, ended, slots, \
     waiters, next_seq, created_at_ms, updated_at_ms, sweep_at_ms) {series} SELECT concat('n', n % 100), \
     concat('k', n * 7919 % {rows}), {row_version}, n % 2, 1, false, false, false, {no_bytes}, 0, 0, 0, 0, n, \
     CASE n % 2 WHEN 0 THEN n + {offset} END FROM n",
    "INSERT INTO db_locks_guards (tenant, {key}, slot, token, granted_at, identity, uses) {series} \
     SELECT concat('n', n % 100), concat('k', n * 7919 % {rows}), 0, 1, {time}, '', 0 FROM n WHERE n % 2 = 1",
];

const ROWS: u32 = 40_000;

/// Where tombstones begin.
const TOMBSTONES: i64 = 1 << 60;

async fn fill(db: &DatabaseConnection, dialect: Dialect) {
    let [series, row_version, no_bytes, time] = match dialect {
        Dialect::Sqlite => [
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})",
            "randomblob(16)",
            "x''",
            "0",
        ],
        Dialect::Postgres => {
            ["WITH n (n) AS (SELECT generate_series(1, {rows}))", "gen_random_uuid()", "''", "now()"]
        }
        Dialect::MariaDb | Dialect::MySql => [
            "WITH d (d) AS (VALUES_OF_TEN), n (n) AS (SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d \
             FROM d a, d b, d c, d e, d f WHERE f.d < 4)",
            "random_bytes(16)",
            "''",
            "now(6)",
        ],
    };
    let digits: Vec<_> = (0..10).map(|digit| format!("SELECT {digit}")).collect();
    let quote = if matches!(dialect, Dialect::MariaDb | Dialect::MySql) { '`' } else { '"' };
    for sql in FILL {
        let sql = sql
            .replace("{series}", series)
            .replace("VALUES_OF_TEN", &digits.join(" UNION ALL "))
            .replace("{key}", &format!("{quote}key{quote}"))
            .replace("{floor}", &format!("{quote}floor{quote}"))
            .replace("{row_version}", row_version)
            .replace("{no_bytes}", no_bytes)
            .replace("{time}", time)
            .replace("{rows}", &ROWS.to_string())
            .replace("{offset}", &TOMBSTONES.to_string());
        db.execute_unprepared(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn sqlite_reads_the_rows_of_a_sweep_in_the_order_of_an_index() {
    let database = Dialect::Sqlite.database().await.unwrap();
    store_on(&database).await;
    let db = SeaOrm::connect(&database.url).await.unwrap();
    fill(&db, Dialect::Sqlite).await;
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
    fill(&early, Dialect::Postgres).await;
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
    let from = TOMBSTONES;
    let keys = "ARRAY['n2', 'n4', 'n6'], ARRAY['k15838', 'k31676', 'k7514']";
    for (name, arguments) in [
        ("ended", format!("1, {from}, 10")),
        ("tombstones", format!("{from}, {}, 10, 0", from + i64::from(ROWS))),
        ("guards_of_tenant", "'n1', '', 10".to_owned()),
        ("guards_of_later_tenants", "'', 10".to_owned()),
        ("remove_guards", format!("{keys}, 10")),
        ("delete_tombstones", format!("{keys}, {ROWS}")),
    ] {
        let (pages, plan) = pages(db, statements, name, &arguments).await;
        assert!(pages < 150, "{name} {when}: {pages}\n{plan}");
    }
}

#[tokio::test]
async fn mariadb_and_mysql_read_few_rows_of_a_sweep() {
    for (dialect, scheme) in [(Dialect::MariaDb, "mariadb"), (Dialect::MySql, "mysql")] {
        let Some(database) = dialect.database().await else { continue };
        store_on(&database).await;
        let db = sql::connect(&database.url).await.unwrap();
        fill(&db, dialect).await;
        // Locked rows of tombstones, and guard rows of keys that exist.
        let keys =
            || Value::from(r#"[["n2", "k15838"], ["n4", "k31676"], ["n1", "k7919"], ["n3", "k23757"]]"#);
        let slots = Value::from(r#"[["n1", "k7919", 0], ["n3", "k23757", 0]]"#);
        let (from, rows) = (Value::from(TOMBSTONES), i64::from(ROWS));
        for (name, sql) in sweep_statements(scheme) {
            let values = match name {
                "ended" => vec![1_i64.into(), from.clone(), 10_i64.into()],
                "tombstones" => vec![from.clone(), (TOMBSTONES + rows).into(), 10_i64.into(), 0_i64.into()],
                "settle_floor" => vec!["n1".into(), 0_i64.into()],
                "guards_of_tenant" => vec!["n1".into(), "".into(), 10_i64.into()],
                "guards_of_later_tenants" => vec!["".into(), 10_i64.into()],
                "lock_tombstones" => vec![keys(), rows.into()],
                "lock_guards" => vec![keys(), 10_i64.into()],
                "delete_guards" => vec![slots.clone()],
                "delete_tombstones" => vec![keys()],
                other => panic!("{other} has no values here"),
            };
            let before = rows_read(&db).await;
            let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
            db.query_all_raw(statement).await.unwrap();
            let read = rows_read(&db).await - before;
            assert!(read < 1_000, "{scheme} reads {read} rows for {name}");
        }
    }
}

/// The number of rows that a session has read.
async fn rows_read(db: &DatabaseConnection) -> u64 {
    let query = "SHOW SESSION STATUS LIKE 'Handler_read%'";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index::<String>(1).unwrap().parse::<u64>().unwrap()).sum()
}
