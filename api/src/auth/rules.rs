//! The rules that make identities of claims and certificates: a TOML file.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use db_locks_service::{
    access::{Glob, Identity, KeyPatterns, Role, credential},
    domain::{Owner, Tenant},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};
use toml::Spanned;

use super::certificate::ClientCertificate;

/// How far clocks may be apart where an issuer's leeway is not set.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(10);
/// The longest leeway: longer ones would make `exp` meaningless.
const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// What is wrong with a file of rules, with its line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RulesError(String);

/// The rules of a file.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) issuers: Vec<Issuer>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<Spanned<Issuer>>,
    #[serde(default)]
    rule: Vec<Spanned<Rule>>,
}

/// Somebody who signs JWTs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issuer {
    pub(super) name: String,
    /// The tokens' `iss`.
    #[serde(rename = "issuer")]
    pub(super) iss: String,
    /// One of the tokens' `aud`.
    pub(super) audience: String,
    pub(super) jwks: KeySource,
    #[serde(default = "default_leeway", deserialize_with = "leeway")]
    pub(super) leeway: Duration,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum KeySource {
    File(PathBuf),
    /// An https URL.
    Url(String),
}

impl TryFrom<String> for KeySource {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once("://") {
            Some(("https", _)) => Ok(Self::Url(text)),
            Some(_) => Err("jwks must be a path or an https URL"),
            None if text.is_empty() => Err("jwks must not be empty"),
            None => Ok(Self::File(text.into())),
        }
    }
}

/// What claims or a certificate must be, and what whoever has them may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The name of an issuer.
    issuer: Option<String>,
    #[serde(default, deserialize_with = "globs_by_claim")]
    claims: BTreeMap<String, Glob>,
    certificate: Option<CertificateRule>,
    #[serde(default, deserialize_with = "tenant")]
    tenant: Option<Tenant>,
    #[serde(deserialize_with = "parsed")]
    role: Role,
    #[serde(default, deserialize_with = "key_patterns")]
    keys: Option<KeyPatterns>,
    owner: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateRule {
    #[serde(default, deserialize_with = "glob")]
    subject: Option<Glob>,
    #[serde(default, deserialize_with = "glob")]
    san: Option<Glob>,
}

impl Rules {
    /// Reads a file.
    pub fn read(text: &str) -> Result<Self, RulesError> {
        let file: File =
            toml::from_str(text).map_err(|error| RulesError(error.to_string().trim_end().to_owned()))?;
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let wrong = |at: usize, what: &str| RulesError(format!("line {}: {what}", line(at)));
        let mut rules = Self::default();
        for issuer in file.issuer {
            let at = issuer.span().start;
            let issuer = issuer.into_inner();
            if rules.issuers.iter().any(|other| other.name == issuer.name || other.iss == issuer.iss) {
                return Err(wrong(at, "another issuer has this name, or this `issuer`"));
            }
            if issuer.name.is_empty() || issuer.audience.is_empty() {
                return Err(wrong(at, "an issuer needs a name and an audience"));
            }
            rules.issuers.push(issuer);
        }
        for rule in file.rule {
            let at = rule.span().start;
            let rule = rule.into_inner();
            match (&rule.issuer, &rule.certificate) {
                (Some(name), None) if !rules.issuers.iter().any(|issuer| issuer.name == *name) => {
                    return Err(wrong(at, "there is no issuer of this name"));
                }
                (Some(_), None) => {}
                (None, Some(certificate)) => {
                    if certificate.subject.is_none() && certificate.san.is_none() {
                        return Err(wrong(at, "a certificate needs a subject, a san, or both"));
                    }
                    if !rule.claims.is_empty() {
                        return Err(wrong(at, "a certificate has no claims"));
                    }
                }
                _ => return Err(wrong(at, "a rule has either an issuer or a certificate")),
            }
            rules.rules.push(rule);
        }
        Ok(rules)
    }

