//! The error object of the OpenAI API.

use serde::Serialize;

use super::json::Json;

/// `{"message", "type", "param", "code"}`, all four always present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// What went wrong and what to do next.
    pub message: String,
    /// The family of the error, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field at fault.
    pub param: Option<String>,
    /// The error itself, for programs.
    pub code: Option<String>,
}

impl ErrorBody {
    /// The whole body of an error answer: `{"error": {...}}`.
    pub fn to_json(&self) -> Json {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: &'a ErrorBody,
        }
        Json::of(&Envelope { error: self })
    }
}
