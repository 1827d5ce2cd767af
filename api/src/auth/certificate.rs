//! The parts of a client certificate that rules match. The TLS handshake has verified the certificate.

use std::{
    borrow::Cow,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use db_locks_service::access::Identity;
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{authorities::Authorities, jwt::Jwts};

/// The most alternative names of a certificate that counts. Each connection compares them with each rule.
const MOST_NAMES: usize = 100;
/// The most bytes of the subject and the alternative names of a certificate that counts, as they are encoded in it.
const MOST_BYTES: usize = 8 * 1024;

/// The client certificate of a connection.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// The subject in the notation of RFC 4514.
    pub(super) subject: String,
    /// The alternative names that rules match: hosts, mail addresses and URIs.
    pub(super) names: Vec<String>,
    /// All alternative names as the certificate has them, in base64 and in a fixed order.
    pub(super) alternatives: Vec<String>,
    /// The end of its validity, in seconds since 1970. A connection, and sessions that are resumed, may outlive it.
    pub(super) valid_until: u64,
    /// The authorities that verified it.
    authorities: Authorities,
    /// Its bearer by the rules of its last request.
    bearer: Mutex<Option<KnownIdentity>>,
}

/// The bearer of a certificate by some rules.
#[derive(Debug)]
struct KnownIdentity {
    rules: Weak<Jwts>,
    /// `None` if no rule matches.
    identity: Option<Arc<Identity>>,
}

impl ClientCertificate {
    /// The name that identifies the caller: the subject, or, if the subject is empty as in SPIFFE certificates, the alternative
    /// names. Certificates without a subject must not all share one name.
    pub(super) fn who(&self) -> Cow<'_, str> {
        if self.subject.is_empty() { self.names.join(",").into() } else { Cow::Borrowed(&self.subject) }
    }

    /// The identity of its bearer by these rules; `None` if no rule matches. The rules are compared once, not for each request: that
    /// takes milliseconds for thousands of special characters.
    pub(super) fn identity(&self, rules: &Arc<Jwts>) -> Option<Arc<Identity>> {
        let mut known = self.bearer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bearer) = known.as_ref()
            && bearer.rules.as_ptr() == Arc::as_ptr(rules)
        {
            return bearer.identity.clone();
        }
        let identity = rules.rules.of_certificate(self).map(Arc::new);
        // An idle connection keeps no replaced rules.
        *known = Some(KnownIdentity { rules: Arc::downgrade(rules), identity: identity.clone() });
        identity
    }

    /// The text that distinguishes its bearer from others: the subject, and the alternative names if there are any. Authorities
    /// sign one subject for several hosts.
    pub(super) fn bearer(&self) -> String {
        let subject = format!("certificate:{}", self.subject);
        if self.alternatives.is_empty() {
            return subject;
        }
        // Serializing texts cannot fail.
        serde_json::to_string(&(subject, &self.alternatives)).unwrap_or_default()
    }

    /// The subject as matched by globs: separators inside of values are written as hexadecimal digits (`\2C` for a comma). With
    /// RFC 4514's usual form `\,` the `*` of `CN=*,O=acme` would match the backslash, and a client that chooses its common name
    /// could forge the parts after the comma.
    pub(super) fn matched_subject(&self) -> String {
        let mut text = String::with_capacity(self.subject.len());
        let mut in_value = false;
        let mut chars = self.subject.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    // It is written as hexadecimal digits already.
                    Some(digit) if digit.is_ascii_hexdigit() => text.extend(['\\', digit]),
                    Some(special) => text.push_str(&as_digits(special)),
                    None => text.push_str(&as_digits('\\')),
                },
                '=' if in_value => text.push_str(&as_digits(char)),
                _ => {
                    in_value = char == '=' || (in_value && !matches!(char, ',' | '+'));
                    text.push(char);
                }
            }
        }
        text
    }

    /// Whether its validity has ended, at a time in seconds since 1970.
    pub(super) const fn is_expired(&self, now: u64) -> bool {
        now > self.valid_until
    }

    /// The authorities that verified it.
    pub(crate) const fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Reads a certificate that these authorities verified; `None` if it is malformed, has too many names, or a subject and
    /// names that are too long.
    pub(crate) fn read(der: &[u8], authorities: Authorities) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>().ok()?;
        let name = |name: GeneralName| match name {
            GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        };
        let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
        if names.len() > MOST_NAMES {
            return None;
        }
        let encoded: Result<Vec<_>, _> = names.iter().map(Encode::to_der).collect();
        let (subject, encoded) = (certificate.subject(), encoded.ok()?);
        if subject.to_der().ok()?.len() + encoded.iter().map(Vec::len).sum::<usize>() > MOST_BYTES {
            return None;
        }
        let mut alternatives: Vec<_> = encoded.iter().map(|name| STANDARD.encode(name)).collect();
        alternatives.sort_unstable();
        let names = names.into_iter().filter_map(name).collect();
        let valid_until = certificate.validity().not_after.to_unix_duration().as_secs();
        let (subject, bearer) = (subject.to_string(), Mutex::default());
        Some(Self { subject, names, alternatives, valid_until, authorities, bearer })
    }
}

