//! Requests that the models refuse, in OpenAI's error shape.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::whole;

/// Why a request is refused; the caller's fault, always.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    param: Option<String>,
    message: String,
}

impl Refusal {
    /// A body that is not a JSON object.
    pub(super) fn not_json(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_json",
            param: None,
            message: message.into(),
        }
    }

    /// A field that must be there.
    pub(super) fn missing(param: &str) -> Self {
        let message = format!("you must provide `{param}`");
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "missing_field",
            param: Some(param.to_owned()),
            message,
        }
    }

    /// A field with a value it cannot have.
    pub(super) fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_value",
            param: Some(param.into()),
            message: message.into(),
        }
    }

    /// More tokens than a model can read.
    pub(super) fn too_long(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "context_length_exceeded",
            param: Some("messages".to_owned()),
            message,
        }
    }

    /// A model that is not there.
    pub(super) fn unknown_model(id: &str) -> Self {
        let message = format!("the model `{id}` does not exist; `GET /models` lists those that do");
        Self {
            status: StatusCode::NOT_FOUND,
            code: "model_not_found",
            param: Some("model".to_owned()),
            message,
        }
    }

    /// A path that leads nowhere.
    pub(super) fn unknown_path() -> Self {
        let message =
            "there is nothing at this path; try `POST /v1/chat/completions` or `GET /v1/models`"
                .to_owned();
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            param: None,
            message,
        }
    }

    /// A path that is asked in the wrong way.
    pub(super) fn wrong_method() -> Self {
        let message = "this path takes another method".to_owned();
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            param: None,
            message,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({"message": self.message, "type": "invalid_request_error", "param": self.param, "code": self.code});
        (self.status, whole::json_body(&json!({ "error": error }))).into_response()
    }
}
