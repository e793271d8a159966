//! What most chunks of a stream have in common: everything but the text that they add.
//!
//! A chunk that adds text and nothing else is parsed once. Those behind it are compared with it, and where only the text is another, that is
//! all there is to know of them.

use std::ops::Range;

use serde_json::value::RawValue;

use crate::openai::{
    chunk::{Choice, Chunk},
    escape,
};

/// The longest chunk that is kept: those that are worth it are short.
const LONGEST: usize = 2048;

/// After so many chunks in a row that were not like the one before, no more is looked for what they have in common.
const MISSES: u8 = 8;

/// A chunk with holes where its text stands and where, for some servers, padding does.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The chunk that was parsed; empty: none is kept.
    chunk: Vec<u8>,
    text: Range<usize>,
    /// Behind the text: letters without a meaning that hide from listeners how long it is, as OpenAI sends them.
    padding: Option<Range<usize>>,
    index: u32,
    adds: Adds,
    misses: u8,
}

/// What the text of a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Adds {
    /// Part of the answer.
    #[default]
    Answer,
    /// Part of the thoughts before it.
    Thoughts,
}

/// What a chunk adds that is like the one that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Added<'a> {
    /// The inside of a JSON string.
    pub(super) text: &'a str,
    /// The same of the padding behind it; empty where there is none.
    pub(super) padding: &'a str,
    /// What it is.
    pub(super) adds: Adds,
    /// The index of the choice.
    pub(super) index: u32,
}

impl Frame {
    /// What the chunk in `data` adds, where it is like the one that was kept.
    pub(super) fn added<'a>(&self, data: &'a [u8]) -> Option<Added<'a>> {
        let kept = |range: Range<usize>| self.chunk.get(range).filter(|kept| !kept.is_empty());
        let (text, rest) = inside(data.strip_prefix(kept(0..self.text.start)?)?)?;
        let (padding, rest, from) = match &self.padding {
            None => ("", rest, self.text.end),
            Some(padding) => {
                let rest = rest.strip_prefix(kept(self.text.end..padding.start)?)?;
                let (inside, rest) = inside(rest)?;
                (inside, rest, padding.end)
            }
        };
        (rest == kept(from..self.chunk.len())?).then_some(Added {
            text,
            padding,
            adds: self.adds,
            index: self.index,
        })
    }

    /// Whether it is worth while to keep another chunk.
    pub(super) fn is_open(&self) -> bool {
        self.misses < MISSES
    }

    /// Notes that a chunk was like the one that is kept.
    pub(super) fn hit(&mut self) {
        self.misses = 0;
    }

    /// Keeps `chunk`, which `data` says, if it adds text and nothing else; tells whether it does.
    pub(super) fn keep(&mut self, data: &[u8], chunk: &Chunk<'_>) -> bool {
        self.try_keep(data, chunk).is_some()
    }

    fn try_keep(&mut self, data: &[u8], chunk: &Chunk<'_>) -> Option<()> {
        if !self.is_open() {
            return None;
        }
        self.misses += 1;
        let [choice] = chunk.choices.as_deref()? else {
            return None;
        };
        let (text, adds) = only_text(choice).filter(|_| data.len() <= LONGEST)?;
        let padding = chunk.obfuscation.and_then(|padding| string(padding));
        let place = |part: &str| {
            let start = (part.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
            (start + part.len() <= data.len()).then_some(start..start + part.len())
        };
        let text = place(text)?;
        self.padding = padding
            .and_then(place)
            .filter(|padding| text.end < padding.start);
        self.text = text;
        self.adds = adds;
        self.index = choice.index.unwrap_or(0);
        self.chunk.clear();
        self.chunk.extend_from_slice(data);
        Some(())
    }

    /// Keeps no chunk any more.
    pub(super) fn forget(&mut self) {
        self.chunk.clear();
    }

    /// The chunk that is kept, with these insides of strings for its text and its padding.
    pub(super) fn filled(&self, text: &str, padding: &str) -> Vec<u8> {
        let kept = |range: Range<usize>| self.chunk.get(range).unwrap_or_default();
        let (until, from) = match &self.padding {
            Some(own) => (own.start, own.end),
            None => (self.chunk.len(), self.chunk.len()),
        };
        let padding = self.padding.as_ref().map_or("", |_| padding);
        [
            kept(0..self.text.start),
            text.as_bytes(),
            kept(self.text.end..until),
            padding.as_bytes(),
            kept(from..self.chunk.len()),
        ]
        .concat()
    }
}

