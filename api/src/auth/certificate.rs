//! A client's certificate, as far as rules look at it. That it is genuine was checked by the handshake.

use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// A client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// Its subject, as RFC 4514 writes it.
    pub(super) subject: String,
    /// Its alternative names: of hosts, mailboxes, and URIs.
    pub(super) names: Vec<String>,
}

impl ClientCertificate {
    /// Reads one; `None` where it cannot be read.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>().ok()?;
        let name = |name: GeneralName| match name {
            GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        };
        let names = names.into_iter().flat_map(|(_, SubjectAltName(names))| names).filter_map(name).collect();
        Some(Self { subject: certificate.subject().to_string(), names })
    }
}
