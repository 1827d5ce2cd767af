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
#[cfg(feature = "tls")]
const PROBE: Duration = Duration::from_secs(3);
/// The most calls that share connections: half as many as the service takes through one. A call beyond that would wait behind
/// acquires that wait in line.
const MOST_SHARED: usize = 500;

/// Connections to the URLs of a service.
#[derive(Debug)]
pub(super) struct Connections {
    /// HTTP/2 where that is agreed on within TLS.
    shared: Client,
    /// HTTP/1.1.
    own: Client,
    /// How many calls share connections.
    sharing: AtomicUsize,
}

impl Connections {
    pub(super) fn new(config: &LocksConfig, urls: &[Url], headers: &HeaderMap) -> LockResult<Self> {
        let sharing = AtomicUsize::new(0);
        #[cfg(feature = "tls")]
        if urls.iter().any(|url| url.scheme() == "https") {
            let trusting = || match &config.authority {
                None => Ok(client(headers)),
                Some(pem) => {
                    reqwest::Certificate::from_pem(pem).map(|pem| client(headers).add_root_certificate(pem))
                }
            };
            let trusting = || trusting().map_err(|error| LockError::Validation(error.to_string()));
            let shared = trusting()?.http2_keep_alive_interval(KEEPALIVE).http2_keep_alive_timeout(PROBE);
            return Ok(Self { shared: build(shared)?, own: build(trusting()?.http1_only())?, sharing });
        }
        #[cfg(not(feature = "tls"))]
        if config.authority.is_some() && !urls.is_empty() {
            return Err(LockError::Validation(
                "an authority is of use with the feature `tls` only".to_owned(),
            ));
        }
        // In the clear there is nothing to share, and nothing asks for the certificates of the system, which take a while to load.
        let http = client(headers);
        #[cfg(feature = "tls")]
        let http = http.tls_built_in_root_certs(false);
        let own = build(http)?;
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

fn build(client: ClientBuilder) -> LockResult<Client> {
    client.build().map_err(|error| LockError::Validation(error.to_string()))
}
