//! The connections to the service. Over HTTP/2 many calls share one; over HTTP/1.1 each call has its own.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Url, header::HeaderMap, redirect::Policy};

use crate::{
    config::LocksConfig,
    error::{LockError, LockResult},
};

/// The connect timeout, after which the next URL is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// The TCP keepalive time. A peer that is gone is noticed after this time and three probes.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// The time limit for the answer to a keepalive probe of a shared connection.
#[cfg(feature = "http2")]
const PROBE: Duration = Duration::from_secs(3);
/// The largest number of calls that share connections: half of what the service accepts on one connection. A call beyond that
/// limit would have to wait until a waiting acquire is answered.
const MOST_SHARED: usize = 500;

/// Connections to the URLs of a service.
#[derive(Debug)]
pub(super) struct Connections {
    /// The client for HTTP/2, by ALPN within TLS or with prior knowledge.
    shared: Client,
    /// The client for HTTP/1.1.
    own: Client,
    /// The number of calls that share connections now.
    sharing: AtomicUsize,
}

impl Connections {
    pub(super) fn new(config: &LocksConfig, urls: &[Url], headers: &HeaderMap) -> LockResult<Self> {
        let sharing = AtomicUsize::new(0);
        let client = || trusting(client(headers), config, urls);
        #[cfg(feature = "http2")]
        if config.knows_http2 || urls.iter().any(is_https) {
            let own = build(client()?.http1_only())?;
            let shared = client()?.http2_keep_alive_interval(KEEPALIVE).http2_keep_alive_timeout(PROBE);
            let shared = if config.knows_http2 { shared.http2_prior_knowledge() } else { shared };
            return Ok(Self { shared: build(shared)?, own, sharing });
        }
        // HTTP/1.1 has no shared connections.
        let own = build(client()?)?;
        Ok(Self { shared: own.clone(), own, sharing })
    }

    /// The client for a call that may share its connection. The call is counted until the other value is dropped.
    pub(super) fn shared(&self) -> (&Client, Sharing<'_>) {
        let sharing = Sharing(&self.sharing);
        let others = self.sharing.fetch_add(1, Ordering::Relaxed);
        (if others < MOST_SHARED { &self.shared } else { &self.own }, sharing)
    }

    /// The client for a call with a connection of its own, so that no stuck call delays another.
    pub(super) fn own(&self) -> &Client {
        &self.own
    }
}

/// Counts a call until it is dropped.
pub(super) struct Sharing<'a>(&'a AtomicUsize);

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn client(headers: &HeaderMap) -> ClientBuilder {
    // Ignore proxies of the environment: they buffer, and hide that a caller hung up.
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(3)
        .default_headers(headers.clone())
}

#[cfg(any(feature = "tls", feature = "http2"))]
fn is_https(url: &Url) -> bool {
    url.scheme() == "https"
}

/// Adds the certificates of the configuration and of the system to a client's trusted roots.
#[cfg(feature = "tls")]
fn trusting(client: ClientBuilder, config: &LocksConfig, urls: &[Url]) -> LockResult<ClientBuilder> {
    if !urls.iter().any(is_https) {
        // Without TLS the system's certificates are not needed, and loading them takes a while.
        return Ok(client.tls_built_in_root_certs(false));
    }
    let Some(pem) = &config.authority else { return Ok(client) };
    let authority = reqwest::Certificate::from_pem(pem);
    let authority = authority.map_err(|error| LockError::Validation(error.to_string()))?;
    Ok(client.add_root_certificate(authority))
}

#[cfg(not(feature = "tls"))]
fn trusting(client: ClientBuilder, config: &LocksConfig, _: &[Url]) -> LockResult<ClientBuilder> {
    match config.authority {
        None => Ok(client),
        Some(_) => {
            Err(LockError::Validation("an authority is of use with the feature `tls` only".to_owned()))
        }
    }
}

fn build(client: ClientBuilder) -> LockResult<Client> {
    client.build().map_err(|error| LockError::Validation(error.to_string()))
}
