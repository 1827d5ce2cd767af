//! Finds the identity of a caller: the first rule that matches its claims or certificate decides.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use db_locks_service::{
    access::{Glob, Identity, credential},
    domain::{Owner, Timestamp},
};
use serde_json::{Map, Value};

use super::file::{Rule, Rules};
use crate::auth::certificate::ClientCertificate;

impl Rules {
    /// The identity for a JWT of an issuer with these claims, by the first rule that matches.
    pub(in super::super) fn of_claims(&self, issuer: &str, claims: &Map<String, Value>) -> Option<Identity> {
        let mut texts = ClaimTexts::of(claims);
        let mut of_issuer = self.rules.iter().filter(|rule| rule.issuer.as_deref() == Some(issuer));
        let rule = of_issuer.find(|rule| rule.claims.iter().all(|(name, glob)| texts.has(name, glob)))?;
        let subject = claims.get("sub").and_then(text_of).filter(|subject| !subject.is_empty());
        let who = format!("jwt:{issuer}:{}", subject.as_deref().unwrap_or_default());
        let owner = rule.owner.as_deref().and_then(|template| fill_template(template, claims));
        let expires_at = claims.get("exp").and_then(Value::as_f64).and_then(timestamp_of_seconds);
        let mut identity = rule.identity(who, owner, expires_at);
        if subject.is_none() {
            // It begins like no caller's name, so it is no subject's.
            identity.credential = credential(&format!("claims:{issuer}:{}", stable_claims(claims)));
        }
        Some(identity)
    }

    /// The identity for a certificate, by the first rule that matches.
    pub(in super::super) fn of_certificate(&self, certificate: &ClientCertificate) -> Option<Identity> {
        let subject = certificate.matched_subject();
        let matches = |rule: &&Rule| {
            rule.certificate.as_ref().is_some_and(|wanted| {
                wanted.subject.as_ref().is_none_or(|glob| glob.matches(&subject))
                    && wanted
                        .san
                        .as_ref()
                        .is_none_or(|glob| certificate.names.iter().any(|name| glob.matches(name)))
            })
        };
        let rule = self.rules.iter().find(matches)?;
        let owner = rule.owner.as_deref().and_then(|name| Owner::new(name).ok());
        let expires_at =
            i64::try_from(certificate.valid_until).ok().map(|end| Timestamp(end.saturating_mul(1_000)));
        let identity = rule.identity(format!("certificate:{}", certificate.who()), owner, expires_at);
        Some(Identity { credential: credential(&certificate.bearer()), ..identity })
    }
}

impl Rule {
    fn identity(&self, who: String, owner: Option<Owner>, expires_at: Option<Timestamp>) -> Identity {
        Identity {
            credential: credential(&who),
            who: who.into(),
            tenant: self.tenant.clone(),
            role: self.role,
            keys: self.keys.clone(),
            owner,
            expires_at,
        }
    }
}

/// The time that is this many seconds after 1970.
fn timestamp_of_seconds(seconds: f64) -> Option<Timestamp> {
    let since_1970 = Duration::try_from_secs_f64(seconds).ok()?;
    i64::try_from(since_1970.as_millis()).ok().map(Timestamp)
}

/// The claims that stay the same in later tokens of the same caller, in a fixed order. They distinguish callers without a subject.
fn stable_claims(claims: &Map<String, Value>) -> String {
    let is_stable = |name: &str| !matches!(name, "exp" | "iat" | "nbf" | "jti");
    let mut claims: Vec<_> = claims.iter().filter(|(name, _)| is_stable(name)).collect();
    claims.sort_by_key(|(name, _)| *name);
    // Serializing JSON values cannot fail.
    serde_json::to_string(&claims).unwrap_or_default()
}

/// Claims as texts. A claim can have thousands of members, which become texts once, and not for each rule.
struct ClaimTexts<'c> {
    claims: &'c Map<String, Value>,
    by_name: HashMap<&'c str, Vec<Cow<'c, str>>>,
}

impl<'c> ClaimTexts<'c> {
    fn of(claims: &'c Map<String, Value>) -> Self {
        Self { claims, by_name: HashMap::new() }
    }

    /// Whether a claim matches a glob. For an array it is enough that one member matches.
    fn has(&mut self, name: &str, glob: &Glob) -> bool {
        let Some((name, claim)) = self.claims.get_key_value(name) else { return false };
        let texts = self.by_name.entry(name).or_insert_with(|| texts_of(claim));
        texts.iter().any(|text| glob.matches(text))
    }
}

/// The texts of a claim: for an array those of its members.
fn texts_of(claim: &Value) -> Vec<Cow<'_, str>> {
    match claim {
        Value::Array(members) => members.iter().filter_map(text_of).collect(),
        claim => text_of(claim).into_iter().collect(),
    }
}

/// A claim as text. Numbers and booleans are written as in JSON.
fn text_of(claim: &Value) -> Option<Cow<'_, str>> {
    match claim {
        Value::String(text) => Some(text.into()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Replaces names in braces by the claims of these names. `None` if a claim is missing or the result is not a valid owner.
fn fill_template(template: &str, claims: &Map<String, Value>) -> Option<Owner> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, name_and_rest)) = rest.split_once('{') {
        let (name, after) = name_and_rest.split_once('}')?;
        text.push_str(before);
        text.push_str(&text_of(claims.get(name)?)?);
        rest = after;
    }
    text.push_str(rest);
    Owner::new(&text).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
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
        for (claim, pattern) in
            [(json!(null), "*"), (json!({}), "*"), (json!([]), "*"), (json!([["a"]]), "*")]
        {
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
}
