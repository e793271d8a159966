//! What handlers take out of a request: its JSON body within the limit, the address that the client knows us by.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{
    error::ApiError,
    patience::{Patient, Stalled},
};
use crate::config::Config;

/// Reads a JSON body within the limits of `config`.
pub(super) async fn json_body(
    headers: &HeaderMap,
    body: Body,
    config: &Config,
) -> Result<Bytes, ApiError> {
    let limit = config.limits.request_body_bytes;
    if !headers.get_all(header::CONTENT_TYPE).iter().all(is_json) {
        let message = "send the request as JSON, with the header `Content-Type: application/json`";
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            "unsupported_media_type",
            message,
        ));
    }
    uncompressed(headers)?;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let silence = config.timeouts.body;
    let mut body = Limited::new(Patient::new(body, silence), limit);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame
            .map_err(|error| broken(error.as_ref(), config))?
            .into_data()
        else {
            continue;
        };
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(announced.unwrap_or(first.len() + data.len()));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.freeze()
    })
}

/// Refuses a body that is compressed: a small one could become any size.
pub(super) fn uncompressed(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let message = "send the request uncompressed: without the header `Content-Encoding`";
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid_request_error",
        "unsupported_media_type",
        message,
    ))
}

fn is_json(kind: &HeaderValue) -> bool {
    let Ok(text) = kind.to_str() else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json")
}

fn too_large(limit: usize) -> ApiError {
    let message = format!(
        "the request body is larger than {limit} bytes (`limits.request_body`); send less, or ask the operator to raise it"
    );
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_request_error",
        "request_too_large",
        message,
    )
}

fn broken(error: &(dyn std::error::Error + 'static), config: &Config) -> ApiError {
    if error.is::<LengthLimitError>() {
        return too_large(config.limits.request_body_bytes);
    }
    if Stalled::is_behind(error) {
        return ApiError::stalled(config.timeouts.body);
    }
    ApiError::bad_request(
        "invalid_json",
        "the request body broke off before its end; send it again",
    )
}

/// How a request came in, which whoever accepts its connection tells in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As plain text.
    Plain,
    /// By TLS.
    Tls,
}

/// Scheme and host that the client knows the gateway by.
///
/// `X-Forwarded-Proto` is believed for the scheme: a client that lies about it gets a link that does not work.
pub(super) fn own_address(request: &Parts) -> String {
    let headers = &request.headers;
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| request.uri.authority().map(http::uri::Authority::as_str));
    let host = host.filter(|host| {
        host.parse::<http::uri::Authority>()
            .is_ok_and(|authority| !authority.as_str().contains('@'))
    });
    let forwarded = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let encrypted = request.extensions.get() == Some(&Transport::Tls);
    let scheme = if forwarded || encrypted {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}
