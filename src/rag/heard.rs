//! What a request's steps tell of the calls it makes: whom it asks, and what the answers say of themselves. Never what they say.

use serde_json::Value;

use crate::{
    openai::{Json, Object, chunk::Chunk},
    trace::Call,
    upstream::Route,
};

/// The longest name, id or reason that is kept of an answer.
const LONGEST: usize = 200;

/// How many reasons are kept: one for each answer that was asked for.
const REASONS: usize = 100;

/// A call of the model of `route`, by the path in its API.
pub(super) fn call(route: &Route, path: &str, resends: u32) -> Call {
    let operation = match path {
        "/completions" => "text_completion",
        "/embeddings" => "embeddings",
        _ => "chat",
    };
    let address = &route.upstream.settings.base_url;
    Call {
        operation,
        upstream: route.upstream.name().to_owned(),
        host: address.host_str().unwrap_or_default().to_owned(),
        port: address.port_or_known_default(),
        model: route.model.clone(),
        resends,
        ..Call::default()
    }
}

/// What a chunk of a stream says of its answer.
pub(super) fn chunk(call: &mut Call, chunk: &Chunk<'_>) {
    identity(call, chunk.id.as_deref(), chunk.model.as_deref());
    let choices = chunk.choices.iter().flatten();
    for reason in choices.filter_map(|choice| choice.finish_reason.as_deref()) {
        finish(call, reason);
    }
}

/// What a whole answer says of itself. It has no first event: it is there at once.
pub(super) fn answer(call: &mut Call, answer: &Object) {
    call.first_event = None;
    let (id, model): (Option<String>, Option<String>) =
        (answer.read_value("id"), answer.read_value("model"));
    identity(call, id.as_deref(), model.as_deref());
    let choices = answer.value("choices").and_then(Json::items);
    for choice in choices.iter().flatten().filter_map(Object::parse) {
        if let Some(reason) = choice.read_value::<String>("finish_reason") {
            finish(call, &reason);
        }
    }
    usage(call, answer.read_value("usage").as_ref());
}

/// What an upstream counted.
pub(super) fn usage(call: &mut Call, usage: Option<&Value>) {
    let count = |key| {
        usage
            .and_then(|usage| usage.get(key))
            .and_then(Value::as_u64)
    };
    call.input_tokens = count("prompt_tokens").or(call.input_tokens);
    call.output_tokens = count("completion_tokens").or(call.output_tokens);
}

fn identity(call: &mut Call, id: Option<&str>, model: Option<&str>) {
    if call.id.is_none() {
        call.id = id.filter(is_name).map(str::to_owned);
    }
    if call.answered_as.is_none() {
        call.answered_as = model.filter(is_name).map(str::to_owned);
    }
}

fn finish(call: &mut Call, reason: &str) {
    // Some servers write an empty one into every chunk.
    if is_name(&reason) && call.finish_reasons.len() < REASONS {
        call.finish_reasons.push(reason.to_owned());
    }
}

/// Whether it can be a name, an id or a reason: an upstream may write anything there, and sentences are kept out.
fn is_name(text: &&str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
