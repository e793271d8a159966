//! `[limits.shared]`: where several gateways count the limits of keys together.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use url::Url;

use super::{
    OnSharedError, Secret, SharedLimits,
    given::Given,
    problem::Fault,
    section::Section,
    values::{duration, optional_text, word},
};

/// How long a request waits for the server: a neighbour in the same network answers in less than a millisecond.
const TIMEOUT: Duration = Duration::from_millis(100);

pub(super) fn shared(mut section: Section<'_>) -> Option<SharedLimits> {
    let is_given = section.gives("redis_url");
    let read = section.read("redis_url", server);
    // An address that is wrong was meant, and its own fault is told.
    let is_meant = is_given && !matches!(read, Some(None));
    let redis_url = read.flatten();
    let ca = section.read("ca", optional_text).flatten();
    let ca = ca.map(|path| authorities(&section, &path, redis_url.as_ref()));
    let timeout = section.read("timeout", duration);
    let policy = word(OnSharedError::WORDS, OnSharedError::from_word);
    let on_error = section.read("on_shared_error", policy);
    if on_error == Some(OnSharedError::Refuse) && !is_meant {
        section.fault(
            "on_shared_error",
            "nothing is shared, so there is no failure to refuse requests for",
            "write `redis_url`, or leave this out",
        );
    }
    section.finish();
    redis_url.map(|redis_url| SharedLimits {
        redis_url,
        ca: ca.flatten(),
        timeout: timeout.unwrap_or(TIMEOUT),
        on_error: on_error.unwrap_or(OnSharedError::Local),
    })
}

/// What stands in the file of those who vouch for the server's certificate.
fn authorities(section: &Section<'_>, path: &str, server: Option<&Secret>) -> Option<Arc<[u8]>> {
    let is_plain = |server: &Secret| {
        let url = server.expose();
        url.starts_with("redis:") || url.starts_with("valkey:")
    };
    if server.is_some_and(is_plain) {
        section.fault(
            "ca",
            "the server is spoken to without TLS, so it shows no certificate",
            "begin `redis_url` with rediss://, or leave this out",
        );
        return None;
    }
    let unread = |error| {
        let wrong = format!("the file cannot be read ({error})");
        section.fault("ca", wrong, "mend the path, or who may read it");
    };
    let pem = section.contents(&section.beside(path));
    let pem = pem.map_err(unread).ok()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
        return Some(pem);
    }
    section.fault(
        "ca",
        "the file holds no PEM certificate",
        "write each between its BEGIN and END lines",
    );
    None
}

/// Takes the address of a Redis or Valkey server, an empty one as none. It is never shown: its password may be what is wrong with it.
fn server(given: &Given) -> Result<Option<Secret>, Fault> {
    let Some(text) = optional_text(given)? else {
        // Written as nothing it means none; a variable that turned out empty was meant to hold something.
        return if given.shown {
            Ok(None)
        } else {
            Err(Fault::new(
                "the variable that holds the address is empty",
                "set it, or write `redis_url = \"\"`",
            ))
        };
    };
    let remedy =
        "write one like redis://host:6379/0, or rediss://user:password@host:6379/0 for TLS";
    let url = Url::parse(text.trim())
        .map_err(|error| Fault::new(format!("this is no address ({error})"), remedy))?;
    if !matches!(url.scheme(), "redis" | "rediss" | "valkey" | "valkeys") {
        return Err(Fault::new(
            "the scheme is none of redis, rediss, valkey and valkeys",
            remedy,
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::new("the address names no host", remedy));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(
            "there is a query or a fragment in the address",
            "end it before the `?` or `#`",
        ));
    }
    let database = url.path().trim_matches('/');
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(Fault::new(
            "what follows the host is not the number of a database",
            remedy,
        ));
    }
    Ok(Some(Secret::new(url.as_str())))
}
