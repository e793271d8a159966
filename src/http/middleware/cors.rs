//! Pages of other origins: which of them a browser lets ask, and what it lets them read.
//!
//! Credentials of the browser's own (cookies) are never allowed: a page has to hold a key, whatever its origin, so that no page can ask in
//! the name of somebody who merely opened it.

use std::time::Duration;

use axum::extract::Request;
use http::{HeaderName, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::Cors;

/// How long a browser may remember what it was allowed.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The headers of answers that a page may read, beside those that any may.
const READABLE: [&str; 19] = [
    "openai-model",
    "openai-organization",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "server-timing",
    "x-groundwire-mode",
    "x-groundwire-model",
    "x-groundwire-upstream",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-should-retry",
    "x-upstream-request-id",
];

/// What answers the questions that browsers ask before a page's request, and marks what the page may read; `None`: no page may ask.
pub(super) fn sharing(settings: &Cors, request: &Request) -> Option<CorsLayer> {
    if *settings == Cors::Off {
        return None;
    }
    let asks_only = request.method() == Method::OPTIONS;
    // Any other OPTIONS is a request like each: the layer would answer all of them.
    (!asks_only || is_question(settings, request)).then(|| layer(settings))
}

/// Whether a browser asks in the name of a page that may ask.
fn is_question(settings: &Cors, request: &Request) -> bool {
    let headers = request.headers();
    let is_named = headers
        .get(header::ORIGIN)
        .is_some_and(|origin| match settings {
            Cors::Off => false,
            Cors::Any => true,
            Cors::Only(origins) => origins.contains(origin),
        });
    is_named && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn layer(settings: &Cors) -> CorsLayer {
    let origins = match settings {
        Cors::Off => AllowOrigin::list([]),
        Cors::Any => AllowOrigin::any(),
        Cors::Only(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        // OpenAI's library for browsers sends a dozen of its own; what is not read here does no harm.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(READABLE.map(HeaderName::from_static))
        .max_age(REMEMBERED)
}
