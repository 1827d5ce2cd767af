//! The statements of a list: what they search, and that they are finished.

use sea_orm::{DbBackend, Select};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{
        queries::{Span, that_pass, with_keys},
        ranges::ranges,
    },
    *,
};
use crate::domain::Timestamp;

/// Guards the size of windows: a statement reads no more than the keys between its bounds, in their order.
#[tokio::test]
async fn the_primary_key_finds_what_a_statement_searches() {
    let lists = Lists::new(Duration::ZERO).await;
    let database = rusqlite::Connection::open(&lists.path).unwrap();
    let plan = |query: Select<locks::Entity>| {
        let sql = format!("EXPLAIN QUERY PLAN {}", query.build(DbBackend::Sqlite));
        let mut statement = database.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>("detail")).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    };
    let (tenant, after, end) = (Tenant::trusted("t"), Key::trusted("000100"), Key::trusted("004195"));
    let owner = Some(Owner::new("me").unwrap());
    let filter = LockFilter { keys: of_keys(Some("00"), &[]), owner, locked: None };
    let ranges = ranges(&filter.keys, None);
    let span = Span { tenant: &tenant, range: &ranges[0], after: Some(&after), up_to: None };
    let found = plan(span.keys().offset(4_095).limit(1));
    assert!(
        found.starts_with("SEARCH locks USING COVERING INDEX") && found.contains("key>? AND key<?"),
        "{found}"
    );
    let window = Span { up_to: Some(&end), ..span };
    let now = Timestamp(0);
    let named = with_keys(&tenant, &["a", "b", "c"].map(str::to_owned));
    for (query, bounds) in [
        (span.rows(), "(tenant=? AND key>? AND key<?)"),
        (that_pass(window.rows(), &MUTEXES, &filter, now), "(tenant=? AND key>? AND key<?)"),
        (that_pass(named, &MUTEXES, &filter, now), "(tenant=? AND key=?)"),
    ] {
        let found = plan(query.limit(100));
        assert!(found.starts_with("SEARCH locks USING INDEX") && found.contains(bounds), "{found}");
        assert_eq!(found.lines().count(), 1, "it sorts nothing: {found}");
    }
}

/// A statement that is dropped makes every connection suspect, so batches would have to connect again.
#[tokio::test]
async fn a_list_whose_caller_hangs_up_ends_after_its_statement() {
    let lists = Lists::new(Duration::ZERO).await;
    let (step, mut steps) = mpsc::unbounded_channel();
    let (answer, answered) = oneshot::channel();
    let page = lists.store.clone().read_page(
        None,
        |store| &store.list,
        move |_, turn| {
            Box::pin(async move {
                step.send("statement").unwrap();
                answered.await.unwrap();
                step.send("answer").unwrap();
                turn.let_others().await?;
                step.send("next statement").unwrap();
                Ok(())
            })
        },
    );
    let page = tokio::spawn(page);
    assert_eq!(steps.recv().await, Some("statement"));
    page.abort();
    assert!(page.await.is_err());
    answer.send(()).unwrap();
    assert_eq!((steps.recv().await, steps.recv().await), (Some("answer"), None));
}
