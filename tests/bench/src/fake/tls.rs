//! TLS as AWS has it, with an authority that exists for one run.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::Error;

/// An authority, and a server's certificate for loopback that it has signed.
pub(super) struct CertificateAuthority {
    certificate: String,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    pub(super) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::new([])?;
        // One of another name than the server's: OpenSSL takes a certificate for self-signed by its names.
        params.distinguished_name.push(DnType::CommonName, "authority of one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self { certificate: authority.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The authority's own certificate, as PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}
