//! The edge: `[tls]`, `[cors]` and `admin_listen`.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc};

use http::HeaderValue;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use url::Url;

use super::{
    given::Given,
    problem::Fault,
    section::Section,
    values::{list, listen, optional_text, text},
};

/// How connections are encrypted.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The file of the certificate and those that vouch for it.
    pub certificate: PathBuf,
    /// The file of its key.
    pub private_key: PathBuf,
    /// What was read from both: they belong together.
    pub identity: Identity,
}

/// A certificate chain and its key, never printed.
#[derive(Clone)]
pub struct Identity(pub Arc<CertifiedKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} certificates and a key)", self.0.cert.len())
    }
}

/// The pages that browsers let ask the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// None of other origins.
    Off,
    /// Those of every origin.
    Any,
    /// Those of these origins.
    Only(Vec<HeaderValue>),
}

/// Reads `[tls]`; both files or neither.
pub(super) fn tls(mut section: Section<'_>) -> Option<Tls> {
    let certificate = section.read("certificate", optional_text).flatten();
    let private_key = section.read("private_key", optional_text).flatten();
    let tls = match (certificate, private_key) {
        (None, None) => None,
        (Some(certificate), Some(private_key)) => {
            let (certificate, private_key) =
                (section.beside(&certificate), section.beside(&private_key));
            identity(&section, &certificate, &private_key).map(|identity| Tls {
                certificate,
                private_key,
                identity,
            })
        }
        (Some(_), None) => missing(&section, "private_key"),
        (None, Some(_)) => missing(&section, "certificate"),
    };
    section.finish();
    tls
}

fn missing(section: &Section<'_>, key: &str) -> Option<Tls> {
    let remedy = "name the PEM files of both `certificate` and `private_key`";
    section.fault(key, "it is missing", remedy);
    None
}

/// What stands in both files; what is wrong with either is reported, and never a word of what it says.
fn identity(
    section: &Section<'_>,
    certificate: &std::path::Path,
    private_key: &std::path::Path,
) -> Option<Identity> {
    let read = |key: &str, path| {
        let unread = |error| {
            let wrong = format!("the file cannot be read ({error})");
            section.fault(key, wrong, "mend the path, or who may read it");
        };
        section.contents(path).map_err(unread).ok()
    };
    let chain = read("certificate", certificate).and_then(|pem| {
        let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        if chain.is_none() {
            let remedy = "write the certificate first, then those that vouch for it, each between its BEGIN and END lines";
            section.fault("certificate", "the file holds no PEM certificate", remedy);
        }
        chain
    });
    let key = read("private_key", private_key).and_then(|pem| {
        let key = PrivateKeyDer::from_pem_slice(&pem).ok();
        if key.is_none() {
            let remedy = "write the key unencrypted, between its BEGIN and END lines";
            section.fault("private_key", "the file holds no PEM private key", remedy);
        }
        key
    });
    match CertifiedKey::from_der(chain?, key?, &ring::default_provider()) {
        Ok(pair) => Some(Identity(Arc::new(pair))),
        Err(error) => {
            section.fault(
                "private_key",
                format!("it cannot be used with this certificate ({error})"),
                "name the two files that were issued together",
            );
            None
        }
    }
}

/// Reads `[cors]`.
pub(super) fn cors(mut section: Section<'_>) -> Cors {
    let origins = section.read("origins", list(origin)).unwrap_or_default();
    let any = HeaderValue::from_static("*");
    let cors = match origins.as_slice() {
        [] => Cors::Off,
        [only] if *only == any => Cors::Any,
        several if several.contains(&any) => {
            section.fault(
                "origins",
                "`*` stands beside other origins",
                "write `[\"*\"]` alone, or leave it out",
            );
            Cors::Off
        }
        _ => Cors::Only(origins),
    };
    section.finish();
    cors
}

/// Takes an origin as browsers write it: scheme, host, and the port where it is not the usual one.
fn origin(given: &Given) -> Result<HeaderValue, Fault> {
    let text = text(given)?;
    let text = text.trim();
    if text == "*" {
        return Ok(HeaderValue::from_static("*"));
    }
    let url = Url::parse(text).ok().filter(|url| {
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_nobody = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && is_bare && is_nobody
    });
    let origin = url.map(|url| url.origin().ascii_serialization());
    let origin = origin.and_then(|origin| HeaderValue::from_str(&origin).ok());
    origin.ok_or_else(|| {
        Fault::new(
            format!("{} is no origin", given.quoted()),
            "write scheme and host, like \"https://app.example\", or \"*\" for every page",
        )
    })
}

/// Reads `admin_listen`, which is another address than `listen`.
pub(super) fn admin_listen(root: &mut Section<'_>, main: SocketAddr) -> Option<SocketAddr> {
    let given = root.read("admin_listen", |given| {
        optional_text(given)?.map(|_| listen(given)).transpose()
    });
    let admin = given.flatten()?;
    if admin == main && admin.port() != 0 {
        root.fault(
            "admin_listen",
            format!("the gateway itself listens on {admin}"),
            "write another port",
        );
    }
    Some(admin)
}
