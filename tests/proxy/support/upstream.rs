//! What a model provider says.

use serde_json::{Value, json};

use super::reply::{Reply, sse};

/// The provider's own name of itself in answers.
pub(crate) const MODEL: &str = "m-2026";

/// A whole answer.
pub(crate) fn completion(content: &str) -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    })
}

/// An answer with all of it.
pub(crate) fn says(content: &str) -> Reply {
    Reply::json(completion(content))
}

/// A chunk with this choice.
pub(crate) fn chunk_of(choice: Value) -> Value {
    json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL, "choices": [choice]})
}

/// A chunk with some text.
pub(crate) fn chunk(content: &str) -> Value {
    chunk_of(json!({"index": 0, "delta": {"content": content}, "finish_reason": null}))
}

/// The chunk that ends the answer.
pub(crate) fn finish(reason: &str) -> Value {
    chunk_of(json!({"index": 0, "delta": {}, "finish_reason": reason}))
}

/// The chunk that counts.
pub(crate) fn usage() -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL, "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    })
}

/// A streamed answer: a chunk for each piece, the finish, `[DONE]`.
pub(crate) fn speaks<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Reply {
    let chunks: Vec<Value> = pieces.into_iter().map(chunk).collect();
    sse(chunks.into_iter().chain([finish("stop")]))
}

/// A refusal in OpenAI's shape.
pub(crate) fn refuses(status: u16, message: &str) -> Reply {
    let error = json!({"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"});
    Reply::json(json!({ "error": error })).with_status(status)
}
