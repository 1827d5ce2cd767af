//! The plans of the hot path on a table with rows: databases find rows by key and never scan the table.

use db_locks_service::store::{PLANNER_SETTINGS, hot_statements};
use sea_orm::{ConnectionTrait, Database as SeaOrm, DatabaseConnection, Statement};

use super::store_on;
use crate::support::Dialect;

const ROWS: usize = 100_000;

#[tokio::test]
async fn sqlite_finds_rows_by_key() {
    let database = Dialect::Sqlite.database().await.unwrap();
    store_on(&database).await;
    let db = SeaOrm::connect(&database.url).await.unwrap();
    fill(
        &db,
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})",
        "printf('%06d', n)",
        "x'00'",
    )
    .await;
    db.execute_unprepared("ANALYZE").await.unwrap();
    for (name, sql) in hot_statements("sqlite") {
        let plan = explain(&db, &format!("EXPLAIN QUERY PLAN {sql}"), "detail").await;
        for table in ["locks", "permits", "waiters"] {
            assert!(!plan.contains(&format!("SCAN {table}")), "{name} scans {table}:\n{plan}");
        }
        for alias in ["SCAN l\n", "SCAN w\n", "SCAN b\n"] {
            assert!(!plan.contains(alias), "{name} scans:\n{plan}");
        }
    }
}

#[tokio::test]
async fn postgresql_finds_rows_by_key_with_plans_made_for_an_empty_table() {
    let Some(database) = Dialect::Postgres.database().await else { return };
    store_on(&database).await;
    let db = postgres_session(&database.url).await;
    // Autovacuum makes the planner believe that the tables stay empty.
    db.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    let statements = hot_statements("postgres");
    for (number, (_, sql)) in statements.iter().enumerate() {
        db.execute_unprepared(&format!("PREPARE p{number} AS {sql}")).await.unwrap();
        explain_postgres(&db, number, sql).await;
    }
    fill(&db, "WITH n (n) AS (SELECT generate_series(1, {rows}))", "lpad(n::text, 6, '0')", "''").await;
    for (number, (name, sql)) in statements.iter().enumerate() {
        let plan = explain_postgres(&db, number, sql).await;
        assert!(!plan.contains("Seq Scan on locks"), "{name} scans:\n{plan}");
        assert!(!plan.contains("Seq Scan on waiters"), "{name} scans:\n{plan}");
        assert!(!plan.contains("Seq Scan on permits"), "{name} scans:\n{plan}");
        let full = full_scans(&plan);
        assert!(full.is_empty(), "{name} reads a whole index: {full:?}\n{plan}");
        assert!(!plan.contains("Sort"), "{name} reads all rows before the first:\n{plan}");
        // Positions are counted from the front of the queue, and a range of slots is read as a whole.
        if *name != "load_positions" {
            let columns = ["seq", "slot", "version", "expires_at_ms"];
            let columns = &columns[..if *name == "count_busy_slots" { 3 } else { 4 }];
            let reads_all =
                |column| plan.lines().any(|line| line.contains("Filter:") && line.contains(column));
            let all = columns.iter().find(|column| reads_all(**column));
            assert_eq!(all, None, "{name} reads all rows of a key:\n{plan}");
        }
    }
}

/// A plan shows which condition an index is searched with, and not how far the search goes.
#[tokio::test]
async fn postgresql_reads_few_pages_for_the_first_of_very_many_keys_of_a_tenant() {
    let Some(database) = Dialect::Postgres.database().await else { return };
    store_on(&database).await;
    let db = postgres_session(&database.url).await;
    fill(&db, "WITH n (n) AS (SELECT generate_series(1, {rows}))", "lpad(n::text, 6, '0')", "''").await;
    db.execute_unprepared("VACUUM ANALYZE locks").await.unwrap();
    let rows = "SELECT array_agg(jsonb_populate_record(NULL::lock_row, \
                to_jsonb(l) || jsonb_build_object('prev_stamp', l.stamp)))::text AS rows \
                FROM locks l WHERE \"key\" = '000001'";
    let row = format!("$row${}$row$", explain(&db, rows, "rows").await.trim());
    for (name, arguments) in [("load", "ARRAY['t'], ARRAY['000001']"), ("commit", &row)] {
        let (pages, plan) = pages(&db, &hot_statements("postgres"), name, arguments).await;
        assert!(pages < 30, "{name}:\n{plan}");
    }
}

