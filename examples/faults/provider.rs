//! A model provider that has good days and bad ones, request by request.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::{
    lighton::maintenance,
    reply::{Reply, sse, sse_unfinished},
    server::Request,
    upstream::{self, MODEL, refuses},
};

/// How many words every answer has.
const WORDS: usize = 20;

/// What every answer says: numbered words, so that one that is missing or came twice is seen.
pub(crate) fn text() -> String {
    (0..WORDS).map(word).collect()
}

fn word(number: usize) -> String {
    format!("w{number} ")
}

/// What a provider does.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answer,
    AnswerSlowly,
    AnswerWithoutDone,
    AnswerWithoutFinish,
    AnswerUnderAnotherType,
    Reset,
    Close,
    Hang,
    Garbage,
    Refuse(u16),
    Limit,
    Maintain,
    Page,
    ErrorUnder200,
    Nothing,
    CutInEvent,
    CutBetweenEvents,
    ResetMidway,
    FallSilent,
    PingForEver,
    FailMidway,
    TwoObjects,
    EndlessLine,
    InvalidText,
}

/// How often each is done, in this many parts of their sum.
const DEEDS: [(u32, Deed); 26] = [
    (50, Deed::Answer),
    (8, Deed::AnswerSlowly),
    (2, Deed::AnswerWithoutDone),
    (2, Deed::AnswerWithoutFinish),
    (2, Deed::AnswerUnderAnotherType),
    (2, Deed::Reset),
    (2, Deed::Close),
    (1, Deed::Hang),
    (1, Deed::Garbage),
    (1, Deed::Refuse(408)),
    (2, Deed::Refuse(500)),
    (2, Deed::Refuse(502)),
    (2, Deed::Refuse(504)),
    (3, Deed::Limit),
    (2, Deed::Maintain),
    (1, Deed::Page),
    (2, Deed::ErrorUnder200),
    (1, Deed::Nothing),
    (2, Deed::CutInEvent),
    (2, Deed::CutBetweenEvents),
    (2, Deed::ResetMidway),
    (1, Deed::FallSilent),
    (1, Deed::PingForEver),
    (2, Deed::FailMidway),
    (1, Deed::TwoObjects),
    (2, Deed::EndlessLine),
];

/// Answers a request, or does not.
pub(crate) fn answer(rng: &mut Rng, request: &Request) -> Reply {
    let body = request.json();
    let asked = Asked {
        streams: body["stream"] == true,
        completes: request.path.ends_with("/v1/completions"),
        searches: may_search(&body),
    };
    let sum: u32 = DEEDS.iter().map(|(part, _)| part).sum();
    let mut left = rng.u32(0..=sum);
    for (part, deed) in DEEDS {
        if left < part {
            return asked.reply(deed, rng);
        }
        left -= part;
    }
    asked.reply(Deed::InvalidText, rng)
}

/// Whether the search is offered and was not called yet.
fn may_search(body: &Value) -> bool {
    let messages = body["messages"].as_array();
    let last = messages.and_then(|messages| messages.last());
    body["tools"].is_array() && last.is_some_and(|last| last["role"] != "tool")
}

/// What matters of a request.
#[derive(Clone, Copy)]
struct Asked {
    streams: bool,
    completes: bool,
    searches: bool,
}

impl Asked {
    fn reply(self, deed: Deed, rng: &mut Rng) -> Reply {
        let error = json!({"error": {"message": "overloaded", "type": "server_error", "param": null, "code": "overloaded"}});
        match deed {
            Deed::Answer => self.good(),
            Deed::AnswerSlowly => self.slow(rng),
            Deed::AnswerWithoutDone if self.streams => sse_unfinished(self.events()),
            Deed::AnswerWithoutDone => self.good(),
            Deed::AnswerWithoutFinish => self.without_finish(),
            Deed::AnswerUnderAnotherType => {
                let mut reply = self.good();
                reply.headers.clear();
                reply.header("content-type", "text/plain")
            }
            Deed::Reset => Reply::refused(),
            Deed::Close => Reply::closed(),
            Deed::Hang => Reply::silence(),
            Deed::Garbage => Reply::garbage("SSH-2.0-OpenSSH_9.2\r\n"),
            Deed::Refuse(status) => Reply::body("text/html", "<h1>Oops</h1>").with_status(status),
            Deed::Limit => limit(rng),
            Deed::Maintain => maintenance(),
            Deed::Page => Reply::body("text/html", "<html>hello</html>"),
            Deed::ErrorUnder200 => Reply::json(error),
            Deed::Nothing => Reply::status(200),
            Deed::CutInEvent => self.begun(rng).half_chunk("data: {\"id\": \"up").cut(),
            Deed::CutBetweenEvents => self.begun(rng),
            Deed::ResetMidway => self.begun(rng).reset(),
            Deed::FallSilent => self.begun(rng).hang(),
            Deed::PingForEver if self.streams => self.begun(rng).repeat(": ping\n\n"),
            Deed::PingForEver => self.begun(rng).repeat(" "),
            Deed::FailMidway => self.begun(rng).piece(format!("data: {error}\n\n")),
            Deed::TwoObjects => self.begun(rng).piece("data: {\"a\":1}{\"b\":2}\n\n"),
            Deed::EndlessLine => self.begun(rng).repeat("x".repeat(4096)),
            Deed::InvalidText => self.begun(rng).piece(b"data: \"\xFF\"\n\n".to_vec()),
        }
    }

