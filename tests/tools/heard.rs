//! What a client hears, whole or streamed, in one form, read as strictly as the strictest client reads it.

use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Every byte.
    pub(crate) raw: String,
    pub(crate) said: Said,
    /// The chunks of a stream.
    pub(crate) chunks: Vec<Value>,
}

/// What an answer says, however it was sent.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Value>,
    pub(crate) finish: Value,
    pub(crate) usage: Value,
    pub(crate) rag: Value,
    pub(crate) annotations: Value,
    pub(crate) error: Value,
}

impl Heard {
    pub(crate) async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let streamed = headers
            .get("content-type")
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/event-stream"));
        let raw = response.text().await.unwrap();
        if status == 200 {
            assert!(
                !raw.contains("lighton_search"),
                "the client sees the search: {raw}"
            );
        }
        let chunks = if streamed { chunks(&raw) } else { Vec::new() };
        let said = if streamed {
            gather(&chunks)
        } else {
            whole(&serde_json::from_str(&raw).unwrap())
        };
        Self {
            status,
            headers,
            raw,
            said,
            chunks,
        }
    }

    /// Checks that it is a whole, good answer, and gives it.
    pub(crate) fn good(&self) -> &Said {
        assert_eq!(self.status, 200, "{}", self.raw);
        assert_eq!(self.said.error, Value::Null, "{}", self.raw);
        assert!(
            self.chunks.is_empty() || self.raw.ends_with("data: [DONE]\n\n"),
            "{}",
            self.raw
        );
        &self.said
    }

    /// Checks that it failed, by status or by a closing event without `[DONE]`, and gives the code.
    pub(crate) fn code(&self) -> &str {
        assert!(!self.raw.contains("[DONE]"), "{}", self.raw);
        if self.status == 200 {
            assert_eq!(self.said.finish, "error", "{}", self.raw);
        }
        let code = self.said.error["code"].as_str();
        code.unwrap_or_else(|| panic!("no error: {}", self.raw))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .to_str()
            .unwrap()
    }
}

/// The chunks of a stream; fails on what fails OpenAI's own clients.
fn chunks(raw: &str) -> Vec<Value> {
    let mut chunks = Vec::new();
    for event in raw.split_terminator("\n\n") {
        if event.starts_with(':') {
            continue;
        }
        let data = event
            .strip_prefix("data: ")
            .unwrap_or_else(|| panic!("no event: {event}"));
        assert!(!data.contains('\n'), "{data}");
        if data != "[DONE]" {
            chunks.push(serde_json::from_str(data).unwrap());
        }
    }
    chunks
}

/// Gathers a stream, and holds it to what a stream must be: one identity, one role, calls numbered from 0, one finish.
fn gather(chunks: &[Value]) -> Said {
    let mut said = Said::default();
    let mut roles = 0;
    for (at, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
        for key in ["id", "created", "model"] {
            assert!(!chunk[key].is_null(), "{chunk}");
            assert_eq!(chunk[key], chunks[0][key], "{chunk}");
        }
        if !chunk["usage"].is_null() {
            assert_eq!(at, chunks.len() - 1, "usage before the end: {chunk}");
            assert_eq!(chunk["choices"], json!([]), "{chunk}");
            said.usage = chunk["usage"].clone();
            continue;
        }
        let choice = &chunk["choices"][0];
        assert_eq!(choice["index"], 0, "{chunk}");
        let delta = &choice["delta"];
        if let Some(role) = delta.get("role") {
            assert_eq!(role, "assistant", "{chunk}");
            roles += 1;
        }
        said.content += delta["content"].as_str().unwrap_or_default();
        for part in delta["content"].as_array().into_iter().flatten() {
            said.content += part["text"].as_str().unwrap_or_default();
        }
        for field in ["reasoning", "reasoning_content"] {
            said.reasoning += delta[field].as_str().unwrap_or_default();
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            assert_eq!(call["index"], said.calls.len(), "{chunk}");
            let mut call = call.clone();
            call.as_object_mut().unwrap().remove("index");
            said.calls.push(call);
        }
        if !choice["finish_reason"].is_null() {
            assert_eq!(said.finish, Value::Null, "a second finish: {chunk}");
            said.finish = choice["finish_reason"].clone();
            said.annotations = delta["annotations"].clone();
            said.rag = chunk["rag"].clone();
            said.error = chunk["error"].clone();
        } else {
            assert_eq!(delta.get("annotations"), None, "{chunk}");
        }
    }
    if said.error.is_null() {
        assert_eq!(roles, 1, "{chunks:#?}");
    }
    said
}

fn whole(body: &Value) -> Said {
    let message = &body["choices"][0]["message"];
    let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
    let parts = message["content"].as_array().into_iter().flatten();
    let parts: String = parts.filter_map(|part| part["text"].as_str()).collect();
    Said {
        content: text("content") + &parts,
        reasoning: text("reasoning") + &text("reasoning_content"),
        calls: message["tool_calls"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        finish: body["choices"][0]["finish_reason"].clone(),
        usage: body["usage"].clone(),
        rag: body["rag"].clone(),
        annotations: message["annotations"].clone(),
        error: body["error"].clone(),
    }
}
