//! Lists: in byte order of the keys, page by page, with filters.

use serde_json::json;

use crate::support::{Answer, Client, SHORT_MS, SOON, names::segment};

on_every_database![with_client:
    locks_are_listed_in_byte_order_page_by_page,
    a_page_has_100_items_by_default,
    a_page_has_4_mib_at_most,
    a_cursor_goes_on_where_the_page_ended_whatever_was_deleted,
    a_prefix_is_literal,
    an_owner_is_that_of_an_active_grant,
    locked_tells_held_from_free,
    filters_work_together,
    semaphores_are_listed_apart_from_locks,
    the_query_of_a_list_is_checked,
];

fn keys(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{}", page.text);
    let items = page.body["items"].as_array().unwrap();
    items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a list, one after another.
async fn all_pages(svc: &Client, path: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (vec![], path.to_owned());
    loop {
        let page = svc.get(&next).await;
        pages.push(keys(&page));
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            assert!(page.body["next_cursor"].is_null());
            return pages;
        };
        next = format!("{path}&cursor={cursor}");
    }
}

async fn create(svc: &Client, keys: &[&str]) {
    for key in keys {
        let path = segment(key);
        svc.put(&format!("/locks/{path}"), json!({})).await.expect(201);
    }
}

/// Guards invariant 10: the order does not depend on a collation.
async fn locks_are_listed_in_byte_order_page_by_page(svc: Client) {
    // UTF-16 would put the emoji before U+FB00, a language's order the capitals after the small letters.
    let mut expected = ["b", "B", "a", "A", "a ", "á", "z", "é", "\u{fb00}", "😀", "Z", "-", "_", "10", "9"];
    create(&svc, &expected).await;
    expected.sort_unstable();
    for (limit, pages) in [(1, 15), (2, 8), (7, 3), (1000, 1)] {
        let listed = all_pages(&svc, &format!("/locks?limit={limit}")).await;
        assert_eq!(listed.concat(), expected);
        // The contract does not say whether a full last page has a `next_cursor`.
        assert!(listed.len() == pages || listed.len() == pages + 1, "{limit}: {}", listed.len());
    }
}

