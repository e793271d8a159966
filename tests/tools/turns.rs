//! What the scripted model says in one turn, whole or streamed.

use serde_json::{Value, json};

use crate::{
    edge::Way,
    support::reply::{Reply, sse},
};

/// A call to the search.
pub(crate) fn search(id: &str, query: &str) -> Value {
    call(id, "lighton_search", &json!({ "query": query }).to_string())
}

/// A call.
pub(crate) fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// A turn that says `content`.
pub(crate) fn says(way: Way, content: &str) -> Reply {
    match way {
        Way::Whole => whole(json!({"role": "assistant", "content": content}), "stop"),
        Way::Streamed => {
            let words = content.split_inclusive(' ');
            let mut deltas = vec![json!({"role": "assistant", "content": ""})];
            deltas.extend(words.map(|word| json!({"content": word})));
            streamed(deltas, "stop")
        }
    }
}

/// A turn that calls tools, each call in one piece.
pub(crate) fn calls(way: Way, calls: impl IntoIterator<Item = Value>) -> Reply {
    let mut calls: Vec<Value> = calls.into_iter().collect();
    match way {
        Way::Whole => whole(
            json!({"role": "assistant", "content": null, "tool_calls": calls}),
            "tool_calls",
        ),
        Way::Streamed => {
            for (index, call) in calls.iter_mut().enumerate() {
                call["index"] = json!(index);
            }
            let mut deltas = vec![json!({"role": "assistant", "content": null})];
            deltas.extend(calls.iter().map(|call| json!({"tool_calls": [call]})));
            streamed(deltas, "tool_calls")
        }
    }
}

/// A turn that searches once.
pub(crate) fn searches(way: Way, query: &str) -> Reply {
    calls(way, [search("call_s", query)])
}

/// A whole turn with this message.
pub(crate) fn whole(message: Value, finish: impl Into<Value>) -> Reply {
    Reply::json(json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1_700_000_000, "model": "m-2026",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish.into()}],
        "usage": usage(),
    }))
}

/// A streamed turn with these deltas, a finish, the usage and `[DONE]`.
pub(crate) fn streamed(deltas: Vec<Value>, finish: impl Into<Value>) -> Reply {
    let mut events: Vec<Value> = deltas.into_iter().map(chunk).collect();
    events.push(ending(finish));
    events.push(usage_chunk());
    sse(events)
}

/// A chunk with this delta.
pub(crate) fn chunk(delta: Value) -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-2026",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}],
    })
}

/// The chunk that ends a turn.
pub(crate) fn ending(finish: impl Into<Value>) -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"][0]["finish_reason"] = finish.into();
    chunk
}

/// The chunk that counts.
pub(crate) fn usage_chunk() -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"] = json!([]);
    chunk["usage"] = usage();
    chunk
}

/// What every turn costs.
pub(crate) fn usage() -> Value {
    json!({"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 4}})
}

/// What `turns` turns cost.
pub(crate) fn usage_of(turns: u64) -> Value {
    json!({"prompt_tokens": 10 * turns, "completion_tokens": 3 * turns, "total_tokens": 13 * turns, "prompt_tokens_details": {"cached_tokens": 4 * turns}})
}