fn as_digits(char: char) -> String {
    let mut digits = String::new();
    for byte in char.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(digits, "\\{byte:02X}");
    }
    digits
}

#[cfg(test)]
impl ClientCertificate {
    /// A certificate with this subject and these hosts.
    pub(super) fn for_test(subject: &str, hosts: &[&str]) -> Self {
        let names: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let (subject, alternatives, authorities) =
            (subject.to_owned(), names.clone(), Authorities::for_test());
        Self { subject, names, alternatives, valid_until: 1_000, authorities, bearer: Mutex::default() }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::auth::rules::Rules;

    #[test]
    fn a_certificate_counts_to_the_last_second_of_its_validity() {
        let certificate = ClientCertificate::for_test("", &[]);
        assert_eq!([999, 1_000, 1_001].map(|now| certificate.is_expired(now)), [false, false, true]);
    }

    /// Each request would take milliseconds with a long subject and many rules.
    #[test]
    fn the_bearer_of_a_connection_is_found_once_for_the_same_rules() {
        let rules = |subject: &str| {
            let rules = format!("[[rule]]\ncertificate = {{ subject = \"{subject}\" }}\nrole = \"read\"\n");
            Arc::new(Jwts::new(Rules::read(&rules).unwrap(), None).unwrap())
        };
        let (certificate, mut current) = (ClientCertificate::for_test("CN=a", &[]), rules("CN=a"));
        let first = certificate.identity(&current).unwrap();
        assert!(Arc::ptr_eq(&first, &certificate.identity(&current).unwrap()));
        // The new rules are never where the old ones were, which are gone.
        for subject in ["CN=b", "CN=a", "CN=b", "*"] {
            current = rules(subject);
            assert_eq!(certificate.identity(&current).is_some(), subject != "CN=b", "{subject}");
        }
        assert!(!Arc::ptr_eq(&first, &certificate.identity(&current).unwrap()));
    }

    #[test]
    fn no_value_makes_up_parts_of_a_subject() {
        for (subject, matched) in [
            ("CN=runner-1,O=acme", "CN=runner-1,O=acme"),
            ("CN=a+OU=b,O=acme", "CN=a+OU=b,O=acme"),
            (r"CN=runner-1\,O=acme", r"CN=runner-1\2CO\3Dacme"),
            (r"CN=a\\\,O=acme", r"CN=a\5C\2CO\3Dacme"),
            (r"CN=a\\,O=acme", r"CN=a\5C,O=acme"),
            (r"CN=a\+OU=b", r"CN=a\2BOU\3Db"),
            (r"CN=a\0A,O=b", r"CN=a\0A,O=b"),
            ("CN=aO=b", r"CN=aO\3Db"),
            ("", ""),
        ] {
            let certificate = ClientCertificate::for_test(subject, &[]);
            assert_eq!(certificate.matched_subject(), matched, "{subject}");
        }
    }
}
