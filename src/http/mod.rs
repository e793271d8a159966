//! The edge: every route and the whole layer stack, on one screen.

mod chat;
mod completions;
mod embeddings;
pub mod error;
mod extract;
mod files;
mod form;
mod health;
mod metrics;
mod middleware;
mod models;
mod paging;
mod patience;
mod sources;
mod stream;
mod vector_stores;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, StatusCode, header};

pub use self::extract::Transport;
use self::{
    error::ApiError,
    middleware::{Edge, Gate},
};
use crate::{app::App, openai::Json};

/// The parts in force: a reload swaps them whole, and a request keeps those it began with.
pub type Parts = Arc<ArcSwap<App>>;

/// The gateway's routes and layers.
pub fn router(parts: Parts) -> Router {
    // What asks for a key: everything but the routes below.
    let guarded = Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route(
            "/v1/files",
            // A file has a limit of its own, which its form keeps.
            get(files::list).post(files::create.layer(DefaultBodyLimit::disable())),
        )
        .route("/v1/files/{id}", get(files::retrieve).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route(
            "/v1/vector_stores",
            get(vector_stores::list).post(vector_stores::write),
        )
        .route(
            "/v1/vector_stores/{id}",
            get(vector_stores::retrieve)
                .post(vector_stores::write)
                .delete(vector_stores::write),
        )
        .route("/v1/vector_stores/{id}/search", post(vector_stores::search))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(Edge::new(&parts, Gate::Keyed));

    let probes = match parts.load().config.admin_listen {
        // Not the guarded 404: whoever looks for the numbers here needs no key to learn that they are elsewhere.
        Some(_) => probes().route("/metrics", get(unknown_path)),
        None => probes().merge(numbers()),
    };
    probes
        // Asks for a key unless the link is signed, so it decides itself.
        .route("/sources/{file_id}", get(sources::open))
        .method_not_allowed_fallback(wrong_method)
        .layer(Edge::new(&parts, Gate::Open))
        .merge(guarded)
        .with_state(parts)
}

/// The routes for operators, where they listen apart: the numbers and the probes, without a key.
pub fn admin(parts: Parts) -> Router {
    probes()
        .merge(numbers())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(Edge::new(&parts, Gate::Open))
        .with_state(parts)
}

fn probes() -> Router<Parts> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
}

fn numbers() -> Router<Parts> {
    Router::new().route("/metrics", get(metrics::tell))
}

async fn unknown_path(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    if path == "/v1/responses" || path.starts_with("/v1/responses/") {
        return ApiError::not_found(
            "`/v1/responses` is not here yet; use `POST /v1/chat/completions`, which every OpenAI SDK has",
        );
    }
    let hint = if path.starts_with("/v1/") {
        ""
    } else {
        " (is `/v1` missing from the base URL?)"
    };
    ApiError::not_found(format!(
        "there is nothing at `{path}`{hint}; see the README for the endpoints"
    ))
}

async fn wrong_method(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    let method: String = request.method().as_str().chars().take(20).collect();
    let message =
        format!("`{path}` does not take {method}; the `Allow` header names what it takes");
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request_error",
        "method_not_allowed",
        message,
    )
}

/// 200 with a JSON body.
fn json(body: &Json) -> Response {
    let head = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (head, body.bytes().clone()).into_response()
}

fn is_event_stream(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Headers that every event stream carries: proxies in between must neither store, compress nor collect it.
fn stream_headers(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
}
