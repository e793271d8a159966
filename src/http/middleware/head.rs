//! Heads that two readers take in two ways: refused before anything is made of them.
//!
//! hyper itself refuses what HTTP/1 forbids outright (two lengths, a length that is no number, blanks before a colon, folded lines, NUL), with an
//! empty 400 and the end of the connection: where such a request ends nobody knows, so nothing after it can be believed, and no
//! client that speaks HTTP gets there. `Transfer-Encoding` beside `Content-Length` it reads as RFC 9112 (6.3) says, by the former, and closes
//! behind the answer, so that nothing can stand behind such a request either.

use axum::extract::Request;
use http::{Uri, header, uri::Authority};
use percent_encoding::percent_decode_str;

use crate::http::error::ApiError;

/// Refuses a head that cannot be believed.
pub(super) fn check(request: &Request) -> Result<(), ApiError> {
    let path = request.uri().path();
    if path.contains('%') && percent_decode_str(path).decode_utf8().is_err() {
        return Err(ApiError::not_found(
            "there is nothing here: the path is no UTF-8 text",
        ));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    if hosts.next().is_some() {
        return Err(bad("the header `Host` stands twice; send it once"));
    }
    // HTTP lets it be empty where the address has no host.
    if host.is_empty() {
        return Ok(());
    }
    let host = Authority::try_from(host.as_bytes()).ok();
    let Some(host) = host.filter(is_sane) else {
        return Err(bad("the header `Host` holds no host"));
    };
    match request.uri().authority() {
        Some(other) if !is_same(&host, other, request.uri()) => Err(bad(
            "the header `Host` and the address of the request name two hosts",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Whether it is a host and perhaps a port, and nothing else.
fn is_sane(host: &Authority) -> bool {
    let rest = host.as_str().strip_prefix(host.host());
    rest.is_some_and(|rest| matches!(rest, "" | ":") || host.port_u16().is_some())
}

/// Whether both name the same host; a port that the scheme implies may be left out.
fn is_same(host: &Authority, other: &Authority, uri: &Uri) -> bool {
    let implied = match uri.scheme_str() {
        Some("https") => 443,
        Some(_) | None => 80,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(implied);
    host.host().eq_ignore_ascii_case(other.host()) && port(host) == port(other) && is_sane(other)
}

fn bad(message: &str) -> ApiError {
    ApiError::bad_request("invalid_value", message).param("Host")
}
