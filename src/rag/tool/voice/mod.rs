//! What the client of a stream hears: one answer with one identity, made of the turns.

mod ending;
mod form;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(super) use self::ending::finish_reason;
use self::form::Form;
use super::{calls::Gathered, leak::Filter};
use crate::{
    openai::{
        Identity, Json, Object,
        chunk::{Choice, Chunk, Family},
        escape,
    },
    rag::{
        Error, Progress,
        frame::{Added, Adds},
    },
    sse::{self, Event, Payload},
    upstream::{self, Route},
};

/// What a delta may hold that is either known or says nothing.
const KNOWN: [&str; 7] = [
    "role",
    "name",
    "content",
    "reasoning",
    "reasoning_content",
    "tool_calls",
    "function_call",
];

/// The stream that a client hears.
pub(super) struct Voice {
    progress: Arc<Progress>,
    /// What the client calls the model.
    asked: String,
    include_usage: bool,
    upstream: String,
    model: String,
    /// A chunk with nothing but a role, held until something is said: it would commit the status.
    held: Option<Bytes>,
    role_told: bool,
    /// All text that went out, for citations.
    text: String,
    /// Whether anything was said but thoughts.
    spoke: bool,
    turn: Hearing,
}

/// One turn as it is heard.
#[derive(Default)]
struct Hearing {
    calls: Gathered,
    filter: Filter,
    form: Form,
    content: Option<String>,
    says_otherwise: bool,
    finish: Option<String>,
    /// The chunk with the finish: what else it says belongs to the end of the answer.
    last: Option<Bytes>,
    usage: Option<Value>,
    done: bool,
}

impl Voice {
    /// The voice of an answer by what the client calls `asked`.
    pub(super) fn new(progress: Arc<Progress>, asked: &str, include_usage: bool) -> Self {
        Self {
            progress,
            asked: asked.to_owned(),
            include_usage,
            upstream: String::new(),
            model: String::new(),
            held: None,
            role_told: false,
            text: String::new(),
            spoke: false,
            turn: Hearing::default(),
        }
    }

    /// A turn begins, answered by `route`.
    pub(super) fn begin(&mut self, route: &Route) {
        route.upstream.name().clone_into(&mut self.upstream);
        self.model.clone_from(&route.model);
        self.turn = Hearing::default();
        self.held = None;
    }

    /// Whether the turn ended with `[DONE]`.
    pub(super) fn is_done(&self) -> bool {
        self.turn.done
    }

    /// The identity of the whole stream: the first turn's, or the gateway's where a chunk of its own came first.
    pub(super) fn identity(&self) -> Identity {
        let identity = &self.progress.identity;
        identity
            .get_or_init(|| Identity::new(Family::Chat, &self.asked))
            .clone()
    }

    /// What goes out for one event.
    pub(super) fn event(&mut self, event: Event) -> Result<Vec<Bytes>, Error> {
        match event.payload() {
            Payload::Data(data) => {
                let data = data.clone();
                self.data(event, &data)
            }
            Payload::Done => {
                self.turn.done = true;
                Ok(Vec::new())
            }
            // Heartbeats of the upstream would commit the status; the gateway sends its own.
            Payload::Comment | Payload::Empty => Ok(Vec::new()),
            Payload::Stray(text) => {
                let json = text.strip_prefix(b"error:").unwrap_or(text);
                Err(match serde_json::from_slice::<Map<String, Value>>(json) {
                    Ok(_) => self.failure(json),
                    Err(_) => self.invalid("text that is no event"),
                })
            }
        }
    }

    fn data(&mut self, event: Event, data: &Bytes) -> Result<Vec<Bytes>, Error> {
        if event.is_whole()
            && let Some(added) = self.turn.form.added(data)
            && (added.adds == Adds::Answer || self.turn.filter.is_idle())
        {
            return Ok(self.again(event, data, added).into_iter().collect());
        }
        let chunk = match Chunk::parse(data) {
            Ok(chunk) => chunk,
            // Half an event is the end of the stream: behind its finish a turn is whole all the same.
            Err(_) if !event.is_whole() && self.has_finished() => return Ok(Vec::new()),
            Err(_) if !event.is_whole() => return Err(self.truncated()),
            Err(_) => return Err(self.invalid("an event that is no JSON")),
        };
        if chunk.is_error() {
            return Err(self.failure(data));
        }
        self.progress.tally.relayed(&chunk);
        let counts = chunk.usage.filter(|usage| usage.get() != "null");
        if let Some(usage) = counts {
            self.turn.usage = serde_json::from_str(usage.get()).ok();
        }
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let choice = choices.iter().find(|choice| choice.index.unwrap_or(0) == 0);
        Ok(match choice {
            Some(choice) => self.choice(event, data, &chunk, choice),
            None => Vec::new(),
        })
    }

