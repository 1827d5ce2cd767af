//! TLS: the service's certificate, and the trusted authorities of client certificates.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::VerifierBuilderError,
};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::client_verifier::ClientVerifier;
use crate::auth::Authorities;

/// The ALPN protocol of HTTP/2.
pub(super) const H2: &[u8] = b"h2";

/// The reason why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM.
    #[error("the {0} cannot be read: {1}")]
    Pem(&'static str, pem::Error),
    /// A file has no certificate.
    #[error("there is no certificate in the {0}")]
    NoCertificate(&'static str),
    /// The certificate of an authority is invalid.
    #[error("an authority of client certificates cannot be used: {0}")]
    Authority(rustls::Error),
    /// The authorities cannot be used.
    #[error("the authorities of client certificates cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// The certificate or the key is invalid, or they do not match.
    #[error("the certificate and its key cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// The current TLS configuration.
#[derive(Debug)]
pub struct Tls {
    config: RwLock<Arc<ServerConfig>>,
    client_ca: RwLock<Option<Vec<u8>>>,
    /// Notified when the authorities of client certificates change.
    authorities: watch::Sender<()>,
}

impl Tls {
    /// TLS with a certificate and its chain, its key, and the authorities of client certificates, all as PEM. With authorities,
    /// clients are asked for a certificate, but need not have one.
    pub fn new(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        Ok(Self {
            config: RwLock::new(config(certificate, key, client_ca)?),
            client_ca: RwLock::new(client_ca.map(<[u8]>::to_vec)),
            authorities: watch::Sender::default(),
        })
    }

    /// Replaces the configuration for new connections. If the authorities change, clients with a certificate have to connect again:
    /// their certificates count no longer on the connections that they have.
    pub fn replace(&self, certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<(), TlsError> {
        let config = config(certificate, key, client_ca)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        let mut known = self.client_ca.write().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != client_ca {
            *known = client_ca.map(<[u8]>::to_vec);
            self.authorities.send_replace(());
        }
        Ok(())
    }

    /// TLS with this choice of a certificate.
    #[cfg(test)]
    pub(super) fn with_resolver(
        resolver: Arc<dyn rustls::server::ResolvesServerCert>,
    ) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(Self {
            config: RwLock::new(builder.with_no_client_auth().with_cert_resolver(resolver).into()),
            client_ca: RwLock::default(),
            authorities: watch::Sender::default(),
        })
    }

    /// The acceptor for a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }

    /// The current authorities of client certificates.
    pub(super) fn authorities(&self) -> Authorities {
        Authorities::current(&self.authorities)
    }
}

fn config(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Pem("key", error))?;
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("file of client authorities", authorities)? {
                roots.add(authority).map_err(TlsError::Authority)?;
            }
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(roots, provider)?))
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(config.into())
}

fn certificates(of: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsError::Pem(of, error))?;
    if found.is_empty() { Err(TlsError::NoCertificate(of)) } else { Ok(found) }
}