/// Where most semaphores are small, the planner takes all of them for small.
#[tokio::test]
async fn postgresql_reads_few_pages_for_two_permits_of_a_large_semaphore_among_small_ones() {
    let Some(database) = Dialect::Postgres.database().await else { return };
    store_on(&database).await;
    let db = postgres_session(&database.url).await;
    let permits = |keys: &str| {
        format!(
            "INSERT INTO permits (tenant, \"key\", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, \
             expires_at_ms, released, nonce, updated_at_ms) SELECT 't', {keys}, n, \
             lpad(n::text, 32, '0')::uuid, false, n, 'o', 1, n, n, false, 0, n FROM generate_series(1, 10000) AS s (n)"
        )
    };
    db.execute_unprepared(&permits("n::text")).await.unwrap();
    db.execute_unprepared("VACUUM ANALYZE permits").await.unwrap();
    db.execute_unprepared(&permits("'large'")).await.unwrap();
    let two = ["0", "9"].map(|digit| format!("'0000000000000000000000000000{digit}001'")).join(", ");
    for (name, arguments) in [
        ("load_permits", "10"),
        ("load_active_permits", "9000, 10"),
        ("load_named_permits", &two),
        ("count_busy", "9990"),
        ("count_busy_slots", "9990, 10000, 0"),
        ("permits_clear", "9990"),
    ] {
        let arguments = format!("'t', 'large', {arguments}");
        let (pages, plan) = pages(&db, &hot_statements("postgres"), name, &arguments).await;
        assert!(pages < 30, "{name}:\n{plan}");
    }
}

/// The number of pages that a statement reads, and its plan.
pub(super) async fn pages(
    db: &DatabaseConnection,
    statements: &[(&str, String)],
    name: &str,
    arguments: &str,
) -> (u32, String) {
    let (_, sql) = statements.iter().find(|(other, _)| *other == name).unwrap();
    db.execute_unprepared(&format!("PREPARE {name}_pages AS {sql}")).await.unwrap();
    let execute = format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE {name}_pages({arguments})");
    let plan = explain(db, &execute, "QUERY PLAN").await;
    let buffers = plan.lines().find(|line| line.contains("Buffers: shared")).unwrap();
    let numbers = buffers.split(['=', ' ']).filter_map(|word| word.parse::<u32>().ok());
    (numbers.sum(), plan)
}

/// The scans of a plan that read all of an index: those without a condition.
pub(super) fn full_scans(plan: &str) -> Vec<&str> {
    let lines: Vec<_> = plan.lines().collect();
    let has_condition = |at: usize| lines.get(at + 1).is_some_and(|next| next.contains("Index Cond:"));
    let is_scan = |line: &str| line.contains("Index Scan") || line.contains("Index Only Scan");
    (0..lines.len())
        .filter(|at| is_scan(lines[*at]) && !has_condition(*at))
        .map(|at| lines[at].trim())
        .collect()
}

/// A session with the settings of the service's.
pub(super) async fn postgres_session(url: &str) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(url.to_owned());
    options.max_connections(1);
    let db = SeaOrm::connect(options).await.unwrap();
    for (name, value) in PLANNER_SETTINGS {
        db.execute_unprepared(&format!("SET {name} = {value}")).await.unwrap();
    }
    db
}

pub(super) async fn explain_postgres(db: &DatabaseConnection, number: usize, sql: &str) -> String {
    let parameters = (1..100).take_while(|parameter| sql.contains(&format!("${parameter}"))).count();
    let nulls = vec!["NULL"; parameters].join(", ");
    let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
    explain(db, &format!("EXPLAIN EXECUTE p{number}{arguments}"), "QUERY PLAN").await
}

/// Inserts this number of locks into the table.
async fn fill(db: &DatabaseConnection, series: &str, key: &str, no_bytes: &str) {
    let sql = format!(
        "INSERT INTO locks (tenant, \"key\", stamp, kind, token, chosen, released, delete_on_release, ended, slots, \
         waiters, next_seq, created_at_ms, updated_at_ms) {series} SELECT 't', {key}, {row_version}, 1, 1, false, false, \
         false, {no_bytes}, 0, 0, 0, 0, 0 FROM n",
        series = series.replace("{rows}", &ROWS.to_string()),
        row_version = if no_bytes == "''" { "gen_random_uuid()" } else { "randomblob(16)" },
    );
    db.execute_unprepared(&sql).await.unwrap();
}

pub(super) async fn explain(db: &DatabaseConnection, sql: &str, column: &str) -> String {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get::<String>("", column).unwrap() + "\n").collect()
}
