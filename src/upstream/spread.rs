//! A whole answer where a stream was asked for, as the shortest stream that says the same.
//!
//! Servers that know no streaming ignore `stream: true` (older gateways and hand-made ones do); a client that reads events would take their
//! JSON for an empty answer.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use crate::{
    openai::{Json, Object},
    sse::{self, Event, encode},
};

/// The events that say what `answer` does: its choices in one chunk, its usage in another where `request` asks for it, and `[DONE]`.
///
/// `None` where it holds no choices.
pub(super) fn events(answer: &Object, request: &Bytes) -> Option<VecDeque<Event>> {
    let choices: Vec<Json> = answer
        .value("choices")?
        .items()?
        .iter()
        .map(streamed_choice)
        .collect::<Option<_>>()?;
    let mut chunk = answer.clone();
    let usage = chunk.remove("usage").filter(|usage| !usage.is_null());
    if answer.read_value::<String>("object").as_deref() == Some("chat.completion") {
        chunk.set("object", Json::of("chat.completion.chunk"));
    }
    chunk.set("choices", Json::array(&choices));

    let mut bytes = BytesMut::from(&encode::data(chunk.to_json().bytes())[..]);
    if let Some(usage) = usage
        && wants_usage(request)
    {
        chunk.set("choices", Json::of(&json!([])));
        chunk.set("usage", usage);
        bytes.extend_from_slice(&encode::data(chunk.to_json().bytes()));
    }
    bytes.extend_from_slice(&encode::DONE);

    // Of any length: the answer was held to the limit of whole answers.
    let limit = bytes.len();
    let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes.freeze())]);
    sse::Events::new(body, limit)
        .filter_map(|event| std::future::ready(event.ok()))
        .collect()
        .now_or_never()
}

/// A choice of a whole answer as a chunk has it; a choice of a completion (`text`) is the same in both.
fn streamed_choice(choice: &Json) -> Option<Json> {
    let mut choice = Object::parse(choice)?;
    if let Some(message) = choice.remove("message") {
        let mut delta = Object::parse(&message)?;
        if let Some(calls) = delta.value("tool_calls").and_then(Json::items) {
            let calls: Vec<Json> = calls
                .iter()
                .enumerate()
                .filter_map(|(index, call)| numbered(index, call))
                .collect();
            delta.set("tool_calls", Json::array(&calls));
        }
        choice.set("delta", delta.to_json());
    }
    Some(choice.to_json())
}

/// A tool call with the index that ties fragments together in streams.
fn numbered(index: usize, call: &Json) -> Option<Json> {
    let mut call = Object::parse(call)?;
    call.set("index", Json::of(&index));
    Some(call.to_json())
}

fn wants_usage(request: &Bytes) -> bool {
    #[derive(serde::Deserialize)]
    struct Options {
        #[serde(default)]
        include_usage: bool,
    }
    Object::read(request.clone())
        .ok()
        .and_then(|request| request.read_value::<Options>("stream_options"))
        .is_some_and(|options| options.include_usage)
}