    /// Whether there is any rule for certificates.
    pub fn have_certificates(&self) -> bool {
        self.rules.iter().any(|rule| rule.certificate.is_some())
    }

    /// The files of keys.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let file = |issuer: &Issuer| match &issuer.jwks {
            KeySource::File(path) => Some(path.clone()),
            KeySource::Url(_) => None,
        };
        self.issuers.iter().filter_map(file).collect()
    }

    /// Whoever bears a JWT of an issuer with these claims: what the first rule says that matches.
    pub(super) fn of_claims(&self, issuer: &str, claims: &Map<String, Value>) -> Option<Identity> {
        let matches = |rule: &&Rule| {
            rule.issuer.as_deref() == Some(issuer)
                && rule
                    .claims
                    .iter()
                    .all(|(name, glob)| claims.get(name).is_some_and(|claim| has(claim, glob)))
        };
        let rule = self.rules.iter().find(matches)?;
        let subject = claims.get("sub").and_then(text_of).unwrap_or_default();
        let who = format!("jwt:{issuer}:{subject}");
        let owner = rule.owner.as_deref().and_then(|template| fill(template, claims));
        Some(rule.identity(who, owner))
    }

    /// Whoever has this certificate.
    pub(super) fn of_certificate(&self, certificate: &ClientCertificate) -> Option<Identity> {
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
        Some(rule.identity(format!("certificate:{}", certificate.who()), owner))
    }
}

impl Rule {
    fn identity(&self, who: String, owner: Option<Owner>) -> Identity {
        Identity {
            credential: credential(&who),
            who: who.into(),
            tenant: self.tenant.clone(),
            role: self.role,
            keys: self.keys.clone(),
            owner,
        }
    }
}

/// Whether a claim matches; of an array one member must.
fn has(claim: &Value, glob: &Glob) -> bool {
    match claim {
        Value::Array(members) => {
            members.iter().any(|member| text_of(member).is_some_and(|text| glob.matches(&text)))
        }
        claim => text_of(claim).is_some_and(|text| glob.matches(&text)),
    }
}

/// A claim as text: numbers and booleans as JSON writes them.
fn text_of(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A template with claims in place of their names in braces; `None` where one is missing, or the result is no owner.
fn fill(template: &str, claims: &Map<String, Value>) -> Option<Owner> {
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

fn default_leeway() -> Duration {
    DEFAULT_LEEWAY
}

fn leeway<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let number = |text: &str| text.parse::<u64>().ok();
    let leeway = match (text.strip_suffix('s').and_then(number), text.strip_suffix('m').and_then(number)) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (None, Some(minutes)) => minutes.checked_mul(60).map(Duration::from_secs),
        (None, None) => None,
    };
    let leeway = leeway.filter(|leeway| *leeway <= MAX_LEEWAY);
    leeway.ok_or_else(|| D::Error::custom("a leeway is a time such as 30s or 1m, at most 10m"))
}

fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn glob<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Glob>, D::Error> {
    parsed(deserializer).map(Some)
}

