//! LightOn Paradigm's OpenAI-compatible API under `/api/v2`: `chat/completions`, `completions`, `embeddings`, `models` and `files`.
//!
//! It differs from OpenAI's as the real one does: models have no `id`, files have whole numbers and the purpose `documents`, lists of
//! files are numbered pages, and errors are `{"code", "error", "detail"}`. As there, chat is a plain proxy: what the model service says,
//! its errors included, passes as it is. Any bearer key is taken, but one is demanded.

mod completions;
mod embeddings;
mod files;
mod models;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::json;
use tower::ServiceExt;

use super::{
    json::Json,
    library::{self, Library},
    lighton::{UPLOAD_LIMIT_BYTES, error::Error as LightOnError},
};

/// What every path begins with; the nested router sees paths without it.
const PREFIX: &str = "/api/v2";

/// What a request without a file may have: room for long conversations.
const BODY_LIMIT_BYTES: usize = 20 * 1024 * 1024;

/// What every handler needs.
#[derive(Clone)]
struct Service {
    library: Arc<Library>,
    /// The model service, which is asked as over HTTP.
    model: Router,
}

/// The routes of the service over `library`, its chat answered by `model` under `/v1`.
pub(super) fn router(library: Arc<Library>, model: Router) -> Router {
    let routes = Router::new()
        .route("/chat/completions", post(chat))
        .route("/completions", post(completions::create))
        .route("/embeddings", post(embeddings::create))
        .route("/models", get(models::list))
        .route("/files", get(files::list).post(files::create))
        .route("/files/{id}", get(files::retrieve).delete(files::delete))
        .route_layer(middleware::from_fn(demand_key))
        .method_not_allowed_fallback(async |request: Request| {
            Error(LightOnError::MethodNotAllowed(request.method().clone()))
        })
        .fallback(async |request: Request| {
            Error(LightOnError::UnknownPath(format!(
                "{PREFIX}{}",
                request.uri().path()
            )))
        })
        .layer(DefaultBodyLimit::max(UPLOAD_LIMIT_BYTES))
        .with_state(Service { library, model });
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

/// Passes a chat request to the model service and its answer back.
async fn chat(State(service): State<Service>, request: Request) -> Result<Response, Error> {
    ask_model(&service, request.into_body()).await
}

async fn ask_model(service: &Service, body: Body) -> Result<Response, Error> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(Uri::from_static("/v1/chat/completions"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, "Bearer paradigm")
        .body(body)
        .map_err(|_| library::Error::Stopped)?;
    match service.model.clone().oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// Reads a JSON body.
async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    let bytes: Bytes = axum::body::to_bytes(request.into_body(), BODY_LIMIT_BYTES)
        .await
        .map_err(|_| LightOnError::TooLarge(BODY_LIMIT_BYTES))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::bad_request(format!("The body is not a valid request: {error}")))
}