/// The text that `choice` adds as it is written; `None` where it adds none, or something else.
fn only_text<'a>(choice: &Choice<'a>) -> Option<(&'a str, Adds)> {
    let ends = choice
        .finish_reason
        .as_ref()
        .is_some_and(|reason| !reason.is_empty());
    if ends || choice.text.is_some() {
        return None;
    }
    let delta = choice.delta.as_ref()?;
    if delta.tool_calls.is_some() {
        return None;
    }
    let is_empty = |raw: Option<&RawValue>| raw.is_none_or(|raw| raw.get() == "\"\"");
    match (delta.content, delta.reasoning, delta.reasoning_content) {
        (Some(content), thoughts, older) if is_empty(thoughts) && is_empty(older) => {
            Some((string(content)?, Adds::Answer))
        }
        (content, Some(thoughts), None) | (content, None, Some(thoughts)) if is_empty(content) => {
            Some((string(thoughts)?, Adds::Thoughts))
        }
        _ => None,
    }
}

/// The inside of a string; `None` of another value.
fn string(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

/// Cuts `data` where the string ends that it begins inside of; `None` where that is no string that can be read.
fn inside(data: &[u8]) -> Option<(&str, &[u8])> {
    let mut rest = data;
    loop {
        rest = match rest {
            [b'"', ..] => break,
            [b'\\', escape @ ..] => escape.get(escape::length(escape)?..)?,
            [..0x20, ..] | [] => return None,
            [_, after @ ..] => after,
        };
    }
    let text = data.get(..data.len() - rest.len())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{sync::Arc, time::Instant};

    use bytes::Bytes;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        access::{KeyLimits, Limiter},
        config::{self, Key, KeyScope, Mode, Secret, Sources},
        openai::chunk::Family,
        rag::{
            Progress,
            links::Signer,
            report::{Report, Timings},
            stream::{Grounding, Outgoing},
        },
        sse::{Decoder, Event},
    };

    fn kept(chunk: &str) -> Frame {
        let mut frame = Frame::default();
        frame.keep(chunk.as_bytes(), &Chunk::parse(chunk.as_bytes()).unwrap());
        frame
    }

    fn chunk(delta: &str) -> String {
        format!(r#"{{"id":"x","choices":[{{"index":1,"delta":{delta},"finish_reason":null}}]}}"#)
    }

    #[test]
    fn a_chunk_that_differs_in_its_text_alone_adds_that() {
        let frame = kept(&chunk(r#"{"content":"five"}"#));
        for text in ["", " years", r#"\n\t\\\"\u00e9"#, "日本"] {
            let next = chunk(&format!(r#"{{"content":"{text}"}}"#));
            let added = Added {
                text,
                padding: "",
                adds: Adds::Answer,
                index: 1,
            };
            assert_eq!(frame.added(next.as_bytes()), Some(added), "{next}");
        }
        let thoughts = kept(&chunk(r#"{"content":null,"reasoning_content":"so"}"#));
        let next = chunk(r#"{"content":null,"reasoning_content":" what"}"#);
        let added = thoughts.added(next.as_bytes()).unwrap();
        assert_eq!((added.text, added.adds), (" what", Adds::Thoughts));
    }

    #[test]
    fn a_chunk_that_differs_otherwise_or_is_no_json_is_to_be_parsed() {
        let frame = kept(&chunk(r#"{"content":"five"}"#));
        for next in [
            chunk(r#"{"content":"a","role":"b"}"#),
            chunk(r#"{"content":null}"#),
            chunk(r#"{"content":"\ud83d\ude00"}"#),
            chunk(r#"{"content":"\x"}"#),
            chunk("{\"content\":\"\n\"}"),
            chunk(r#"{"content":"a\"}"#),
            chunk(r#"{"content":"a"}"#).replace("null", r#""stop""#),
            chunk(r#"{"content":"a"}"#) + " ",
        ] {
            assert_eq!(frame.added(next.as_bytes()), None, "{next}");
        }
        assert_eq!(Frame::default().added(b"\"a\""), None);
    }

    #[test]
    fn padding_is_no_difference() {
        let padded = |text: &str, padding: &str| {
            format!(
                r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}],"obfuscation":"{padding}"}}"#
            )
        };
        let frame = kept(&padded("five", "abc"));
        let added = |next: String| {
            frame
                .added(next.as_bytes())
                .map(|added| added.text.to_owned())
        };
        assert_eq!(added(padded(" years", "")).as_deref(), Some(" years"));
        assert_eq!(added(padded("", "a,b")).as_deref(), Some(""));
        assert_eq!(added(padded("a", "b") + ","), None);
    }

    #[test]
    fn a_chunk_is_filled_with_another_text() {
        let chunk = r#"{"choices":[{"delta":{"content":"five"}}],"obfuscation":"abc","x":1}"#;
        let filled = kept(chunk).filled("six", "d");
        let added = kept(chunk).added(&filled).unwrap();
        assert_eq!((added.text, added.padding), ("six", "d"));

        let filled = kept(&self::chunk(r#"{"content":"five"}"#)).filled("six", "d");
        assert_eq!(filled, self::chunk(r#"{"content":"six"}"#).as_bytes());
    }

    #[test]
    fn what_adds_more_than_a_text_is_not_kept() {
        for chunk in [
            chunk(r#"{"content":"a","tool_calls":[]}"#),
            chunk(r#"{"content":"a","reasoning":"b"}"#),
            chunk(r#"{"reasoning":"","reasoning_content":"b"}"#),
            chunk(r#"{"content":[{"text":"a"}]}"#),
            chunk(r#"{"content":"a"}"#).replace("null", r#""stop""#),
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#.into(),
            r#"{"choices":[{"text":"a"}]}"#.into(),
            r#"{"choices":[]}"#.into(),
        ] {
            assert!(kept(&chunk).chunk.is_empty(), "{chunk}");
        }
    }

    /// A key whose tokens are limited.
    fn limits() -> Arc<KeyLimits> {
        let key = Key {
            name: "acme".into(),
            sha256: Vec::new(),
            expires: None,
            disabled: false,
            search_api_key: None,
            scope: KeyScope::Every,
            models: None,
            upstreams: None,
            allow_overrides: None,
            limits: config::KeyLimits {
                tokens_per_minute: Some(1_000_000),
                ..config::KeyLimits::default()
            },
            rag: config::RagLayer::default(),
        };
        let limiter = Limiter::new(&[key], None, None).unwrap();
        limiter.of("acme").unwrap()
    }

    /// What goes out for `events`, and the tokens that they take.
    fn relayed(
        events: &[Event],
        grounded: Grounded,
        is_metered: bool,
        is_parsed: bool,
    ) -> (Vec<String>, u64) {
        let progress = Arc::new(Progress::default());
        if is_metered {
            let reservation = limits()
                .reserve(1000, Instant::now())
                .now_or_never()
                .unwrap();
            progress.tally.hold(reservation.unwrap().unwrap(), 0);
        }
        let timings = Timings::default();
        let mut outgoing = Outgoing::new(
            Family::Chat,
            "u",
            "m",
            Arc::clone(&progress),
            timings,
            false,
        );
        if grounded != Grounded::No {
            let settings = config::Links {
                secret: Some(Secret::new("secret")),
                ttl: std::time::Duration::from_secs(60),
            };
            let links = Signer::new(&settings).unwrap().links("https://g.example");
            outgoing = outgoing.grounded(Grounding {
                report: Report::new(Mode::Inject, Sources::None),
                links: (grounded == Grounded::Cited).then_some(links),
                told: false,
            });
        }
        let mut out: Vec<String> = Vec::new();
        let shown = |result: Result<Option<Bytes>, crate::rag::Error>| match result {
            Ok(bytes) => bytes.map_or(String::new(), |bytes| {
                String::from_utf8_lossy(&bytes).into_owned()
            }),
            Err(error) => format!("{error:?}"),
        };
        for event in events {
            if is_parsed {
                outgoing.forget_frame();
            }
            out.push(shown(outgoing.event(event.clone())));
        }
        // With retrieval off, not every choice is looked for.
        out.push((grounded == Grounded::No || outgoing.has_finished()).to_string());
        out.push(shown(outgoing.end()));
        (out, progress.tally.spent())
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Grounded {
        No,
        Plain,
        Cited,
    }

    /// A chunk as some upstream writes it, most of them like the one before.
    pub(in crate::rag) fn event() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            4 => "( [a-z]{1,6}| \\[1\\]|\\.|\n|é|日本|👍|\"|\\\\){0,2}",
            1 => Just(String::new()),
        ];
        let delta = (text, 0..12_u8).prop_map(|(text, kind)| match kind {
            0 => json!({"role": "assistant", "content": text}),
            1 => json!({"content": null, "reasoning_content": text}),
            2 => json!({"reasoning": text}),
            3 => json!({"content": [{"type": "text", "text": text}]}),
            4 => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
            _ => json!({"content": text}),
        });
        let rest = (0..20_u8, 0..20_u8, 0..30_u8, 0..20_u8);
        (delta, rest).prop_map(|(delta, (index, finish, whole, usage))| {
            let index = u8::from(index == 0);
            let finish = match finish {
                0 => json!("stop"),
                1 => json!("length"),
                2 => json!(""),
                _ => Value::Null,
            };
            let mut chunk = json!({
                "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
            });
            match usage {
                0 => chunk["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 4}),
                1 => chunk["usage"] = Value::Null,
                2..8 => chunk["obfuscation"] = json!("abc".repeat(usage.into())),
                _ => {}
            }
            match whole {
                0 => "data: [DONE]\n\n".to_owned(),
                1 => "data: {\"id\":\n\n".to_owned(),
                2 => format!("id: 1\ndata: {chunk}\n\n"),
                3 => format!("data: {}\n\n", chunk.to_string().replace('é', "\\u00e9")),
                4 => "data: {\"error\":{\"message\":\"x\"}}\n\n".to_owned(),
                _ => format!("data: {chunk}\n\n"),
            }
        })
    }

    proptest! {
        #[test]
        fn chunks_that_are_compared_are_relayed_as_those_that_are_parsed(
            events in prop::collection::vec(event(), 1..40),
            grounded in prop_oneof![Just(Grounded::No), Just(Grounded::Plain), Just(Grounded::Cited)],
            is_metered in any::<bool>(),
        ) {
            let mut decoder = Decoder::new(1 << 20);
            // Without an upstream's identity the gateway makes up one, which is never the same.
            let first = "data: {\"id\":\"a\",\"created\":1,\"choices\":[]}\n\n".to_owned();
            decoder.push((first + &events.concat()).into());
            let events: Vec<Event> = std::iter::from_fn(|| decoder.next()).map(Result::unwrap).collect();

            let compared = relayed(&events, grounded, is_metered, false);
            let parsed = relayed(&events, grounded, is_metered, true);

            prop_assert_eq!(compared, parsed);
        }
    }
}
