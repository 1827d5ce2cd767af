//! Invented credentials.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;

use super::jwt::{Key, Ruled, base64, documented, github};
use crate::support::wire;

fn part() -> impl Strategy<Value = String> {
    let algorithms = ["none", "None", "HS256", "RS256", "ES256", "EdDSA", "RS512", "PS256", "", "\u{0}"];
    let header = (prop::sample::select(algorithms.to_vec()), ".{0,20}").prop_map(|(alg, kid)| {
        base64(
            json!({"alg": alg, "kid": kid, "typ": "JWT", "jku": "https://evil.example/", "crit": ["x"]})
                .to_string(),
        )
    });
    prop_oneof![
        header,
        Just(base64(github(&json!({})).to_string())),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(base64),
        Just(base64("{")),
        Just(base64("[".repeat(5_000))),
        "[!-~]{0,40}",
    ]
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        (part(), part(), part()).prop_map(|(head, claims, signature)| format!("{head}.{claims}.{signature}")),
        part().prop_map(|part| format!("eyJ{part}")),
        "[!-~]{1,80}",
        Just("x".repeat(20_000)),
    ]
}

/// Invented tokens, and a valid one with one character changed, are never accepted and never cause a 5xx.
#[tokio::test]
async fn no_invented_credential_is_accepted() {
    let key = Key::ec();
    let mut ruled =
        Ruled::start(&documented("GitHub Actions"), &[("github.jwks.json", json!([key.jwk("1")]))]).await;
    let good = key.sign("1", &github(&json!({})));
    ruled.ask(&good).await.expect(200);
    let changed = {
        let good = good.clone();
        (any::<prop::sample::Index>(), "[A-Za-z0-9._-]").prop_map(move |(index, other)| {
            let at = index.index(good.len());
            format!("{}{other}{}", &good[..at], &good[at + 1..])
        })
    };
    let tokens = prop_oneof![token(), changed.prop_filter("it is another one", move |token| *token != good)];
    let (port, runtime) = (ruled.service.port(), tokio::runtime::Handle::current());
    let asked = tokio::task::spawn_blocking(move || {
        let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
        TestRunner::new(config).run(&tokens, |token| {
            let authorization = format!("Bearer {token}");
            let request = wire::request("GET", "/locks", &[("Authorization", &authorization)], b"");
            let answer = runtime.block_on(wire::exchange(port, &request)).unwrap();
            // 431 means that the head is too long.
            prop_assert!(matches!(answer.status, 401 | 431), "{} {}", answer.status, answer.text);
            Ok(())
        })
    });
    asked.await.unwrap().unwrap_or_else(|failed| panic!("{failed}"));
    let log = ruled.service.log_at_end().await;
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}
