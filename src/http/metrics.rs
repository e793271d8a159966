//! `GET /metrics`: the numbers, for Prometheus.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use super::Parts;
use crate::access::Reach;

/// The text format of Prometheus (its documentation, "Exposition formats").
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Tells every number.
pub(super) async fn tell(State(parts): State<Parts>) -> Response {
    let app = parts.load_full();
    let upstreams = app.catalog.upstreams().iter();
    let upstreams = upstreams.map(|upstream| (upstream.name(), !upstream.health.is_set_aside()));
    let shared = app.limiter.reach().map(|reach| match reach {
        Reach::Up => 1,
        Reach::Away => 0,
    });
    app.metrics.tell_shared_limits(shared);
    let text = app.metrics.text(app.in_flight(), upstreams);
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}
