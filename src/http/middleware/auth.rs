//! Turns the presented key into a [`Principal`], or stops the request with 401.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;

use crate::{
    access::{Denied, Principal},
    app::App,
    http::error::ApiError,
};

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Whose key the request carries, in `api-key` or as a bearer.
pub(in crate::http) fn principal(
    app: &App,
    headers: &HeaderMap,
) -> Result<Arc<Principal>, ApiError> {
    if let Some(anyone) = app.keys.anyone() {
        return Ok(Arc::clone(anyone));
    }
    for name in [&header::AUTHORIZATION, &API_KEY] {
        if headers.get_all(name).iter().nth(1).is_some() {
            // Whoever stands before us may have looked at the other.
            return Err(ApiError::unauthorized(
                "a header with a key stands twice; send one",
            ));
        }
    }
    let Some(presented) = presented(headers) else {
        return Err(ApiError::unauthorized(
            "send your key in the header `Authorization: Bearer <key>`",
        ));
    };
    let admitted = app.keys.admit(presented, Timestamp::now());
    admitted.cloned().map_err(|refused| {
        ApiError::unauthorized(match refused {
            Denied::Unknown => "this key is not known here; check it, or ask the operator for one",
            Denied::Disabled => "this key is disabled; ask the operator to enable it",
            Denied::Expired => "this key has expired; ask the operator for a new one",
        })
    })
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get(&API_KEY) {
        return key.to_str().ok().map(str::trim);
    }
    bearer(headers)
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
