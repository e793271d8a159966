//! A model provider that plays a script for each case: turns that call tools with whatever arguments, then a text.

use std::collections::HashMap;

use memchr::memmem;
use serde_json::{Value, json};

use crate::support::{reply::Reply, server::Request};

/// What the model does in one case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    pub(crate) turns: Vec<Turn>,
    /// How many of its first calls fail, so that a fallback is asked.
    pub(crate) failures: usize,
    pub(crate) played: usize,
}

/// A turn that calls tools.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) text: Option<String>,
    pub(crate) calls: Vec<Call>,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// What a model was asked, and in which case; a model that rewords a query is asked in none.
pub(crate) struct Heard {
    pub(crate) case: Option<u64>,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Provider {
    pub(crate) scripts: HashMap<u64, Script>,
    pub(crate) heard: Vec<Heard>,
}

impl Provider {
    pub(crate) fn answer(&mut self, request: &Request) -> Reply {
        if request.path.ends_with("/models") {
            return Reply::json(json!({"object": "list", "data": []}));
        }
        let case = case_of(&request.body);
        self.heard.push(Heard {
            case,
            body: request.body.clone(),
        });
        if request.path.ends_with("/embeddings") {
            return Reply::json(json!({"object": "list", "data": [], "model": "m"}));
        }
        let streamed = memmem::find(&request.body, b"\"stream\":true").is_some();
        let Some(script) = case.and_then(|case| self.scripts.get_mut(&case)) else {
            return answer(Some("other words"), &[], streamed);
        };
        if script.failures > 0 {
            script.failures -= 1;
            return Reply::json(json!({"error": {"message": "no", "type": "server_error", "param": null, "code": null}})).with_status(500);
        }
        if !request.path.ends_with("/chat/completions") {
            return completion(streamed);
        }
        let turn = script.turns.get(script.played);
        script.played += 1;
        match turn {
            Some(turn) => answer(turn.text.as_deref(), &turn.calls, streamed),
            None => answer(Some(LAST), &[], streamed),
        }
    }
}

/// What every script ends with.
const LAST: &str = "They say so [1], and [2], or [1, 3].";

/// The number of the case in `"user":"u123"`.
fn case_of(body: &[u8]) -> Option<u64> {
    let at = memmem::find(body, b"\"user\":\"u")? + 9;
    let digits = body.get(at..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn answer(text: Option<&str>, calls: &[Call], streamed: bool) -> Reply {
    let mut calls: Vec<Value> = calls
        .iter()
        .map(|call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}))
        .collect();
    let finish = if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    if !streamed {
        let mut message = json!({"role": "assistant", "content": text});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        return Reply::json(json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }));
    }
    for (index, call) in calls.iter_mut().enumerate() {
        call["index"] = index.into();
    }
    let mut deltas = vec![json!({"role": "assistant", "content": text})];
    if !calls.is_empty() {
        deltas.push(json!({"tool_calls": calls}));
    }
    let mut events = String::new();
    for delta in deltas {
        events.push_str(&chunk(
            &json!({"index": 0, "delta": delta, "finish_reason": null}),
        ));
    }
    events.push_str(&chunk(
        &json!({"index": 0, "delta": {}, "finish_reason": finish}),
    ));
    events.push_str("data: [DONE]\n\n");
    Reply::stream("text/event-stream").piece(events)
}

fn chunk(choice: &Value) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{choice}]}}\n\n"
    )
}

fn completion(streamed: bool) -> Reply {
    let choice = r#"{"index":0,"text":"They say so.","finish_reason":"stop"}"#;
    let object = format!(
        r#"{{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{choice}]}}"#
    );
    if streamed {
        return Reply::stream("text/event-stream")
            .piece(format!("data: {object}\n\ndata: [DONE]\n\n"));
    }
    Reply::body("application/json", object)
}
