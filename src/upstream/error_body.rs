//! One reader for the error bodies of every upstream.
//!
//! There are at least nine shapes (OpenAI, vLLM, Scaleway's older models, Mistral, FastAPI, TGI, LightOn, OpenRouter, bare strings), and proxies
//! in front of them add HTML and nothing at all. All of them become OpenAI's object.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::openai::ErrorBody;

/// The longest message that is passed on, in characters; longer ones are pages, not messages.
const MESSAGE_LIMIT: usize = 2000;

/// Reads the body of an answer with an error status.
pub fn read(status: StatusCode, body: &[u8]) -> ErrorBody {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => from_value(status, &value),
        Err(_) => plain(status, None),
    }
}

/// Reads an error that stands in a body or an event under HTTP 200; the status is the one it means.
pub fn read_under_success(body: &[u8]) -> (StatusCode, ErrorBody) {
    let value = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let object = value
        .get("error")
        .filter(|error| error.is_object())
        .unwrap_or(&value);
    let number = ["code", "status", "http_status_code", "status_code"]
        .iter()
        .find_map(|key| meant_status(object.get(*key)?));
    let status = number.unwrap_or(StatusCode::BAD_GATEWAY);
    (status, from_value(status, &value))
}

fn meant_status(value: &Value) -> Option<StatusCode> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    let status = StatusCode::from_u16(u16::try_from(number).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

fn from_value(status: StatusCode, value: &Value) -> ErrorBody {
    match value {
        Value::Object(object) => match object.get("error") {
            Some(Value::Object(error)) => from_object(status, error),
            // vLLM's 401 `{"error": "Unauthorized"}`, TGI's `{"error": "...", "error_type": "validation"}`, LightOn's `{"error": "not_found", "detail": ...}`.
            Some(Value::String(error)) => {
                let detail = object.get("detail").and_then(text);
                // With a detail beside it, the word itself is the machine's code.
                let code = detail.as_ref().map(|_| error.clone());
                let mut body = plain(status, Some(detail.unwrap_or_else(|| error.clone())));
                body.code = code.or(body.code);
                body.kind = object.get("error_type").and_then(text).unwrap_or(body.kind);
                body
            }
            _ => from_object(status, object),
        },
        Value::String(message) => plain(status, Some(message.clone())),
        Value::Array(items) => items
            .first()
            .map_or_else(|| plain(status, None), |first| from_value(status, first)),
        _ => plain(status, None),
    }
}

fn from_object(status: StatusCode, object: &Map<String, Value>) -> ErrorBody {
    let message = ["message", "detail", "error_description", "msg"]
        .iter()
        .find_map(|key| text(object.get(*key)?));
    let mut body = plain(status, message);
    if let Some(kind) = object
        .get("type")
        .and_then(Value::as_str)
        .filter(|kind| !kind.is_empty())
    {
        kind.clone_into(&mut body.kind);
    }
    body.param = object.get("param").and_then(text);
    body.code = object.get("code").and_then(text).or(body.code);
    body
}

/// What a value says: a string, a number, or the sentences of FastAPI's list of `{"loc", "msg"}`.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().filter_map(detail).collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
        Value::Object(object) => ["detail", "message", "msg"]
            .iter()
            .find_map(|key| text(object.get(*key)?)),
        _ => None,
    }
}

fn detail(item: &Value) -> Option<String> {
    let message = text(item.get("msg").unwrap_or(item))?;
    let place: Vec<String> = item
        .get("loc")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(text)
        .collect();
    Some(if place.is_empty() {
        message
    } else {
        format!("{}: {message}", place.join("."))
    })
}

fn plain(status: StatusCode, message: Option<String>) -> ErrorBody {
    let message = message.unwrap_or_else(|| {
        // Without its reason: of a status that nobody named that is a tag of its own.
        let status = status.as_u16();
        format!("the model provider answered {status} without saying why; try again later")
    });
    ErrorBody {
        message: message.chars().take(MESSAGE_LIMIT).collect(),
        kind: kind_of(status),
        param: None,
        code: Some("upstream_error".to_owned()),
    }
}

fn kind_of(status: StatusCode) -> String {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        _ if status.is_client_error() => "invalid_request_error",
        _ => "upstream_error",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 2.6 of the provider study, and what stands in front of providers.
    #[test]
    fn every_known_shape_becomes_openais() {
        for (body, message, kind, param, code) in [
            (
                r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#,
                "m",
                "t",
                Some("p"),
                Some("c"),
            ),
            (
                r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}"#,
                "m",
                "BadRequestError",
                None,
                Some("400"),
            ),
            (
                r#"{"object":"error","message":"m","type":"t","param":null,"code":400}"#,
                "m",
                "t",
                None,
                Some("400"),
            ),
            (
                r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"no"}]},"type":"t"}"#,
                "body.x: no",
                "t",
                None,
                Some("upstream_error"),
            ),
            (
                r#"{"detail":[{"loc":["body","store"],"msg":"no"}]}"#,
                "body.store: no",
                "invalid_request_error",
                None,
                Some("upstream_error"),
            ),
            (
                r#"{"error":"Unauthorized"}"#,
                "Unauthorized",
                "invalid_request_error",
                None,
                Some("upstream_error"),
            ),
            (
                r#"{"error":"bad","error_type":"validation"}"#,
                "bad",
                "validation",
                None,
                Some("upstream_error"),
            ),
            (
                r#"{"detail":"m"}"#,
                "m",
                "invalid_request_error",
                None,
                Some("upstream_error"),
            ),
            (
                r#"{"error":{"code":402,"message":"m","metadata":{}}}"#,
                "m",
                "invalid_request_error",
                None,
                Some("402"),
            ),
            (
                r#"{"code":404,"error":"not_found","detail":"m"}"#,
                "m",
                "invalid_request_error",
                None,
                Some("not_found"),
            ),
            (
                r#""m""#,
                "m",
                "invalid_request_error",
                None,
                Some("upstream_error"),
            ),
            (
                r#"[{"error":{"message":"m","code":"c"}}]"#,
                "m",
                "invalid_request_error",
                None,
                Some("c"),
            ),
        ] {
            let read = read(StatusCode::BAD_REQUEST, body.as_bytes());
            assert_eq!(
                (read.message.as_str(), read.kind.as_str()),
                (message, kind),
                "{body}"
            );
            assert_eq!(
                (read.param.as_deref(), read.code.as_deref()),
                (param, code),
                "{body}"
            );
        }
    }

    #[test]
    fn pages_and_nothing_become_a_sentence() {
        for body in [
            "",
            "<html><h1>502 Bad Gateway</h1></html>",
            "null",
            "{}",
            "[]",
            "\u{0}",
        ] {
            let read = read(StatusCode::BAD_GATEWAY, body.as_bytes());
            assert!(read.message.contains("502"), "{body}: {}", read.message);
            assert!(!read.message.contains("html"));
            assert_eq!(read.code.as_deref(), Some("upstream_error"));
        }
    }

    #[test]
    fn an_error_under_success_has_the_status_it_means() {
        let meant = |body: &str| read_under_success(body.as_bytes()).0.as_u16();
        assert_eq!(meant(r#"{"error":{"message":"m","code":429}}"#), 429);
        assert_eq!(
            meant(r#"{"error":{"message":"m","http_status_code":422}}"#),
            422
        );
        assert_eq!(meant(r#"{"error":{"message":"m","code":"oops"}}"#), 502);
        assert_eq!(meant(r#"{"error":"m"}"#), 502);
        assert_eq!(meant(r#"{"error":{"code":200}}"#), 502);
    }
}
