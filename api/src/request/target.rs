//! The target of a request: the tenant in its header and the key in its path.

use axum::http::HeaderMap;
use db_locks_service::domain::{Key, Tenant};

use super::{errors::Errors, escape::decode};
use crate::auth::X_TENANT;

/// The header that names the tenant, as people write it.
pub(crate) const TENANT_HEADER: &str = "X-Tenant";

/// The tenant of a request. Without the header it is the default tenant.
pub(super) fn read_tenant(headers: &HeaderMap, default: &Tenant, errors: &mut Errors) -> Option<Tenant> {
    // A look-up would hash the name, for each request.
    let mut values = headers.iter().filter_map(|(name, value)| (name == X_TENANT).then_some(value));
    let Some(value) = values.next() else { return Some(default.clone()) };
    if values.next().is_some() {
        errors.add(TENANT_HEADER, "is given more than once");
        return None;
    }
    // A value that is not ASCII fails the tenant's own check.
    let text = String::from_utf8_lossy(value.as_bytes());
    Tenant::new(&text).map_err(|error| errors.add(TENANT_HEADER, error.to_string())).ok()
}

/// The key of a request: the second segment of its path, which the router matched without decoding it.
///
/// The router's own decoding would accept malformed escapes.
pub(super) fn read_key(path: &str, errors: &mut Errors) -> Option<Key> {
    decode(second_segment(path), false)
        .map_err(str::to_owned)
        .and_then(|text| Key::new(&text).map_err(|error| error.to_string()))
        .map_err(|reason| errors.add("key", reason))
        .ok()
}

/// The key in a path, if it is valid.
pub(crate) fn key_of(path: &str) -> Option<Key> {
    read_key(path, &mut Errors::default())
}

/// The second segment of a path; empty if there is none.
fn second_segment(path: &str) -> &str {
    let mut slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(index, _)| index);
    let start = slashes.nth(1).map_or(path.len(), |slash| slash + 1);
    let end = slashes.next().unwrap_or(path.len());
    path.get(start..end).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key(path: &str) -> Result<String, String> {
        let mut errors = Errors::default();
        let key = read_key(path, &mut errors);
        key.map(|key| key.as_str().to_owned()).ok_or_else(|| {
            let pairs = errors.pairs();
            assert!(pairs.len() == 1 && pairs[0].0 == "key", "{pairs:?}");
            pairs[0].1.to_owned()
        })
    }

    #[test]
    fn a_key_is_one_decoded_segment() {
        assert_eq!(key("/locks/deploy/acquire"), Ok("deploy".to_owned()));
        assert_eq!(key("/locks/a%2Fb"), Ok("a/b".to_owned()));
        assert_eq!(key("/locks/a+b%20/release?x=1"), Ok("a+b ".to_owned()));
        assert_eq!(key("/locks/%F0%9F%98%80"), Ok("😀".to_owned()));
    }

    #[test]
    fn keys_that_cannot_be_are_named() {
        for path in ["/locks/%2E", "/locks/%2e%2E", "/locks/.", "/locks/%00", "/locks/%7f", "/locks/%C2%85"] {
            assert!(key(path).is_err(), "{path}");
        }
        assert_eq!(key("/locks/%ff"), Err("is not valid UTF-8".to_owned()));
        assert!(key("/locks/100%").is_err());
        assert!(key(&format!("/locks/{}", "a".repeat(256))).is_err());
        assert!(key(&format!("/locks/{}", "%C3%A9".repeat(255))).is_ok());
    }

    fn tenant(values: &[&'static [u8]]) -> Result<String, Vec<(String, String)>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-tenant", HeaderValue::from_bytes(value).unwrap());
        }
        let mut errors = Errors::default();
        let tenant = read_tenant(&headers, &Tenant::new("default").unwrap(), &mut errors);
        let owned = |(field, reason): (&str, &str)| (field.to_owned(), reason.to_owned());
        tenant
            .map(|tenant| tenant.as_str().to_owned())
            .ok_or_else(|| errors.pairs().into_iter().map(owned).collect())
    }

    #[test]
    fn the_tenant_is_the_headers_or_the_default() {
        assert_eq!(tenant(&[]), Ok("default".to_owned()));
        assert_eq!(tenant(&[b"team-1.a_B"]), Ok("team-1.a_B".to_owned()));
        for bad in [&b""[..], b"a b", b"\xff", b"a,b", &[b'a'; 65]] {
            assert_eq!(tenant(&[bad]).unwrap_err()[0].0, TENANT_HEADER);
        }
        assert_eq!(tenant(&[b"a", b"a"]).unwrap_err()[0].1, "is given more than once");
    }
}