    fn choice(
        &mut self,
        event: Event,
        data: &Bytes,
        chunk: &Chunk<'_>,
        choice: &Choice<'_>,
    ) -> Vec<Bytes> {
        let finish = choice.finish_reason.as_deref();
        let ends = finish.is_some_and(|reason| !reason.is_empty());
        if ends && self.turn.finish.is_none() {
            self.turn.finish = finish.map(str::to_owned);
            self.turn.last = Some(data.clone());
        }
        let Some(delta) = &choice.delta else {
            return Vec::new();
        };
        let text = delta.text();
        let is_string = delta
            .content
            .is_some_and(|content| content.get().starts_with('"'));
        let thinks = delta.thinks();
        let mut says = thinks;
        if text.is_empty() && !says {
            // Ordinary pieces of text are not taken apart: only what is none can hold a call, or something that nobody here knows.
            says = self.look_closely(data);
        } else if delta.calls_tools() {
            self.look_closely(data);
        }
        let mut pieces = Vec::new();
        let out = if is_string {
            self.turn.filter.push(&text)
        } else {
            // A list of parts goes out as it is; what was held before it comes first.
            if says || !text.is_empty() {
                let held = self.turn.filter.release();
                self.turn.content.get_or_insert_default().push_str(&held);
                pieces.extend(self.spoken(held));
            }
            text.clone()
        };
        if is_string || !text.is_empty() {
            self.turn.content.get_or_insert_default().push_str(&out);
        }
        says |= !out.is_empty();
        self.spoke |= !out.is_empty();
        self.text.push_str(&out);

        let role = delta
            .role
            .is_some_and(|role| !matches!(role.get(), "null" | "\"\""));
        let begins = role && !self.role_told && self.held.is_none();
        if !says && !begins {
            return pieces;
        }
        let first = !self.role_told && self.held.is_none() && !begins;
        let keeps_its_shape = !self.is_renamed(chunk)
            && (begins || delta.role.is_none())
            && !first
            && chunk.usage.is_none()
            && delta.tool_calls.is_none()
            && finish.is_none();
        let as_it_came = keeps_its_shape && out == text;
        let piece = if as_it_came {
            event.relayed()
        } else {
            self.rewritten(data, &out, is_string)
        };
        let Some(piece) = piece else {
            return pieces;
        };
        if !says {
            self.held = Some(piece);
            return pieces;
        }
        self.role_told = true;
        pieces.extend(self.held.take());
        pieces.push(piece);
        if !first && !begins && chunk.usage.is_none() && out == text {
            let mut form = std::mem::take(&mut self.turn.form);
            let write = |data: &Bytes, text: &str| {
                self.rewritten(data, if is_string && thinks { "" } else { text }, is_string)
            };
            form.keep(data, chunk, (!keeps_its_shape).then_some(write));
            self.turn.form = form;
        }
        pieces
    }

    /// What goes out for a chunk that is like one before, but for what it adds.
    fn again(&mut self, event: Event, data: &Bytes, added: Added<'_>) -> Option<Bytes> {
        self.turn.form.hit();
        if self.progress.tally.is_metered() {
            self.progress.tally.said(added.text);
        }
        let content = self.turn.content.get_or_insert_default();
        if added.adds == Adds::Thoughts {
            let written = self.turn.form.written(added, added.text.as_bytes());
            return written.or_else(|| event.relayed());
        }
        let text = escape::read(added.text);
        let out = self.turn.filter.push(&text);
        if out.is_empty() {
            return None;
        }
        content.push_str(&out);
        self.text.push_str(&out);
        self.spoke = true;
        let mut written = Vec::new();
        escape::write_inside(&out, &mut written);
        match self.turn.form.written(added, &written) {
            None if out == text => event.relayed(),
            None => self.rewritten(data, &out, true),
            written => written,
        }
    }

    /// Takes the calls out of a delta; tells whether it says something beside them that is neither text nor thought.
    fn look_closely(&mut self, data: &Bytes) -> bool {
        let Some(delta) = first_delta(data) else {
            return false;
        };
        if let Some(calls) = delta.value("tool_calls") {
            self.turn.calls.add(calls);
        }
        if let Some(call) = delta.value("function_call") {
            self.turn.calls.add_older(call);
        }
        let said = |value: &Json| !matches!(&value.bytes()[..], b"null" | b"\"\"" | b"[]" | b"{}");
        let otherwise = |key| delta.value(key).is_some_and(said);
        if otherwise("refusal") || otherwise("audio") {
            self.turn.says_otherwise = true;
            self.spoke = true;
        }
        let parts = delta
            .value("content")
            .is_some_and(|content| content.bytes().starts_with(b"[") && said(content));
        parts
            || delta
                .entries()
                .any(|(key, value)| !KNOWN.contains(&key) && said(value))
    }

