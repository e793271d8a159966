//! TLS at the gateway's own door: rustls, with the certificate of the configuration in force.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use super::Failure;
use crate::http::Parts;

/// What clients may speak, the best first (IANA's names for ALPN).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What agrees on TLS with clients; `None` where the configuration has no certificate.
pub(super) fn acceptor(parts: &Parts) -> Result<Option<TlsAcceptor>, Failure> {
    let Some(tls) = &parts.load().config.tls else {
        return Ok(None);
    };
    let certificate = InForce {
        parts: Arc::clone(parts),
        first: Arc::clone(&tls.identity.0),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::running("TLS cannot be set up", error))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// The certificate of the configuration in force: a reload changes it for new connections and touches no open one.
struct InForce {
    parts: Parts,
    /// For a configuration that has none any more, until the restart that this takes.
    first: Arc<CertifiedKey>,
}

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let app = self.parts.load();
        let identity = app.config.tls.as_ref().map(|tls| &tls.identity.0);
        Some(Arc::clone(identity.unwrap_or(&self.first)))
    }
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the certificate in force")
    }
}
