//! Reaching a neighbour: its name looked up, TCP, and TLS where the address asks for it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tower::Service;

use super::{Error, Unusable};
use crate::config::Http2;

/// A connection without HTTP yet.
pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How long the other side may be silent before the system asks whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// Makes connections to one neighbour.
pub(super) struct Connector {
    uri: Uri,
    tcp: HttpConnector,
    /// Its name as its certificate must have it; `None`: plain text.
    tls: Option<ServerName<'static>>,
    tls_config: OnceLock<Arc<ClientConfig>>,
    http2: Http2,
}

impl Connector {
    pub(super) fn new(uri: &Uri, http2: Http2) -> Result<Self, Unusable> {
        // Fails where a provider was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = (uri.scheme() == Some(&Scheme::HTTPS))
            .then(|| ServerName::try_from(host.to_owned()))
            .transpose()
            .map_err(|error| Unusable(error.to_string()))?;
        Ok(Self {
            uri: uri.clone(),
            tcp,
            tls,
            tls_config: OnceLock::new(),
            http2,
        })
    }

    /// Whether all its connections speak HTTP/1.1.
    pub(super) fn never_shares(&self) -> bool {
        match self.http2 {
            Http2::Off => true,
            Http2::Auto => self.tls.is_none(),
            Http2::PriorKnowledge => false,
        }
    }

    /// Makes a connection, and tells what it speaks.
    pub(super) async fn connect(&self) -> Result<(Io, Spoken), Error> {
        let mut tcp = self.tcp.clone();
        // It is ready at all times.
        let connected = tcp.call(self.uri.clone()).await;
        let tcp = connected
            .map(TokioIo::into_inner)
            .map_err(|error| Error::Connect(error.into()))?;
        let Some(name) = self.tls.clone() else {
            let spoken = match self.http2 {
                Http2::PriorKnowledge => Spoken::Http2,
                Http2::Auto | Http2::Off => Spoken::Http1,
            };
            return Ok((Either::Left(tcp), spoken));
        };
        let config = match self.tls_config.get() {
            Some(config) => Arc::clone(config),
            None => {
                let config = self.offer();
                let config = config.map_err(|error| Error::Connect(Box::new(error)))?;
                Arc::clone(self.tls_config.get_or_init(|| Arc::new(config)))
            }
        };
        let tls = TlsConnector::from(config).connect(name, tcp).await;
        let tls = tls.map_err(|error| Error::Connect(Box::new(error)))?;
        let spoken = match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => Spoken::Http2,
            Some(_) | None if self.http2 == Http2::PriorKnowledge => Spoken::Http2,
            Some(_) | None => Spoken::Http1,
        };
        Ok((Either::Right(Box::new(tls)), spoken))
    }

    /// What is offered when TLS is agreed on.
    fn offer(&self) -> Result<ClientConfig, rustls::Error> {
        let protocols: &[&[u8]] = match self.http2 {
            Http2::Auto => &[b"h2", b"http/1.1"],
            Http2::PriorKnowledge => &[b"h2"],
            Http2::Off => &[b"http/1.1"],
        };
        let mut config = trusting()?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// TLS that trusts what the system trusts. Its certificates are read when they are needed first, once a process: that takes milliseconds.
pub fn trusting() -> Result<ClientConfig, rustls::Error> {
    static TRUSTING: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = TRUSTING.get() {
        return Ok(config.clone());
    }
    let config = ClientConfig::builder()
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(TRUSTING.get_or_init(|| config).clone())
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}