    /// A chunk with nothing of the gateway's business in it: no calls, no finish, no running usage, one role, and the stream's identity.
    fn rewritten(&self, data: &Bytes, text: &str, is_string: bool) -> Option<Bytes> {
        let mut chunk = Object::read(data.clone()).ok()?;
        self.put_identity(&mut chunk);
        let mut choices = chunk.value("choices").and_then(Json::items)?;
        for choice in &mut choices {
            let mut object = Object::parse(choice)?;
            let mut delta = object.value("delta").and_then(Object::parse)?;
            delta.remove("tool_calls");
            delta.remove("function_call");
            if self.role_told || self.held.is_some() {
                delta.remove("role");
                delta.remove("name");
            } else {
                delta.set("role", Json::of("assistant"));
            }
            if is_string {
                delta.set("content", Json::of(text));
            }
            object.set("delta", delta.to_json());
            object.set("finish_reason", Json::of(&Value::Null));
            *choice = object.to_json();
        }
        chunk.set("choices", Json::array(&choices));
        Some(sse::encode::data(chunk.to_json().bytes()))
    }

    fn put_identity(&self, chunk: &mut Object) {
        let identity = self.identity();
        chunk.set("id", Json::of(&identity.id));
        chunk.set("created", Json::of(&identity.created));
        chunk.set("model", Json::of(&identity.model));
        if self.include_usage {
            chunk.set("usage", Json::of(&Value::Null));
        } else {
            chunk.remove("usage");
        }
    }

    /// Whether a chunk must be given another identity; the first that has one gives it to the stream.
    fn is_renamed(&self, chunk: &Chunk<'_>) -> bool {
        let Some(id) = chunk.id.as_deref().filter(|id| !id.is_empty()) else {
            return true;
        };
        let created = chunk.created.as_ref().and_then(serde_json::Number::as_u64);
        let known = self.progress.identity.get_or_init(|| Identity {
            id: id.to_owned(),
            created: created.unwrap_or_else(crate::openai::unix_seconds),
            model: chunk.model.as_deref().unwrap_or(&self.model).to_owned(),
        });
        known.id != id
            || Some(known.created) != created
            || Some(known.model.as_str()) != chunk.model.as_deref()
    }

    /// Whether the turn has its finish.
    pub(super) fn has_finished(&self) -> bool {
        self.turn.finish.is_some()
    }

    /// A chunk with text that was held back; `None` for no text.
    fn spoken(&mut self, text: String) -> Option<Bytes> {
        if text.is_empty() {
            return None;
        }
        self.text.push_str(&text);
        self.spoke = true;
        let mut delta = self.opening();
        delta.insert("content".to_owned(), Value::String(text));
        Some(self.own_chunk(delta))
    }

    /// A delta that tells the role where nothing did yet.
    fn opening(&mut self) -> Map<String, Value> {
        self.held = None;
        let mut delta = Map::new();
        if !std::mem::replace(&mut self.role_told, true) {
            delta.insert("role".to_owned(), json!("assistant"));
            delta.insert("content".to_owned(), Value::Null);
        }
        delta
    }

    fn own_chunk(&self, delta: Map<String, Value>) -> Bytes {
        let mut chunk = self.identity().empty_chunk(Family::Chat, None);
        let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
        chunk.set("choices", Json::of(&choice));
        self.put_identity(&mut chunk);
        sse::encode::data(chunk.to_json().bytes())
    }

    fn failure(&self, data: &[u8]) -> Error {
        Error::Upstream(upstream::Error::in_answer(&self.upstream, data))
    }

    fn truncated(&self) -> Error {
        let upstream = self.upstream.clone();
        Error::Upstream(upstream::Error::Truncated { upstream })
    }

    fn invalid(&self, detail: &str) -> Error {
        Error::Upstream(upstream::Error::Invalid {
            upstream: self.upstream.clone(),
            detail: detail.to_owned(),
        })
    }
}

fn first_delta(data: &Bytes) -> Option<Object> {
    let chunk = Object::read(data.clone()).ok()?;
    let choices = chunk.value("choices").and_then(Json::items)?;
    choices
        .iter()
        .filter_map(Object::parse)
        .find(|choice| choice.read_value::<u32>("index").unwrap_or(0) == 0)?
        .value("delta")
        .and_then(Object::parse)
}
