//! What is measured: the targets, the modes, the shapes of answers, and how many ask at once.

use std::{fmt, time::Duration};

use crate::client;

/// A stream at the pace of a fast model: 100 events at 20 ms.
pub(crate) const PACED: Shape = Shape::Stream {
    events: 100,
    gap: Duration::from_millis(20),
};

/// A stream whose events are all there at once.
const BURST: Shape = Shape::Stream {
    events: 200,
    gap: Duration::ZERO,
};

/// Names of `[models]` in the gateway's configuration, each with the mode of its name; `cited` is `inject` with citations, `http2` is `off` with
/// an upstream that speaks it.
pub(crate) const MODES: [&str; 5] = ["off", "inject", "cited", "tool", "http2"];

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The stand-in itself, which shows what asking costs without anything between.
    Direct,
    /// nginx with a plain `proxy_pass`: the yardstick.
    Nginx,
    /// The gateway.
    Gateway,
}

/// What an answer is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One JSON document.
    Whole,
    /// That many events, that far apart.
    Stream {
        /// Events with text; the usage and `[DONE]` follow.
        events: u32,
        /// From one to the next.
        gap: Duration,
    },
}

/// One row of the tables, for one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) target: Target,
    pub(crate) mode: &'static str,
    pub(crate) shape: Shape,
    /// How many ask at once, each again as soon as it has its answer.
    pub(crate) clients: usize,
}

/// The cases whose names contain one of `texts`, and what they are compared with; all where nothing is named. The largest have so many `streams`.
pub(crate) fn chosen(texts: &[String], streams: usize) -> Vec<Case> {
    let sizes = [
        (Shape::Whole, 1),
        (Shape::Whole, 32),
        (Shape::Whole, 256),
        (PACED, 100),
        (PACED, streams),
        (BURST, 8),
    ];
    let mut cases = Vec::new();
    for (shape, clients) in sizes {
        let case = |target, mode| Case {
            target,
            mode,
            shape,
            clients,
        };
        let wanted = |case: &Case| {
            texts.is_empty() || texts.iter().any(|text| case.name().contains(text.as_str()))
        };
        // Only how a stream is relayed depends on the protocol.
        let is_told = |case: &Case| case.mode != "http2" || shape == PACED;
        let of_gateway: Vec<Case> = MODES
            .map(|mode| case(Target::Gateway, mode))
            .into_iter()
            .filter(|case| is_told(case) && wanted(case))
            .collect();
        if of_gateway.is_empty() {
            continue;
        }
        // They know no modes, so that one measurement serves all of them.
        cases.extend([Target::Direct, Target::Nginx].map(|target| case(target, "off")));
        cases.extend(of_gateway);
    }
    cases
}

impl Case {
    /// Its name: shape, mode, clients.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}", self.shape.name(), self.mode, self.clients)
    }

    /// The request that each client sends, head and body, its question made longer by so many characters.
    pub(crate) fn request(&self, longer: usize) -> Vec<u8> {
        let answer = match self.shape {
            Shape::Whole => String::new(),
            Shape::Stream { events, gap } => format!(
                r#","stream":true,"stream_options":{{"include_usage":true}},"bench":"{events}/{}""#,
                gap.as_millis()
            ),
        };
        let more: String = MORE.chars().cycle().take(longer).collect();
        let body = format!(
            r#"{{"model":"{}","messages":[{{"role":"system","content":"{SYSTEM}"}},{{"role":"user","content":"{more}{QUESTION}"}}],"temperature":0.3,"max_tokens":512{answer}}}"#,
            self.mode
        );
        client::post("/v1/chat/completions", &body)
    }
}

impl Shape {
    /// Its word in names of cases.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Stream { gap, .. } if gap.is_zero() => "burst",
            Self::Stream { .. } => "stream",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Gateway => "gateway",
        })
    }
}

/// What a company's own prompt may say.
const SYSTEM: &str = "You are the assistant of Example Manufacturing. Answer briefly and in the language of the question. \
                      If you are not sure, say so and name the department that knows. Never give legal advice.";

/// What an employee may ask.
const QUESTION: &str = "How long do we keep the invoices of former customers, who decides on exceptions, and what happens to \
                        the copies in the archive of the Lyon site after that time? Please name the policy and its page.";

/// What longer questions say before they ask.
const MORE: &str = "We moved the archive of the Lyon site to another building last year, and some folders were not labelled again. ";
