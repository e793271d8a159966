//! What LightOn says when it says no: its error envelope, the looser forms of it, and pages of somebody in between.
//!
//! The documented envelope is `{"id", "code", "error", "detail", "doc_url"}`, with `fields` on 422; maintenance leaves out `code`.
//! Seen beside it: `{"error": "..", "code": ..}` without `detail`, bare Django errors `{"field": ["..", ..]}`, and proxies' HTML.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::retry::{self, Failure};
use crate::retrieval::Error;

/// The longest text that is kept of what a service said, in characters.
const DETAIL_CHARS: usize = 500;

/// What was asked, because 404 means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A search: it has no 404 of its own, so one means that the address is wrong.
    Search,
    /// A file or a workspace: 404 means that there is none.
    Document,
}

/// Turns an answer that is no success into a failure.
pub(super) fn refusal(
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Failure {
    let said = Said::read(body);
    if status.is_redirection() {
        let target = headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        let target = clean(target.unwrap_or("an unnamed place"));
        return Failure::last(unavailable(format!(
            "it answered {status} and points to {target}; redirects are not followed, set `search.base_url` to the final address"
        )));
    }
    let retry_after = retry::retry_after(headers, SystemTime::now());
    said.failure(asked, status, retry_after)
}

/// Turns an error object that came with a success status into a failure; `None` where it is no error object.
pub(super) fn in_disguise(asked: Asked, body: &[u8]) -> Option<Failure> {
    let said = Said::read(body);
    if !said.is_error {
        return None;
    }
    let status = said.code.unwrap_or(StatusCode::OK);
    Some(said.failure(asked, status, None))
}

/// Wraps what happened into the error for a service that does not do its work.
pub(super) fn unavailable(detail: impl Into<String>) -> Error {
    Error::Unavailable {
        detail: detail.into(),
        source: None,
    }
}

/// What could be read out of an error's body.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// Whether it is an object that says `error` or `detail`.
    is_error: bool,
    /// The machine's word, `validation_error`.
    kind: Option<String>,
    /// The status that the body claims.
    code: Option<StatusCode>,
    /// The sentence for people, the fields at fault included.
    detail: String,
    /// The first field at fault.
    field: Option<String>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Self::from_object(&object),
            Ok(Value::String(text)) => Self::from_text(&text),
            Ok(_) | Err(_) => Self::from_text(&String::from_utf8_lossy(body)),
        }
    }

    fn from_text(text: &str) -> Self {
        let text = clean(text);
        let detail = if text.is_empty() {
            "no reason given".to_owned()
        } else {
            text
        };
        Self {
            detail,
            ..Self::default()
        }
    }

    fn from_object(object: &Map<String, Value>) -> Self {
        let error = object.get("error").filter(|error| !error.is_null());
        let detail = object.get("detail").filter(|detail| !detail.is_null());
        let message = [detail, error, object.get("message")]
            .into_iter()
            .flatten()
            .find_map(sentence);
        let faults = match object.get("fields") {
            Some(Value::Object(fields)) => faults(fields),
            // Bare Django errors: the object itself is the list of fields.
            Some(_) | None if message.is_none() => faults(object),
            Some(_) | None => Vec::new(),
        };
        let summary: Vec<_> = faults
            .iter()
            .map(|(field, cause)| format!("{field}: {cause}"))
            .collect();
        let detail_text = match (message, summary.is_empty()) {
            (Some(message), true) => message,
            (Some(message), false) => format!("{message} ({})", summary.join("; ")),
            (None, false) => summary.join("; "),
            (None, true) => "no reason given".to_owned(),
        };
        let code = object
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        Self {
            is_error: error.is_some() || detail.is_some(),
            kind: error.and_then(Value::as_str).map(ToOwned::to_owned),
            code: code
                .and_then(|code| StatusCode::from_u16(code).ok())
                .filter(|code| code.is_client_error() || code.is_server_error()),
            detail: clean(&detail_text),
            field: faults.into_iter().next().map(|(field, _)| clean(&field)),
        }
    }

    fn failure(self, asked: Asked, status: StatusCode, retry_after: Option<Duration>) -> Failure {
        let detail = self.detail;
        // LightOn's SDK knows maintenance by this word, whatever the status.
        if self.kind.as_deref() == Some("service_maintenance") {
            return Failure::last(Error::Maintenance { detail });
        }
        match (status.as_u16(), asked) {
            (401, _) => Failure::last(Error::Authentication { detail }),
            (403, _) => Failure::last(Error::Scope { detail }),
            (429, _) => Failure::waiting(
                Error::RateLimited {
                    detail,
                    retry_after,
                },
                retry_after,
            ),
            (status @ (400 | 422), _) | (status @ 404, Asked::Document) => {
                Failure::last(Error::Query {
                    status,
                    detail,
                    field: self.field,
                })
            }
            (404, Asked::Search) => Failure::last(unavailable(format!(
                "there is no search at this address (404), check `search.base_url`: {detail}"
            ))),
            (402, _) => Failure::last(unavailable(format!(
                "the account may not search (402): {detail}"
            ))),
            (500 | 502 | 503 | 504, _) => Failure::waiting(
                unavailable(format!("it answered {status}: {detail}")),
                retry_after,
            ),
            _ => Failure::last(unavailable(format!("it answered {status}: {detail}"))),
        }
    }
}

