//! LightOn's error envelope: `{"id", "code", "error", "detail", "doc_url"}`, with `fields` where a request failed validation.
//!
//! `bad_request`, `validation_error` and `not_found` are LightOn's words. Those for 401, 403, 405, 413, 415 and 500 are not public:
//! the ones here are ours.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::sandbox::{json::Json, library};

/// Why a request is refused.
#[derive(Debug)]
pub(in crate::sandbox) enum Error {
    BadRequest(String),
    Unauthorized,
    Forbidden(&'static str),
    /// What was looked for.
    NotFound(&'static str),
    UnknownPath(String),
    MethodNotAllowed(Method),
    TooLarge(usize),
    /// The media type that came.
    UnsupportedMedia(String),
    Invalid(BTreeMap<String, Vec<FieldError>>),
    Internal(library::Error),
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::sandbox) struct FieldError {
    pub(in crate::sandbox) error: &'static str,
    pub(in crate::sandbox) detail: String,
}

impl Error {
    /// A single field that failed validation.
    pub(in crate::sandbox) fn field(
        name: &str,
        error: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let error = FieldError {
            error,
            detail: detail.into(),
        };
        Self::Invalid(BTreeMap::from([(name.to_owned(), vec![error])]))
    }

    /// The first field that failed validation, and its first fault.
    pub(in crate::sandbox) fn first_field(&self) -> Option<(&str, &FieldError)> {
        let Self::Invalid(fields) = self else {
            return None;
        };
        let (name, faults) = fields.first_key_value()?;
        Some((name, faults.first()?))
    }

    /// Logs a failure of the sandbox itself; what a caller did wrong is the caller's to log.
    pub(in crate::sandbox) fn log(&self) {
        if let Self::Internal(error) = self {
            let cause = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(%error, cause, "the sandbox failed");
        }
    }

    /// The status it is answered with.
    pub(in crate::sandbox) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::UnknownPath(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal(library::Error::NoRoom { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The word for programs.
    pub(in crate::sandbox) fn word(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) | Self::UnknownPath(_) => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::TooLarge(_) => "request_too_large",
            Self::UnsupportedMedia(_) => "unsupported_media_type",
            Self::Invalid(_) => "validation_error",
            Self::Internal(library::Error::NoRoom { .. }) => "insufficient_storage",
            Self::Internal(_) => "internal_error",
        }
    }

    /// The sentence for people.
    pub(in crate::sandbox) fn detail(&self) -> String {
        match self {
            Self::BadRequest(detail) => detail.clone(),
            Self::Unauthorized => {
                "Authentication credentials were not provided or are invalid.".to_owned()
            }
            Self::Forbidden(detail) => (*detail).to_owned(),
            Self::NotFound(what) => format!("{what} not found."),
            Self::UnknownPath(path) => format!("No API endpoint at {path}."),
            Self::MethodNotAllowed(method) => format!("Method \"{method}\" not allowed."),
            Self::TooLarge(limit) => format!("The request is larger than {limit} bytes."),
            Self::UnsupportedMedia(media) => {
                format!("Unsupported media type \"{media}\" in request.")
            }
            Self::Invalid(_) => "One or more fields failed validation.".to_owned(),
            Self::Internal(library::Error::NoRoom { .. }) => {
                "This sandbox has no folder where it may write, so it keeps no uploads: give it one with \
                 `--data`, or a temporary folder that can be written (`--tmpfs /tmp` in a container)."
                    .to_owned()
            }
            Self::Internal(_) => "Unexpected server error.".to_owned(),
        }
    }
}

impl From<library::Error> for Error {
    fn from(error: library::Error) -> Self {
        Self::Internal(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, word) = (self.status(), self.word());
        self.log();
        let mut body = json!({
            "id": null,
            "code": status.as_u16(),
            "error": word,
            "detail": self.detail(),
            "doc_url": format!("https://developers.lighton.ai/errors#{word}"),
        });
        if let (Self::Invalid(fields), Some(body)) = (&self, body.as_object_mut()) {
            body.insert("fields".to_owned(), json!(fields));
        }
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// The word for the type of a JSON value that JSON's own users know.
pub(in crate::sandbox) fn type_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
