//! LightOn Paradigm's OpenAI-compatible API under `/api/v2`: `chat/completions`, `completions`, `embeddings`, `models` and `files`.
//!
//! It differs from OpenAI's as the real one does: models have no `id`, files have whole numbers and the purpose `documents`, lists of
//! files are numbered pages, and errors are `{"code", "error", "detail"}`. As there, chat is a plain proxy: what the model service says,
//! its errors included, passes as it is. Any bearer key is taken, but one is demanded.

mod embeddings;
mod files;
mod models;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    json::Json,
    library::{self, Library},
    lighton::{UPLOAD_LIMIT_BYTES, error::Error as LightOnError},
    model,
};

/// What every path begins with; the nested router sees paths without it.
pub(super) const PREFIX: &str = "/api/v2";

/// What a request without a file may have: room for long conversations and thousands of texts.
const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// What every handler needs.
#[derive(Clone)]
struct Service {
    library: Arc<Library>,
}

/// The routes of the service.
pub(super) fn router(library: Arc<Library>) -> Router {
    // Closer to the handler than the limit of uploads, so that it is this one that holds.
    let held_whole = DefaultBodyLimit::max(BODY_LIMIT_BYTES);
    let routes = Router::new()
        .route(
            "/chat/completions",
            post(model::chat_completions).layer(held_whole),
        )
        .route("/completions", post(model::completions).layer(held_whole))
        .route("/embeddings", post(embeddings::create))
        .route("/models", get(models::list))
        .route("/files", get(files::list).post(files::create))
        .route("/files/{id}", get(files::retrieve).delete(files::delete))
        .route_layer(middleware::from_fn(demand_key))
        .method_not_allowed_fallback(async |request: Request| {
            Error(LightOnError::MethodNotAllowed(request.method().clone()))
        })
        .layer(DefaultBodyLimit::max(UPLOAD_LIMIT_BYTES))
        .with_state(Service { library });
    Router::new().nest(PREFIX, routes)
}

/// An error in Paradigm's shape.
#[derive(Debug)]
struct Error(LightOnError);

impl Error {
    fn bad_request(detail: impl Into<String>) -> Self {
        Self(LightOnError::BadRequest(detail.into()))
    }
}

impl From<LightOnError> for Error {
    fn from(error: LightOnError) -> Self {
        Self(error)
    }
}

impl From<library::Error> for Error {
    fn from(error: library::Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.0.log();
        // How Paradigm words a failed validation is not public: here the fields are told in the detail.
        let detail = match self.0.first_field() {
            Some((name, fault)) => format!("{name}: {}", fault.detail),
            None => self.0.detail(),
        };
        let status = match self.0.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            other => other,
        };
        let word = match status {
            StatusCode::BAD_REQUEST => "bad_request",
            _ => self.0.word(),
        };
        (
            status,
            Json(json!({"code": status.as_u16(), "error": word, "detail": detail})),
        )
            .into_response()
    }
}

async fn demand_key(request: Request, next: Next) -> Response {
    if super::bearer_key(request.headers()).is_none() {
        return Error(LightOnError::Unauthorized).into_response();
    }
    next.run(request).await
}

/// The answer to a path that leads nowhere, in Paradigm's shape.
pub(super) fn unknown_path(path: &str) -> Response {
    Error(LightOnError::UnknownPath(path.to_owned())).into_response()
}

/// Reads a JSON body.
async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    let bytes: Bytes = axum::body::to_bytes(request.into_body(), BODY_LIMIT_BYTES)
        .await
        .map_err(|_| LightOnError::TooLarge(BODY_LIMIT_BYTES))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::bad_request(format!("The body is not a valid request: {error}")))
}
