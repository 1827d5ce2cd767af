use std::collections::BTreeSet;

use db_locks_service::access::Role;
use serde_json::json;

use super::*;

const RULES: &str = r#"
[[issuer]]
name = "github"
issuer = "https://token.actions.githubusercontent.com"
audience = "db-locks"
jwks = "/etc/db-locks/github.jwks.json"
leeway = "30s"

[[rule]]
issuer = "github"
claims = { repository = "acme/*", ref = "refs/heads/main" }
tenant = "acme"
role = "write"
keys = ["deploy/*"]
owner = "{repository}#{run_id}"

[[rule]]
issuer = "github"
claims = { repository = "acme/*" }
role = "read"

[[rule]]
certificate = { subject = "CN=runner-*", san = "*.ci.acme.test" }
tenant = "acme"
role = "read"
"#;

fn of(claims: &Value) -> Option<Identity> {
    Rules::read(RULES).unwrap().of_claims("github", claims.as_object().unwrap())
}

#[test]
fn the_first_rule_that_matches_counts() {
    let claims =
        json!({"sub": "s", "repository": "acme/app", "ref": "refs/heads/main", "run_id": 7, "exp": 9.5});
    let main = of(&claims).unwrap();
    assert_eq!(main.expires_at, Some(Timestamp(9_500)));
    assert_eq!((&*main.who, main.role), ("jwt:github:s", Role::Write));
    assert_eq!(main.owner.unwrap().as_str(), "acme/app#7");
    let branch = of(&json!({"sub": "s", "repository": "acme/app", "ref": "refs/heads/x"})).unwrap();
    assert_eq!((branch.role, branch.tenant, branch.keys), (Role::Read, None, None));
    assert_eq!(of(&json!({"sub": "s", "repository": "evil/acme/app"})), None);
    assert_eq!(of(&json!({"sub": "s"})), None, "a claim that is missing matches nothing");
}

/// Otherwise callers whose tokens only share the lack of a subject could see each other's versions.
#[test]
fn tokens_without_a_subject_differ_by_their_other_claims() {
    let credential = |claims: Value| of(&claims).unwrap().credential;
    let one = credential(json!({"repository": "acme/one", "exp": 1, "jti": "a"}));
    assert_eq!(one, credential(json!({"jti": "b", "exp": 2, "repository": "acme/one"})), "renewed");
    assert_ne!(one, credential(json!({"repository": "acme/other", "exp": 1, "jti": "a"})));
    let claims = stable_claims(json!({"repository": "acme/one"}).as_object().unwrap()).clone();
    assert_ne!(
        one,
        credential(json!({"sub": claims, "repository": "acme/one"})),
        "a subject like the claims"
    );
    let empty = |repository: &str| credential(json!({"sub": "", "repository": repository}));
    assert_ne!(empty("acme/one"), empty("acme/other"));
    let with_subject = |repository: &str| credential(json!({"sub": "s", "repository": repository}));
    assert_eq!(with_subject("acme/one"), with_subject("acme/other"));
}

#[test]
fn claims_match_as_json_writes_them_and_of_an_array_one_member() {
    let has = |claim: &Value, pattern: &str| {
        let claims = Map::from_iter([("a".to_owned(), claim.clone())]);
        ClaimTexts::of(&claims).has("a", &pattern.parse().unwrap())
    };
    for (claim, pattern) in [
        (json!(17), "17"),
        (json!(true), "true"),
        (json!(["a", "b"]), "b"),
        (json!([1, 2]), "2"),
        (json!("x"), "?"),
    ] {
        assert!(has(&claim, pattern), "{claim} {pattern}");
    }
    for (claim, pattern) in [(json!(null), "*"), (json!({}), "*"), (json!([]), "*"), (json!([["a"]]), "*")] {
        assert!(!has(&claim, pattern), "{claim} {pattern}");
    }
}

#[test]
fn a_certificate_matches_by_subject_and_name() {
    let rules = Rules::read(RULES).unwrap();
    let of = |subject: &str, name: &str| {
        let certificate = ClientCertificate::for_test(subject, &[name]);
        rules.of_certificate(&certificate).map(|identity| identity.who.to_string())
    };
    assert_eq!(of("CN=runner-1", "a.ci.acme.test").as_deref(), Some("certificate:CN=runner-1"));
    assert_eq!(of("CN=runner-1", "a.example"), None);
    assert_eq!(of("O=x,CN=runner-1", "a.ci.acme.test"), None);
    assert_eq!(of(r"O=x\,CN=runner-1", "a.ci.acme.test"), None);
}

/// Otherwise callers whose certificates share a subject, perhaps an empty one, could see each other's versions.
#[test]
fn certificates_differ_by_their_subject_and_all_their_names() {
    let rules = Rules::read("[[rule]]\ncertificate = { subject = \"*\" }\nrole = \"write\"\n").unwrap();
    let of = |subject: &str, names: &[&str]| {
        rules.of_certificate(&ClientCertificate::for_test(subject, names)).unwrap()
    };
    let all = [
        of("", &["spiffe://acme/one"]),
        of("", &["spiffe://acme/other"]),
        of("CN=a", &[]),
        of("CN=a", &["one.test"]),
        of("CN=a", &["other.test"]),
        of("CN=a", &["one.test", "other.test"]),
        of("CN=b", &["one.test"]),
    ];
    let credentials: BTreeSet<_> = all.iter().map(|identity| identity.credential).collect();
    assert_eq!(credentials.len(), all.len());
    assert_eq!(&*all[0].who, "certificate:spiffe://acme/one");
    assert_eq!((&*all[3].who, all[3].expires_at), ("certificate:CN=a", Some(Timestamp(1_000_000))));
    assert_eq!(all[2].credential, credential("certificate:CN=a"), "as it was stored before");
}