    fn good(self) -> Reply {
        if self.streams {
            sse(self.events())
        } else {
            Reply::json(self.whole())
        }
    }

    fn slow(self, rng: &mut Rng) -> Reply {
        let mut reply = self.begin();
        for piece in self.pieces() {
            let pause = Duration::from_millis(rng.u64(0..40));
            reply = reply.pause(pause).piece(piece);
        }
        reply
    }

    /// `[DONE]` all the same.
    fn without_finish(self) -> Reply {
        if !self.streams || self.searches {
            return self.good();
        }
        let mut events = self.events();
        events.pop();
        sse(events)
    }

    /// A good answer that stops somewhere, at least one piece behind its beginning and one before its end.
    fn begun(self, rng: &mut Rng) -> Reply {
        let mut pieces = self.pieces();
        pieces.pop();
        let count = rng.usize(1..pieces.len());
        pieces.truncate(count);
        pieces.into_iter().fold(self.begin(), Reply::piece)
    }

    fn begin(self) -> Reply {
        if self.streams {
            Reply::stream("text/event-stream")
        } else {
            Reply::stream("application/json")
        }
    }

    fn pieces(self) -> Vec<String> {
        if self.streams {
            let events = self.events().into_iter();
            let events = events.map(|event| format!("data: {event}\n\n"));
            return events.chain(["data: [DONE]\n\n".to_owned()]).collect();
        }
        let text = self.whole().to_string();
        let bytes = text.as_bytes().chunks(text.len().div_ceil(8));
        bytes
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
            .collect()
    }

    /// The events of a stream, the one with the finish last.
    fn events(self) -> Vec<Value> {
        if self.searches {
            return self.call();
        }
        let words = (0..WORDS).map(|number| self.chunk(&word(number)));
        words.chain([self.finish()]).collect()
    }

    fn call(self) -> Vec<Value> {
        let delta = |delta: Value| {
            upstream::chunk_of(json!({"index": 0, "delta": delta, "finish_reason": null}))
        };
        let fragment =
            |function: Value| delta(json!({"tool_calls": [{"index": 0, "function": function}]}));
        let begin = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "lighton_search", "arguments": ""}});
        vec![
            delta(json!({"role": "assistant", "content": null, "tool_calls": [begin]})),
            fragment(json!({"arguments": "{\"query\": "})),
            fragment(json!({"arguments": "\"retention\"}"})),
            upstream::finish("tool_calls"),
        ]
    }

    fn chunk(self, text: &str) -> Value {
        if self.completes {
            completion(text, Value::Null)
        } else {
            upstream::chunk(text)
        }
    }

    fn finish(self) -> Value {
        if self.completes {
            completion("", json!("stop"))
        } else {
            upstream::finish("stop")
        }
    }

    fn whole(self) -> Value {
        if self.completes {
            return completion(&text(), json!("stop"));
        }
        let mut answer = upstream::completion(&text());
        if self.searches {
            let call = json!({"id": "call_1", "type": "function", "function": {"name": "lighton_search", "arguments": "{\"query\": \"retention\"}"}});
            answer["choices"][0]["message"] =
                json!({"role": "assistant", "content": null, "tool_calls": [call]});
            answer["choices"][0]["finish_reason"] = json!("tool_calls");
        }
        answer
    }
}

fn completion(text: &str, finish: Value) -> Value {
    json!({
        "id": "cmpl-up", "object": "text_completion", "created": 1_700_000_000, "model": MODEL,
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}],
    })
}

/// 429 in its four forms: at once, later than anybody waits, a date, and without a word.
fn limit(rng: &mut Rng) -> Reply {
    let reply = refuses(429, "slow down");
    match rng.u8(0..4) {
        0 => reply.header("retry-after", 0),
        1 => reply.header("retry-after", 60),
        2 => reply.header("retry-after", httpdate::fmt_http_date(SystemTime::now())),
        _ => reply,
    }
}
