//! Verifies the chains of client certificates, those of a usual length.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// The most certificates of authorities behind a client certificate. A client sends its chain before anybody knows who it is, and webpki
/// tries authorities of one name in all orders, each with a check of a signature. That takes about 1 ms with 3 of them, 5 ms with 4, and
/// seconds with 100. Usual chains have one or two, and some clients send the trusted one too.
const MOST_AUTHORITIES: usize = 3;

/// The client sent more authorities than [`MOST_AUTHORITIES`].
#[derive(Debug, thiserror::Error)]
#[error("the chain of a client certificate has {0} authorities; the most is {MOST_AUTHORITIES}")]
struct ChainTooLong(usize);

/// Verifies client certificates like webpki, unless their chain is too long.
#[derive(Debug)]
pub(super) struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    /// Verifies client certificates of these authorities. A client need not have one.
    pub(super) fn new(
        authorities: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider);
        Ok(Self(verifier.allow_unauthenticated().build()?))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() > MOST_AUTHORITIES {
            let error = OtherError(Arc::new(ChainTooLong(intermediates.len())));
            return Err(CertificateError::Other(error).into());
        }
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
