//! A whole answer, with what the gateway adds.

use bytes::Bytes;
use serde_json::json;

use super::{citations, links::Links, report::Report};
use crate::openai::{Identity, Json, Object, chunk::content_text};

/// Adds the report and the annotations to an upstream's whole answer.
pub fn finish(answer: Object, mut report: Report, links: Option<&Links>) -> Bytes {
    let mut changes = Vec::with_capacity(2);
    if let Some(mut choices) = answer.value("choices").and_then(Json::items) {
        for choice in &mut choices {
            finish_choice(choice, &mut report, links);
        }
        if links.is_some() {
            changes.push(("choices", Json::array(&choices)));
        }
    }
    changes.push(("rag", report.to_json()));
    answer.with(&changes).into_bytes()
}

fn finish_choice(choice: &mut Json, report: &mut Report, links: Option<&Links>) {
    // Without citations nothing is added, and only one that ran out is told about.
    if links.is_none() && memchr::memmem::find(choice.bytes(), b"\"length\"").is_none() {
        return;
    }
    let Some(object) = Object::parse(choice) else {
        return;
    };
    let message = object.value("message").and_then(Object::parse);
    let text = text_of(&object, message.as_ref());
    let calls = message
        .as_ref()
        .and_then(|message| message.value("tool_calls"))
        .and_then(Json::items)
        .is_some_and(|calls| !calls.is_empty());
    if text.is_empty()
        && !calls
        && object.read_value::<String>("finish_reason").as_deref() == Some("length")
    {
        report.warnings.push(super::RAN_OUT.to_owned());
    }
    let (Some(links), Some(message)) = (links, message) else {
        return;
    };
    let (annotations, unknown) = citations::annotate(&text, &report.selection, links);
    let all = citations::joined(message.value("annotations"), &annotations);
    *choice = object.with(&[("message", message.with(&[("annotations", all)]))]);
    report.warnings.extend(unknown);
}

fn text_of(choice: &Object, message: Option<&Object>) -> String {
    let content = match message {
        Some(message) => message.value("content"),
        None => choice.value("text"),
    };
    let raw = content.and_then(|content| content.read::<&serde_json::value::RawValue>().ok());
    raw.map(|raw| content_text(raw).into_owned())
        .unwrap_or_default()
}

/// An answer of the gateway's own, without any model.
pub(super) fn own(identity: &Identity, content: &str) -> Object {
    let answer = Json::of(&json!({
        "id": identity.id, "object": "chat.completion", "created": identity.created, "model": identity.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }));
    Object::parse(&answer).unwrap_or_else(Object::empty)
}
