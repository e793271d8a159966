//! Answers in one body.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::tokens::{Called, Completion, Finish, Written};

/// What every part of one answer carries: its id, time and model.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    /// A new id.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The model as the caller named it.
    pub(super) model: String,
}

impl Envelope {
    /// A new envelope; its id starts with `prefix`.
    pub(super) fn new(prefix: &str, model: String) -> Self {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            id: format!("{prefix}-{}", Uuid::new_v4().simple()),
            created,
            model,
        }
    }
}

/// A response with `value` as its body.
pub(super) fn json_body(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// The body of a chat completion.
pub(super) fn chat(envelope: &Envelope, completions: &[Completion], prompt_tokens: u64) -> Value {
    let choices: Vec<Value> = completions
        .iter()
        .enumerate()
        .map(|(index, completion)| json!({"index": index, "message": message(completion), "logprobs": null, "finish_reason": completion.finish.name()}))
        .collect();
    json!({
        "id": envelope.id,
        "object": "chat.completion",
        "created": envelope.created,
        "model": envelope.model,
        "choices": choices,
        "usage": usage(completions, prompt_tokens),
    })
}

fn message(completion: &Completion) -> Value {
    let fields = [
        ("role", Some(json!("assistant"))),
        ("content", Some(content(completion))),
        ("refusal", Some(Value::Null)),
        (
            "reasoning",
            (!completion.reasoning.is_empty()).then(|| json!(completion.reasoning.concat())),
        ),
        (
            "tool_calls",
            (!completion.calls.is_empty()).then(|| completion.calls.iter().map(call).collect()),
        ),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// The text, or `null` where the model never came to write one.
fn content(completion: &Completion) -> Value {
    if completion.content.is_empty() && completion.finish != Finish::Stop {
        Value::Null
    } else {
        json!(completion.content.concat())
    }
}

fn call(call: &Called) -> Value {
    let arguments = match &call.arguments {
        Written::Text(tokens) => json!(tokens.concat()),
        Written::Object(object) => object.clone(),
    };
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

/// The usage of all `completions` together.
pub(super) fn usage(completions: &[Completion], prompt_tokens: u64) -> Value {
    let written: u64 = completions.iter().map(Completion::tokens).sum();
    let thought: u64 = completions.iter().map(Completion::reasoning_tokens).sum();
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    })
}
