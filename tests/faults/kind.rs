//! The kinds of answers, and what the scripted model says in each.

use serde_json::{Value, json};

use crate::support::{
    reply::{Gate, Reply, sse, sse_unfinished},
    upstream::{self, MODEL},
};

/// How an answer is asked for. Every fault is met by every kind that it can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole,
    Streamed,
    RelayedWhole,
    RelayedStream,
    ToolWhole,
    ToolStream,
    CompletionWhole,
    CompletionStream,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Whole,
        Self::Streamed,
        Self::RelayedWhole,
        Self::RelayedStream,
        Self::ToolWhole,
        Self::ToolStream,
        Self::CompletionWhole,
        Self::CompletionStream,
    ];

    /// Those that fit.
    pub(crate) fn those(fits: fn(Self) -> bool) -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| fits(*kind)).collect()
    }

    pub(crate) fn streams(self) -> bool {
        match self {
            Self::Streamed | Self::RelayedStream | Self::ToolStream | Self::CompletionStream => {
                true
            }
            Self::Whole | Self::RelayedWhole | Self::ToolWhole | Self::CompletionWhole => false,
        }
    }

    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::Whole | Self::Streamed | Self::CompletionWhole | Self::CompletionStream => {
                "inject"
            }
            Self::RelayedWhole | Self::RelayedStream => "off",
            Self::ToolWhole | Self::ToolStream => "tool",
        }
    }

    pub(crate) fn searches(self) -> bool {
        self.mode() != "off"
    }

    /// Whether the model itself asks for the search, in a turn before the one that fails.
    pub(crate) fn calls(self) -> bool {
        self.mode() == "tool"
    }

    pub(crate) fn is_completion(self) -> bool {
        matches!(self, Self::CompletionWhole | Self::CompletionStream)
    }

    /// A name that can stand in addresses and configurations.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The endpoint, without `/v1`.
    pub(crate) fn path(self) -> &'static str {
        if self.is_completion() {
            "/completions"
        } else {
            "/chat/completions"
        }
    }

    /// A request of this kind.
    pub(crate) fn question(self, model: &str, text: &str) -> Value {
        let mut body =
            json!({"model": model, "stream": self.streams(), "rag": {"mode": self.mode()}});
        if self.is_completion() {
            body["prompt"] = json!(text);
        } else {
            body["messages"] = json!([{"role": "user", "content": text}]);
        }
        body
    }

    /// What a chunk or a whole answer says.
    pub(crate) fn said(self, answer: &Value) -> &str {
        let choice = &answer["choices"][0];
        let text = match (self.is_completion(), self.streams()) {
            (true, _) => &choice["text"],
            (false, true) => &choice["delta"]["content"],
            (false, false) => &choice["message"]["content"],
        };
        text.as_str().unwrap_or_default()
    }

    /// A good answer that says `ab`.
    pub(crate) fn answer(self) -> Reply {
        if self.streams() {
            self.finished().piece("data: [DONE]\n\n")
        } else {
            Reply::json(self.whole())
        }
    }

    /// That answer as a stream, without `[DONE]`.
    pub(crate) fn finished(self) -> Reply {
        sse_unfinished([self.chunk("a"), self.chunk("b"), self.finish()])
    }

    /// The beginning of that answer: of a stream its first event, of a whole answer the first half of its bytes.
    pub(crate) fn begun(self) -> Reply {
        if self.streams() {
            sse_unfinished([self.chunk("a")])
        } else {
            Reply::stream("application/json").piece(self.halves().0)
        }
    }

    /// A good answer that stops in its middle until the gate opens.
    pub(crate) fn gated(self, gate: &Gate) -> Reply {
        let rest = if self.streams() {
            let (b, finish) = (self.chunk("b"), self.finish());
            format!("data: {b}\n\ndata: {finish}\n\ndata: [DONE]\n\n")
        } else {
            self.halves().1
        };
        self.begun().wait(gate).piece(rest)
    }

    /// The turn in which the model asks for a search.
    pub(crate) fn call(self) -> Reply {
        let arguments = json!({"query": "retention"}).to_string();
        let call = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "lighton_search", "arguments": arguments}});
        if self.streams() {
            let delta = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let choice = json!({"index": 0, "delta": delta, "finish_reason": null});
            sse([
                upstream::chunk_of(choice),
                upstream::finish("tool_calls"),
                upstream::usage(),
            ])
        } else {
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let mut answer = upstream::completion("");
            answer["choices"][0]["message"] = message;
            answer["choices"][0]["finish_reason"] = json!("tool_calls");
            Reply::json(answer)
        }
    }

    /// One piece of a stream, as JSON.
    pub(crate) fn chunk(self, text: &str) -> Value {
        if self.is_completion() {
            completion(text, Value::Null)
        } else {
            upstream::chunk(text)
        }
    }

    fn finish(self) -> Value {
        if self.is_completion() {
            completion("", json!("stop"))
        } else {
            upstream::finish("stop")
        }
    }

    fn whole(self) -> Value {
        if self.is_completion() {
            completion("ab", json!("stop"))
        } else {
            upstream::completion("ab")
        }
    }

    fn halves(self) -> (String, String) {
        let text = self.whole().to_string();
        let (first, second) = text.split_at(text.len() / 2);
        (first.to_owned(), second.to_owned())
    }
}

fn completion(text: &str, finish: Value) -> Value {
    json!({
        "id": "cmpl-up", "object": "text_completion", "created": 1_700_000_000, "model": MODEL,
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}],
    })
}