async fn a_page_has_100_items_by_default(svc: Client) {
    let calls = (0..101).map(|at| {
        let (svc, path) = (svc.clone(), format!("/locks/k{at:03}"));
        tokio::spawn(async move { svc.put(&path, json!({})).await.expect(201) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let page = svc.get("/locks").await;
    assert_eq!(keys(&page).len(), 100);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let last = svc.get(&format!("/locks?cursor={cursor}")).await;
    assert_eq!((keys(&last), last.body["next_cursor"].is_null()), (vec!["k100".to_owned()], true));
}

async fn a_page_has_4_mib_at_most(svc: Client) {
    // Each of these bytes takes six in an answer: 22 items and more come to 4 MiB.
    let data = "\u{1}".repeat(32 * 1024);
    for at in 0..50 {
        svc.put(&format!("/locks/k{at:02}"), json!({"data": data})).await.expect(201);
    }
    let (mut path, mut pages) = ("/locks?limit=1000".to_owned(), vec![]);
    loop {
        let page = svc.get(&path).await;
        assert!(page.text.len() <= 4 * 1024 * 1024, "{}", page.text.len());
        assert!(page.body["items"].as_array().unwrap().iter().all(|item| item["data"] == *data));
        pages.push(keys(&page));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/locks?limit=1000&cursor={cursor}");
    }
    assert_eq!(pages.concat(), (0..50).map(|at| format!("k{at:02}")).collect::<Vec<_>>());
    assert!(pages[0].len() > 15, "{}", pages[0].len());
}

async fn a_cursor_goes_on_where_the_page_ended_whatever_was_deleted(svc: Client) {
    create(&svc, &["a", "b", "c", "d"]).await;
    let page = svc.get("/locks?limit=2").await;
    assert_eq!(keys(&page), ["a", "b"]);
    svc.delete("/locks/b").await.expect(204);
    create(&svc, &["a2"]).await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    assert_eq!(keys(&svc.get(&format!("/locks?limit=2&cursor={cursor}")).await), ["c", "d"]);
}

async fn a_prefix_is_literal(svc: Client) {
    create(&svc, &["a", "ab", "aB", "a%b", "a_b", "a\\b", "a*b", "A", "b", "ä", "a/b", "😀1"]).await;
    for (prefix, expected) in [
        ("a", vec!["a", "a%b", "a*b", "a/b", "aB", "a\\b", "a_b", "ab"]),
        ("a%25", vec!["a%b"]),
        ("a_", vec!["a_b"]),
        ("a%5C", vec!["a\\b"]),
        ("a*", vec!["a*b"]),
        ("A", vec!["A"]),
        ("%C3%A4", vec!["ä"]),
        ("a%2F", vec!["a/b"]),
        ("%F0%9F%98%80", vec!["😀1"]),
        ("abc", vec![]),
    ] {
        assert_eq!(keys(&svc.get(&format!("/locks?prefix={prefix}")).await), expected, "{prefix}");
        assert_eq!(
            all_pages(&svc, &format!("/locks?limit=1&prefix={prefix}")).await.concat(),
            expected,
            "{prefix}"
        );
    }
}

async fn an_owner_is_that_of_an_active_grant(svc: Client) {
    let own = |owner: &str, lease_ms: u64| json!({"owner": owner, "lease_duration_ms": lease_ms});
    svc.acquire("held", own("me", 60_000)).await.grant();
    svc.acquire("other", own("ME", 60_000)).await.grant();
    svc.acquire("ended", own("me", SHORT_MS)).await.grant();
    let released = svc.acquire("released", own("me", 60_000)).await.grant();
    svc.release("released", &released.version).await.unheld(200);
    svc.until_free("ended", SOON).await;
    assert_eq!(keys(&svc.get("/locks?owner=me").await), ["held"]);
    assert_eq!(keys(&svc.get("/locks?owner=ME").await), ["other"]);
    assert_eq!(keys(&svc.get("/locks?owner=m").await), Vec::<String>::new());
}

async fn locked_tells_held_from_free(svc: Client) {
    create(&svc, &["put"]).await;
    svc.hold("held").await;
    svc.acquire("ended", json!({"lease_duration_ms": SHORT_MS})).await.grant();
    svc.until_free("ended", SOON).await;
    assert_eq!(keys(&svc.get("/locks?locked=true").await), ["held"]);
    assert_eq!(keys(&svc.get("/locks?locked=false").await), ["ended", "put"]);
    let all = svc.get("/locks").await;
    assert_eq!(keys(&all), ["ended", "held", "put"]);
    for item in all.body["items"].as_array().unwrap() {
        let shown = svc.lock(item["key"].as_str().unwrap()).await;
        for member in ["locked", "version", "fencing_token", "owner", "data", "expires_at", "created_at"] {
            assert_eq!(item[member], shown.body[member], "{member} in a list as elsewhere");
        }
    }
}

async fn filters_work_together(svc: Client) {
    for key in ["a1", "a2", "a3", "b1"] {
        let owner = if key == "a2" { "you" } else { "me" };
        svc.acquire(key, json!({"owner": owner, "lease_duration_ms": 60_000})).await.grant();
    }
    let path = "/locks?prefix=a&owner=me&locked=true&limit=1";
    assert_eq!(all_pages(&svc, path).await.concat(), ["a1", "a3"]);
    assert_eq!(keys(&svc.get("/locks?owner=me&locked=false").await), Vec::<String>::new());
}

async fn semaphores_are_listed_apart_from_locks(svc: Client) {
    create(&svc, &["lock"]).await;
    for key in ["s1", "S1", "s2", "t"] {
        svc.put(&format!("/semaphores/{key}"), json!({"max_size": 2})).await.expect(201);
    }
    svc.post("/semaphores/s1/acquire", json!({})).await.grant();
    assert_eq!(keys(&svc.get("/locks").await), ["lock"]);
    assert_eq!(keys(&svc.get("/semaphores").await), ["S1", "s1", "s2", "t"]);
    assert_eq!(all_pages(&svc, "/semaphores?prefix=s&limit=1").await.concat(), ["s1", "s2"]);
    let first = &svc.get("/semaphores?prefix=s1").await.body["items"][0];
    assert_eq!(first, &svc.get("/semaphores/s1").await.body);
}

async fn the_query_of_a_list_is_checked(svc: Client) {
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("locked=maybe", "locked"),
        ("cursor=%21", "cursor"),
        ("sort=key", "sort"),
        ("owner=%00", "owner"),
        ("prefix=%ff", "prefix"),
        ("limit=%zz", "limit"),
        ("limit=5&limit=6", "limit"),
    ] {
        svc.get(&format!("/locks?{query}")).await.names_invalid(field);
    }
    svc.get("/semaphores?owner=me").await.names_invalid("owner");
    svc.get("/semaphores?limit=0").await.names_invalid("limit");
    svc.get("/locks/k?prefix=a").await.names_invalid("prefix");
}