fn tenant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tenant>, D::Error> {
    Tenant::new(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn key_patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyPatterns>, D::Error> {
    let globs: Vec<String> = Vec::deserialize(deserializer)?;
    let globs: Result<Vec<Glob>, _> = globs.iter().map(|glob| glob.parse()).collect();
    globs.and_then(KeyPatterns::new).map(Some).map_err(D::Error::custom)
}

fn globs_by_claim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Glob>, D::Error> {
    let texts: BTreeMap<String, String> = BTreeMap::deserialize(deserializer)?;
    let globs =
        texts.into_iter().map(|(name, glob)| glob.parse().map(|glob| (name, glob)).map_err(D::Error::custom));
    globs.collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
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
        let main = of(&json!({"sub": "s", "repository": "acme/app", "ref": "refs/heads/main", "run_id": 7}))
            .unwrap();
        assert_eq!((&*main.who, main.role), ("jwt:github:s", Role::Write));
        assert_eq!(main.owner.unwrap().as_str(), "acme/app#7");
        let branch = of(&json!({"sub": "s", "repository": "acme/app", "ref": "refs/heads/x"})).unwrap();
        assert_eq!((branch.role, branch.tenant, branch.keys), (Role::Read, None, None));
        assert_eq!(of(&json!({"sub": "s", "repository": "evil/acme/app"})), None);
        assert_eq!(of(&json!({"sub": "s"})), None, "a claim that is missing matches nothing");
    }

    #[test]
    fn claims_match_as_json_writes_them_and_of_an_array_one_member() {
        let glob = |text: &str| text.parse::<Glob>().unwrap();
        for (claim, pattern) in [
            (json!(17), "17"),
            (json!(true), "true"),
            (json!(["a", "b"]), "b"),
            (json!([1, 2]), "2"),
            (json!("x"), "?"),
        ] {
            assert!(has(&claim, &glob(pattern)), "{claim} {pattern}");
        }
        for (claim, pattern) in
            [(json!(null), "*"), (json!({}), "*"), (json!([]), "*"), (json!([["a"]]), "*")]
        {
            assert!(!has(&claim, &glob(pattern)), "{claim} {pattern}");
        }
    }

    #[test]
    fn a_certificate_matches_by_subject_and_name() {
        let rules = Rules::read(RULES).unwrap();
        let of = |subject: &str, name: &str| {
            let certificate = ClientCertificate { subject: subject.to_owned(), names: vec![name.to_owned()] };
            rules.of_certificate(&certificate).map(|identity| identity.who.to_string())
        };
        assert_eq!(of("CN=runner-1", "a.ci.acme.test").as_deref(), Some("certificate:CN=runner-1"));
        assert_eq!(of("CN=runner-1", "a.example"), None);
        assert_eq!(of("O=x,CN=runner-1", "a.ci.acme.test"), None);
        assert_eq!(of(r"O=x\,CN=runner-1", "a.ci.acme.test"), None);
    }

    /// Guards a version against those whose certificates have nothing in common but that they name no subject.
    #[test]
    fn certificates_without_a_subject_are_told_by_their_names() {
        let rules =
            Rules::read("[[rule]]\ncertificate = { san = \"spiffe://acme/*\" }\nrole = \"write\"\n").unwrap();
        let of = |name: &str| {
            let certificate = ClientCertificate { subject: String::new(), names: vec![name.to_owned()] };
            rules.of_certificate(&certificate).unwrap()
        };
        let (one, other) = (of("spiffe://acme/one"), of("spiffe://acme/other"));
        assert_eq!(&*one.who, "certificate:spiffe://acme/one");
        assert_ne!(one.credential, other.credential);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (mistake, line) in [
            ("[[rule]]\nissuer = \"x\"\nrole = \"read\"\n", "line 1"),
            ("[[rule]]\nrole = \"read\"\n", "line 1"),
            ("\n[[rule]]\nissuer = \"x\"\nrole = \"root\"\n", "line 4"),
            ("[[rule]]\nrolle = \"read\"\n", "line 2"),
            ("[[rule]]\ncertificate = {}\nrole = \"read\"\n", "line 1"),
            ("x = \n", "line 1"),
            ("[[issuer]]\nname = \"n\"\nissuer = \"i\"\naudience = \"a\"\njwks = \"http://x\"\n", "line 5"),
            (
                "[[issuer]]\nname = \"n\"\nissuer = \"i\"\naudience = \"a\"\njwks = \"x\"\nleeway = \"1d\"\n",
                "line 6",
            ),
            ("[[rule]]\nissuer = \"x\"\nrole = \"read\"\nkeys = [\"a\\\\\"]\n", "line 4"),
        ] {
            let error = Rules::read(mistake).unwrap_err().to_string();
            assert!(error.contains(line), "{mistake}\n{error}");
        }
    }
}
