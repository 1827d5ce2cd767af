//! Checks of JWTs, with an issuer whose key is in a file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{path::Path, task::Context};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt, task::noop_waker_ref};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::json;

use super::*;

/// A new key, the only one of this file from now on.
fn key_in(file: &Path) -> Ed25519KeyPair {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
    let public = URL_SAFE_NO_PAD.encode(key.public_key());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": public}]});
    std::fs::write(file, keys.to_string()).unwrap();
    key
}

/// Rules with one issuer, and its key.
fn issuer() -> (Arc<Jwts>, Ed25519KeyPair) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let key = key_in(file.path());
    (issuer_of(file.path()), key)
}

/// Rules with one issuer, whose keys are in this file.
fn issuer_of(file: &Path) -> Arc<Jwts> {
    let rules = format!(
        "[[issuer]]\nname = \"n\"\nissuer = \"i\"\naudience = \"a\"\njwks = {file:?}\n\
         [[rule]]\nissuer = \"n\"\nclaims = {{ sub = \"?\" }}\nrole = \"read\"\n"
    );
    Arc::new(Jwts::new(Rules::read(&rules).unwrap(), None).unwrap())
}

fn sign(key: &Ed25519KeyPair, subject: &str) -> String {
    let claims = json!({"iss": "i", "aud": "a", "exp": get_current_timestamp() + 600, "sub": subject});
    let [header, claims] =
        [json!({"alg": "EdDSA"}), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes())))
}

fn check(jwts: &Arc<Jwts>, token: String) -> impl Future<Output = Result<Arc<Identity>, Refused>> + use<> {
    let hash = SecretHash::of(token.as_bytes());
    Arc::clone(jwts).check(token.into(), hash, None)
}

/// A connection waits for its turn to be polled, for as long as others flood the service.
#[tokio::test]
async fn a_request_that_is_not_polled_delays_no_check_of_another() {
    let (jwts, key) = issuer();
    let turn = jwts.turns.take(&Party::Client(None)).await.unwrap();
    let mut unpolled = Box::pin(check(&jwts, sign(&key, "a")));
    assert!(unpolled.as_mut().poll(&mut Context::from_waker(noop_waker_ref())).is_pending());
    let mut other = Box::pin(check(&jwts, sign(&key, "b")));
    assert!(other.as_mut().poll(&mut Context::from_waker(noop_waker_ref())).is_pending());
    // The runtime's only thread polls both tasks, so both wait for the turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    drop(turn);
    let checked = tokio::time::timeout(Duration::from_secs(10), other).await.unwrap();
    assert_eq!(&*checked.unwrap().who, "jwt:n:b");
    unpolled.await.unwrap();
}

/// Otherwise a token would be valid in its connection's next turn, however much later that comes.
#[tokio::test(start_paused = true)]
async fn a_result_that_nobody_read_counts_no_longer_than_others() {
    let (jwts, key) = issuer();
    let token = sign(&key, "a");
    let hash = SecretHash::of(token.as_bytes());
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut unpolled = Box::pin(check(&jwts, token));
    assert!(unpolled.as_mut().poll(&mut cx).is_pending());
    while jwts.checked(&hash).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(unpolled.as_mut().poll(&mut cx).is_pending(), "it is checked again");
    unpolled.await.unwrap();
}

#[tokio::test]
async fn a_new_token_has_the_turn_of_its_tenant_if_an_earlier_one_came_from_its_address() {
    let (jwts, key) = issuer();
    let [known, other] = [1, 2].map(|host| Some(IpAddr::from([192, 0, 2, host])));
    let new = SecretHash::of(b"new");
    assert_eq!(jwts.party(&new, known), Party::Client(known));
    for (client, token) in [(known, sign(&key, "a")), (other, "eyJ.invented.token".to_owned())] {
        let hash = SecretHash::of(token.as_bytes());
        let checked = Arc::clone(&jwts).check(token.into(), hash, client).await;
        assert_eq!(checked.is_ok(), client == known);
    }
    let again = Jwts::new(Rules::default(), Some(&jwts)).unwrap();
    for jwts in [&*jwts, &again] {
        assert_eq!(jwts.party(&new, known), Party::Known(None, known.unwrap()));
        assert_eq!(jwts.party(&new, other), Party::Client(other));
    }
}

/// Issuers may keep the name of a key, or name none.
#[tokio::test(start_paused = true)]
async fn a_key_that_replaces_another_under_its_name_counts_soon() {
    let file = tempfile::NamedTempFile::new().unwrap();
    key_in(file.path());
    let jwts = issuer_of(file.path());
    let token = sign(&key_in(file.path()), "a");
    assert_eq!(check(&jwts, token.clone()).await.unwrap_err(), Refused::Invalid, "not read again so soon");
    tokio::time::advance(Duration::from_secs(10)).await;
    check(&jwts, token).await.unwrap();
}

/// Everybody can have a genuine token of some issuers, and send it again and again.
#[tokio::test]
async fn a_genuine_token_without_a_rule_is_not_checked_each_time() {
    let (jwts, key) = issuer();
    let token = sign(&key, "long");
    assert_eq!(check(&jwts, token.clone()).await.unwrap_err(), Refused::NoRule);
    let again = check(&jwts, token).now_or_never();
    assert_eq!(again.expect("it waits for no check").unwrap_err(), Refused::NoRule);
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
fn a_token_is_over_after_its_leeway() {
    let now = get_current_timestamp() as f64;
    let leeway = Duration::from_secs(10);
    for (ends_in, seconds) in [(-8.0, Some(2)), (20.0, Some(30)), (-12.0, None)] {
        let left = left(now + ends_in, leeway).map(|left| left.as_secs());
        // A second may have passed.
        assert!(left == seconds || left == seconds.map(|left| left - 1), "{ends_in}: {left:?}");
    }
    for (exp, expected) in
        [(f64::MAX, Some(Duration::MAX)), (f64::INFINITY, Some(Duration::MAX)), (f64::MIN, None)]
    {
        assert_eq!(left(exp, leeway), expected);
    }
}
