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
mod tests;
