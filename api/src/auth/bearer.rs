//! The bearer token of a request.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The longest token that is accepted.
const MAX_BYTES: usize = 16 * 1024;

/// The bearer token in a request's `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer<'a> {
    /// There is no bearer token.
    None,
    /// The header is malformed.
    Malformed,
    /// A token.
    Token(Cow<'a, str>),
}

impl<'a> Bearer<'a> {
    /// Reads the token from these headers. With `takes_basic` the password of basic authentication is accepted as token, for clients
    /// that cannot send anything else.
    pub(super) fn of(headers: &'a HeaderMap, takes_basic: bool) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::None };
        if values.next().is_some() {
            return Self::Malformed;
        }
        let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
            return Self::Malformed;
        };
        let token = token.trim_matches(' ');
        if takes_basic && scheme.eq_ignore_ascii_case("basic") {
            return password(token).map_or(Self::Malformed, |password| Self::checked(password.into()));
        }
        if scheme.eq_ignore_ascii_case("bearer") { Self::checked(token.into()) } else { Self::None }
    }

    fn checked(token: Cow<'a, str>) -> Self {
        let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        let is_token = is_visible && (1..=MAX_BYTES).contains(&token.len());
        if is_token { Self::Token(token) } else { Self::Malformed }
    }
}

/// The password in the credentials of basic authentication.
fn password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_bearer_token_stands_alone_behind_its_scheme() {
        for (values, expected) in [
            (&[][..], Bearer::None),
            (&["Basic YTpi"], Bearer::None),
            (&["Bearer abc"], Bearer::Token("abc".into())),
            (&["bEARER  abc "], Bearer::Token("abc".into())),
            (&["Bearer"], Bearer::Malformed),
            (&["Bearer "], Bearer::Malformed),
            (&["Bearer a b"], Bearer::Malformed),
            (&["Bearer a", "Bearer a"], Bearer::Malformed),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(Bearer::of(&headers, false), expected, "{values:?}");
        }
    }

    #[test]
    fn the_password_of_basic_authentication_is_taken_where_that_is_all_there_is() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic YTpiOmM="));
        assert_eq!(Bearer::of(&headers, true), Bearer::Token("b:c".into()));
        assert_eq!(Bearer::of(&headers, false), Bearer::None);
    }
}
