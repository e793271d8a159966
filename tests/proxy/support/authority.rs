//! An authority of a company's own, which vouches for neighbours that speak TLS.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure, and a door's task ends with the door"
)]

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::server::Server;

/// An authority that nobody knows but who is told its file.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, each a file of PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// The file that names it.
    pub(crate) fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// A certificate for the host `name`.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        let own = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&own, &self.issuer).unwrap();
        let put = |file: &str, text: String| {
            let path = self.folder.path().join(format!("{name}-{file}"));
            fs::write(&path, text).unwrap();
            path
        };
        Issued {
            certificate: put("cert.pem", certificate.pem()),
            private_key: put("key.pem", own.serialize_pem()),
        }
    }
}

/// A door before a scripted server: TLS outside, plain inside.
pub(crate) struct Door {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Door {
    /// Opens one before `server`.
    pub(crate) async fn before(server: &Server, issued: &Issued) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, server.address(), acceptor(issued)));
        Self { address, serving }
    }

    /// Its address, by the name that its certificate has.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn acceptor(issued: &Issued) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(&issued.certificate).unwrap();
    let private_key = PrivateKeyDer::from_pem_file(&issued.private_key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private_key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

async fn serve(listener: TcpListener, inside: SocketAddr, acceptor: TlsAcceptor) {
    let mut connections = JoinSet::new();
    while let Ok((outer, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            // A client that does not trust the certificate says so by leaving.
            if let Ok(mut outer) = acceptor.accept(outer).await {
                let mut inner = TcpStream::connect(inside).await.unwrap();
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            }
        });
    }
}
