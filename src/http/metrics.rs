//! `GET /metrics`: the numbers, for Prometheus.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use super::Parts;

/// The text format of Prometheus (its documentation, "Exposition formats").
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Tells every number.
pub(super) async fn tell(State(parts): State<Parts>) -> Response {
    let text = parts.load_full().numbers();
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}
