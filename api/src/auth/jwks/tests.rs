use std::{
    pin::pin,
    task::{Context, Poll},
};

use futures_util::task::noop_waker_ref;

use super::*;

/// Keys of a URL, with one key that was read now.
fn keys() -> Keys {
    let decoding = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let key = Key { id: None, algorithm: Algorithm::EdDSA, decoding };
    let set = KeySet { keys: vec![key], read: Instant::now() };
    Keys {
        source: KeySource::Url("https://localhost/".to_owned()),
        current: Arc::new(RwLock::new(Some(Arc::new(set)))),
        attempt: Arc::default(),
        is_failing: Arc::default(),
    }
}

#[test]
fn a_signature_is_compared_with_few_keys_and_first_with_the_one_that_it_names() {
    let one = keys().now().unwrap();
    let decoding = || one.keys[0].decoding.clone();
    let key = |id: Option<u8>| Key {
        id: id.map(|id| id.to_string()),
        algorithm: Algorithm::EdDSA,
        decoding: decoding(),
    };
    let unnamed = (0..10).map(|_| key(None));
    let many =
        Arc::new(KeySet { keys: unnamed.chain((0..90).map(|id| key(Some(id)))).collect(), read: one.read });
    let fitting = |id: Option<&str>| {
        let id = id.map(str::to_owned);
        FittingKeys { set: Some(Arc::clone(&many)), id, algorithm: Algorithm::EdDSA }
    };
    assert_eq!([None, Some("89"), Some("x")].map(|id| fitting(id).iter().count()), [MOST_FITTING; 3]);
    let named = &many.keys.last().unwrap().decoding;
    assert!(std::ptr::eq(fitting(Some("89")).iter().next().unwrap(), named));
}

/// A key that the issuer withdrew must not count because somebody else waits for the answer. But an issuer that is away must not
/// keep everybody waiting.
#[tokio::test(start_paused = true)]
async fn outdated_keys_count_only_while_the_issuer_is_away() {
    let keys = keys();
    let reading = Arc::clone(&keys.attempt).lock_owned().await;
    let is_found = || {
        let found = pin!(keys.find(None, Algorithm::EdDSA)).poll(&mut Context::from_waker(noop_waker_ref()));
        matches!(found, Poll::Ready(Ok(found)) if !found.is_empty())
    };
    assert!(is_found());
    tokio::time::advance(MAX_AGE).await;
    assert!(!is_found(), "it waits");
    keys.is_failing.store(true, Ordering::Relaxed);
    assert!(is_found());
    drop(reading);
}
