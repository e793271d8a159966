//! Answers as events: a chunk that names the role, a chunk for each token, one that tells why it ends, the usage if asked for, `[DONE]`.

use axum::{
    body::{Body, Bytes},
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};

use super::{
    options::FinalUsage,
    tokens::{Completion, Written},
    whole::{self, Envelope},
};

/// The events of a chat completion, each whole.
pub(super) fn chat(
    envelope: &Envelope,
    completions: &[Completion],
    prompt_tokens: u64,
    usage: FinalUsage,
) -> Vec<Bytes> {
    let chunks = Chunks {
        envelope,
        object: "chat.completion.chunk",
        usage,
    };
    let mut events = Vec::new();
    for (index, completion) in completions.iter().enumerate() {
        let mut deltas = vec![json!({"role": "assistant", "content": ""})];
        deltas.extend(
            completion
                .reasoning
                .iter()
                .map(|token| json!({ "reasoning": token })),
        );
        deltas.extend(
            completion
                .content
                .iter()
                .map(|token| json!({ "content": token })),
        );
        deltas.extend(call_deltas(completion));
        let choice = |delta: Value, finish: Value| json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish});
        events.extend(
            deltas
                .into_iter()
                .map(|delta| chunks.event(choice(delta, Value::Null))),
        );
        events.push(chunks.event(choice(json!({}), json!(completion.finish.name()))));
    }
    chunks.end(events, &whole::usage(completions, prompt_tokens))
}

/// A call comes in fragments: id and name first, then its arguments token by token.
fn call_deltas(completion: &Completion) -> impl Iterator<Item = Value> {
    completion.calls.iter().enumerate().flat_map(|(index, call)| {
        let head = |arguments: Value| json!({"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}});
        let fragments = match &call.arguments {
            Written::Object(object) => vec![head(object.clone())],
            Written::Text(tokens) => {
                let rest = tokens.iter().map(|token| json!({"index": index, "function": {"arguments": token}}));
                std::iter::once(head(json!(""))).chain(rest).collect()
            }
        };
        fragments.into_iter().map(|fragment| json!({ "tool_calls": [fragment] }))
    })
}

/// The events of a legacy completion, each whole; `heads` are what stands before the text of each choice.
pub(super) fn text(
    envelope: &Envelope,
    completions: &[Completion],
    heads: &[String],
    prompt_tokens: u64,
    usage: FinalUsage,
) -> Vec<Bytes> {
    let chunks = Chunks {
        envelope,
        object: "text_completion",
        usage,
    };
    let mut events = Vec::new();
    for (index, completion) in completions.iter().enumerate() {
        let choice = |text: &str, finish: Value| json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish});
        let head = heads.get(index).filter(|head| !head.is_empty());
        events.extend(
            head.into_iter()
                .chain(&completion.content)
                .map(|token| chunks.event(choice(token, Value::Null))),
        );
        events.push(chunks.event(choice("", json!(completion.finish.name()))));
    }
    chunks.end(events, &whole::usage(completions, prompt_tokens))
}

/// Writes the chunks of one stream.
struct Chunks<'a> {
    envelope: &'a Envelope,
    object: &'static str,
    usage: FinalUsage,
}

impl Chunks<'_> {
    fn event(&self, choice: Value) -> Bytes {
        self.write(json!([choice]), Value::Null)
    }

    fn end(&self, mut events: Vec<Bytes>, usage: &Value) -> Vec<Bytes> {
        if self.usage == FinalUsage::Told {
            events.push(self.write(json!([]), usage.clone()));
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn write(&self, choices: Value, usage: Value) -> Bytes {
        let Envelope { id, created, model } = self.envelope;
        let mut chunk = json!({"id": id, "object": self.object, "created": created, "model": model, "choices": choices});
        if let (FinalUsage::Told, Some(chunk)) = (self.usage, chunk.as_object_mut()) {
            chunk.insert("usage".to_owned(), usage);
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    }
}

/// Sends `events` one by one.
pub(super) fn respond(events: Vec<Bytes>) -> Response {
    let events = stream::unfold(events.into_iter(), |mut events| async {
        let event = events.next()?;
        // Without this pause the server would gather events into one write, and a client would never see them come one by one.
        tokio::task::yield_now().await;
        Some((Ok::<_, std::convert::Infallible>(event), events))
    });
    (
        [
            (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (CACHE_CONTROL, "no-cache"),
        ],
        Body::from_stream(events),
    )
        .into_response()
}