/// The fields at fault, each with its causes in one text: `{"name": [{"error", "detail"}]}` or `{"name": ["..."]}`.
fn faults(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let causes = |value: &Value| match value {
        Value::Array(causes) => causes
            .iter()
            .filter_map(sentence)
            .collect::<Vec<_>>()
            .join(", "),
        other => sentence(other).unwrap_or_default(),
    };
    fields
        .iter()
        .filter(|(_, value)| value.is_array() || value.is_object())
        .map(|(field, value)| (field.clone(), causes(value)))
        .filter(|(_, causes)| !causes.is_empty())
        .collect()
}

/// The first sentence that a value holds for people.
fn sentence(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Object(object) => {
            let known = ["detail", "message", "msg", "error"]
                .iter()
                .filter_map(|key| object.get(*key));
            known
                .filter_map(Value::as_str)
                .map(ToOwned::to_owned)
                .next()
        }
        Value::Array(items) => items.iter().find_map(sentence),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// One line of bounded length: what others say must not break the log.
fn clean(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    // Bounded first: a body may be long.
    let bounded: String = text.chars().take(DETAIL_CHARS * 4).map(printable).collect();
    let line = bounded.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(body: Value) -> Said {
        Said::read(body.to_string().as_bytes())
    }

    #[test]
    fn every_known_form_gives_its_sentence() {
        for (body, detail, field) in [
            (
                json!({"code": 400, "error": "bad_request", "detail": "Unknown path"}),
                "Unknown path",
                None,
            ),
            (
                json!({"error": "Permission denied", "code": 403}),
                "Permission denied",
                None,
            ),
            (json!({"error": {"message": "No"}}), "No", None),
            (json!({"detail": [{"msg": "too long"}]}), "too long", None),
            (
                json!({"workspace_id": ["This field is required."]}),
                "workspace_id: This field is required.",
                Some("workspace_id"),
            ),
            (
                json!({"detail": "Failed.", "fields": {"query": [{"error": "max_length", "detail": "Too long"}, {"error": "blank"}]}}),
                "Failed. (query: Too long, blank)",
                Some("query"),
            ),
            (json!("Gone fishing"), "Gone fishing", None),
            (json!({}), "no reason given", None),
            (
                json!({"detail": "", "error": null}),
                "no reason given",
                None,
            ),
            (json!([1, 2]), "[1,2]", None),
        ] {
            let said = said(body.clone());
            assert_eq!(
                (said.detail.as_str(), said.field.as_deref()),
                (detail, field),
                "{body}"
            );
        }
    }

    #[test]
    fn a_page_or_nothing_is_kept_short_and_on_one_line() {
        assert_eq!(Said::read(b"").detail, "no reason given");
        assert_eq!(
            Said::read(b"<html>\r\n<h1>Bad\x07 Gateway</h1>").detail,
            "<html> <h1>Bad Gateway</h1>"
        );
        assert_eq!(
            Said::read("ö".repeat(100_000).as_bytes())
                .detail
                .chars()
                .count(),
            DETAIL_CHARS
        );
        assert_eq!(Said::read(b"\xff\xfe").detail, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn an_error_in_disguise_counts_by_the_code_it_claims() {
        let failure = |body: Value| {
            in_disguise(Asked::Search, body.to_string().as_bytes()).map(|failure| failure.error)
        };

        assert!(matches!(
            failure(json!({"code": 401, "error": "x"})),
            Some(Error::Authentication { .. })
        ));
        assert!(matches!(
            failure(json!({"code": 429, "error": "x"})),
            Some(Error::RateLimited { .. })
        ));
        assert!(matches!(
            failure(json!({"error": "service_maintenance"})),
            Some(Error::Maintenance { .. })
        ));
        assert!(matches!(
            failure(json!({"code": 7, "error": "x"})),
            Some(Error::Unavailable { .. })
        ));
        assert!(failure(json!({"results": []})).is_none());
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200), status in 100_u16..1000) {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = refusal(Asked::Search, status, &HeaderMap::new(), &body);
            prop_assert!(failure.error.to_string().chars().count() < DETAIL_CHARS + 200);
        }
    }
}
