//! What a client of the bench asks, and how it behaves.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) mode: &'static str,
    pub(crate) streams: bool,
    pub(crate) completes: bool,
    model: &'static str,
    /// What it is made longer by, in bytes.
    ballast: usize,
    pub(crate) manners: Manners,
}

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manners {
    /// It reads to the end.
    Patient,
    /// It reads to the end, a piece now and then.
    Slow,
    /// It leaves after this long, wherever the answer stands.
    Leaving(Duration),
}

impl Asked {
    /// Any request.
    pub(crate) fn at_random(rng: &mut Rng) -> Self {
        let completes = rng.u8(0..5) == 0;
        let modes: &[&str] = match completes {
            true => &["off", "inject"],
            false => &["off", "inject", "tool"],
        };
        Self {
            mode: modes[rng.usize(..modes.len())],
            streams: rng.u8(0..3) > 0,
            completes,
            model: ["alone", "backed", "refused"][rng.usize(..3)],
            ballast: if rng.u8(0..20) == 0 { 300_000 } else { 0 },
            manners: match rng.u8(0..20) {
                0 | 1 => Manners::Leaving(Duration::from_millis(rng.u64(0..800))),
                2 => Manners::Slow,
                _ => Manners::Patient,
            },
        }
    }

    /// The path of its endpoint.
    pub(crate) fn path(self) -> &'static str {
        if self.completes {
            "/v1/completions"
        } else {
            "/v1/chat/completions"
        }
    }

    /// Its body; `number` makes its question one of a few, so that some are searched for and some are known.
    pub(crate) fn body(self, number: u64) -> String {
        let question = format!("What is our data retention policy number {}?", number % 500);
        let mut body = json!({
            "model": self.model, "stream": self.streams, "rag": {"mode": self.mode},
            "user": "x".repeat(self.ballast),
        });
        if self.completes {
            body["prompt"] = json!(question);
        } else {
            body["messages"] = json!([{"role": "user", "content": question}]);
        }
        body.to_string()
    }

    /// What a chunk or a whole answer says.
    pub(crate) fn said(self, answer: &Value) -> &str {
        let choice = &answer["choices"][0];
        let text = match (self.completes, self.streams) {
            (true, _) => &choice["text"],
            (false, true) => &choice["delta"]["content"],
            (false, false) => &choice["message"]["content"],
        };
        text.as_str().unwrap_or_default()
    }
}
