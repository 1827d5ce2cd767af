//! The URLs of the service, and the failover between them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};

use super::{answer, connections::Connections};
use crate::{
    config::LocksConfig,
    error::{LockError, LockResult},
};

/// One or more URLs of the same service, with the connections to them.
#[derive(Debug)]
pub(super) struct Endpoints {
    connections: Connections,
    urls: Vec<Url>,
    /// Index of the URL that answered last.
    preferred: AtomicUsize,
}

/// Whether a request may be sent again after its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Always: the request names a version or only reads, so sending it twice has the effect of sending it once.
    Safe,
    /// Only if the request cannot have arrived.
    Unsafe,
}

impl Endpoints {
    pub(super) fn new(config: &LocksConfig) -> LockResult<Self> {
        let urls = config.urls.split(',').map(read_url).collect::<LockResult<Vec<_>>>()?;
        let connections = Connections::new(config, &urls, &headers(config)?)?;
        Ok(Self { connections, urls, preferred: AtomicUsize::new(0) })
    }

    /// The number of URLs, at least 1.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.urls.len()).unwrap_or(u32::MAX)
    }

    /// Asks the URLs in turn, beginning with the one that answered last, until one gives an answer other than 503.
    pub(super) async fn send(
        &self,
        call: &Call<'_>,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> LockResult<Response> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.urls.len();
        let mut failure = None;
        let mut first_broke = false;
        for turn in 0..=count {
            // A broken connection may only have been idle for too long, so ask its URL once more at the end.
            if turn == count && !first_broke {
                break;
            }
            let index = (first + turn) % count;
            let url = call.url(&self.urls[index])?;
            let (http, _sharing) = match call.connection {
                Connection::Shared => {
                    let (http, sharing) = self.connections.shared();
                    (http, Some(sharing))
                }
                Connection::Own => (self.connections.own(), None),
            };
            let request = fill(http.request(call.method.clone(), url)).timeout(call.timeout);
            let error = match request.send().await {
                Ok(response) => match answer::check(response).await {
                    Err(error @ LockError::Unavailable { .. }) if call.repeat == Repeat::Safe => error,
                    answer => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return answer;
                    }
                },
                Err(error) if call.repeat == Repeat::Safe || error.is_connect() => {
                    first_broke |= turn == 0 && !error.is_connect() && !error.is_timeout();
                    answer::unreachable(&error)
                }
                Err(error) => return Err(answer::unreachable(&error)),
            };
            // Prefer the 503 of one URL to the connection error of another: it says more.
            if !matches!(failure, Some(LockError::Unavailable { .. })) {
                failure = Some(error);
            }
        }
        Err(failure.unwrap_or_else(|| LockError::Validation("no URL".to_owned())))
    }
}

/// A request without its body.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The segments of the path.
    pub(super) path: &'a [&'a str],
    /// The time limit for each URL.
    pub(super) timeout: Duration,
    pub(super) repeat: Repeat,
    pub(super) connection: Connection,
}

/// Whether a call may share its connection with other calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// Yes, if the service speaks HTTP/2.
    Shared,
    /// Never: a lease depends on this call.
    Own,
}

impl Call<'_> {
    fn url(&self, base: &Url) -> LockResult<Url> {
        let mut url = base.clone();
        let mut segments =
            url.path_segments_mut().map_err(|()| LockError::Validation("no path".to_owned()))?;
        segments.pop_if_empty().extend(self.path);
        drop(segments);
        Ok(url)
    }
}

/// Rejects keys that a URL path cannot carry unchanged. The service checks the other rules.
pub(super) fn check_key(key: &str) -> LockResult<&str> {
    if matches!(key, "" | "." | "..") || key.chars().any(char::is_control) {
        return Err(LockError::Validation(format!("{key:?} is not a key")));
    }
    Ok(key)
}

/// The error message never shows the URL, which may hold a password.
fn read_url(text: &str) -> LockResult<Url> {
    let refuse = |reason: &str| LockError::Validation(format!("the service's URL {reason}"));
    let mut url: Url = text.trim().parse().map_err(|_| refuse("is none such as http://127.0.0.1:8080"))?;
    let schemes: &[&str] = if cfg!(feature = "tls") { &["http", "https"] } else { &["http"] };
    if !schemes.contains(&url.scheme()) {
        return Err(refuse(&format!("has to begin with {}://", schemes.join(":// or "))));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn headers(config: &LocksConfig) -> LockResult<HeaderMap> {
    let mut headers = HeaderMap::new();
    let invalid =
        |what: &str| LockError::Validation(format!("the {what} has characters that a header cannot bear"));
    if let Some(token) = &config.token {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| invalid("token"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(tenant) = &config.tenant {
        headers.insert("x-tenant", HeaderValue::try_from(tenant).map_err(|_| invalid("tenant"))?);
    }
    Ok(headers)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn url(base: &str, key: &str) -> String {
        let path = ["locks", check_key(key).unwrap(), "acquire"];
        let call = Call {
            method: Method::POST,
            path: &path,
            timeout: Duration::from_secs(1),
            repeat: Repeat::Safe,
            connection: Connection::Own,
        };
        call.url(&read_url(base).unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_key_is_one_segment_whatever_it_holds() {
        assert_eq!(url("http://h:1", "a/b c?d#e%2F"), "http://h:1/locks/a%2Fb%20c%3Fd%23e%252F/acquire");
        assert_eq!(url("http://h:1/prefix/", "ü"), "http://h:1/prefix/locks/%C3%BC/acquire");
        for refused in ["", ".", "..", "a\nb", "\u{85}"] {
            assert!(check_key(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn messages_never_show_a_url() {
        for text in ["postgres://user:secret@host/db", "secret", "http://user:secret@ho st", ""] {
            assert!(!read_url(text).unwrap_err().to_string().contains("secret"), "{text}");
        }
    }
}
