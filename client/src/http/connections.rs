//! The connections: many calls share one where the service speaks HTTP/2, and each has its own elsewhere.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Url, header::HeaderMap, redirect::Policy};

use crate::{
    config::LocksConfig,
    error::{LockError, LockResult},
};

/// How long a connection may take to be made before the next URL is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// A connection whose other end is gone is noticed after this and three probes.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long a shared connection may take to answer such a probe.
#[cfg(feature = "http2")]
const PROBE: Duration = Duration::from_secs(3);
/// The most calls that share connections: half as many as the service takes through one. A call beyond that would wait behind
/// acquires that wait in line.
const MOST_SHARED: usize = 500;

/// Connections to the URLs of a service.
#[derive(Debug)]
pub(super) struct Connections {
    /// HTTP/2 where that is agreed on within TLS, or known before.
    shared: Client,
    /// HTTP/1.1.
    own: Client,
    /// How many calls share connections.
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
        // There is nothing to share.
        let own = build(client()?)?;
        Ok(Self { shared: own.clone(), own, sharing })
    }

    /// The client for a call that may share its connection, while the other value lives.
    pub(super) fn shared(&self) -> (&Client, Sharing<'_>) {
        let sharing = Sharing(&self.sharing);
        let others = self.sharing.fetch_add(1, Ordering::Relaxed);
        (if others < MOST_SHARED { &self.shared } else { &self.own }, sharing)
    }

    /// The client for a call that has its connection for itself: one that is stuck holds up no other call.
    pub(super) fn own(&self) -> &Client {
        &self.own
    }
}

/// A call that is counted until this is dropped.
pub(super) struct Sharing<'a>(&'a AtomicUsize);

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn client(headers: &HeaderMap) -> ClientBuilder {
    // Proxies of the environment are meant for the web: they buffer, and hide that a caller hung up.
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

/// Has a client trust whom the configuration and the system trust.
#[cfg(feature = "tls")]
fn trusting(client: ClientBuilder, config: &LocksConfig, urls: &[Url]) -> LockResult<ClientBuilder> {
    if !urls.iter().any(is_https) {
        // In the clear nothing asks for the certificates of the system, which take a while to load.
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
