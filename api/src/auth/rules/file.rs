//! Reads and checks the rules file, which is in TOML.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use db_locks_service::{
    access::{Glob, KeyPatterns, Role},
    domain::Tenant,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

/// The default for an issuer's `leeway`: the tolerated difference between clocks.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(10);
/// The longest leeway. A longer one would make `exp` meaningless.
const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// An error in a rules file, with its line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RulesError(String);

/// The contents of a rules file.
#[derive(Debug, Default)]
pub struct Rules {
    pub(in super::super) issuers: Vec<Issuer>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<Spanned<Issuer>>,
    #[serde(default)]
    rule: Vec<Spanned<Rule>>,
}

/// An issuer of JWTs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Issuer {
    pub(in super::super) name: String,
    /// The `iss` claim of its tokens.
    #[serde(rename = "issuer")]
    pub(in super::super) iss: String,
    /// The value that the `aud` claim of its tokens must contain.
    pub(in super::super) audience: String,
    pub(in super::super) jwks: KeySource,
    #[serde(default = "default_leeway", deserialize_with = "leeway")]
    pub(in super::super) leeway: Duration,
}

/// The source of an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in super::super) enum KeySource {
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

/// A rule: what the claims or the certificate must match, and what a matching caller may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// The name of an issuer.
    pub(super) issuer: Option<String>,
    #[serde(default, deserialize_with = "globs_by_claim")]
    pub(super) claims: BTreeMap<String, Glob>,
    pub(super) certificate: Option<CertificateRule>,
    #[serde(default, deserialize_with = "tenant")]
    pub(super) tenant: Option<Tenant>,
    #[serde(deserialize_with = "parsed")]
    pub(super) role: Role,
    #[serde(default, deserialize_with = "key_patterns")]
    pub(super) keys: Option<KeyPatterns>,
    pub(super) owner: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateRule {
    #[serde(default, deserialize_with = "glob")]
    pub(super) subject: Option<Glob>,
    #[serde(default, deserialize_with = "glob")]
    pub(super) san: Option<Glob>,
}

impl Rules {
    /// Reads the text of a rules file.
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
            if issuer.name.contains(':') {
                return Err(wrong(
                    at,
                    "the name of an issuer has no `:`, which comes before the subject in the name of a caller",
                ));
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

    /// Whether a rule matches certificates.
    pub fn have_certificates(&self) -> bool {
        self.rules.iter().any(|rule| rule.certificate.is_some())
    }

    /// The key files of all issuers.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let file = |issuer: &Issuer| match &issuer.jwks {
            KeySource::File(path) => Some(path.clone()),
            KeySource::Url(_) => None,
        };
        self.issuers.iter().filter_map(file).collect()
    }
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
    use super::*;

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
            (
                "[[issuer]]\nname = \"a:b\"\nissuer = \"i\"\naudience = \"a\"\njwks = \"x\"\n",
                "line 1: the name",
            ),
            ("[[rule]]\nissuer = \"x\"\nrole = \"read\"\nkeys = [\"a\\\\\"]\n", "line 4"),
        ] {
            let error = Rules::read(mistake).unwrap_err().to_string();
            assert!(error.contains(line), "{mistake}\n{error}");
        }
    }
}
