//! A streamed answer on its way to the client: relayed as it comes, with what the gateway adds on its first and last chunk.
//!
//! [`Outgoing`] is the state machine, without I/O: an event goes in, bytes come out. [`Relay`] drives it from an upstream's events.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value, json};

use super::{
    Error, Progress, citations,
    frame::{Added, Frame},
    links::Links,
    passages::Selection,
    report::{Report, Timings},
    speakers::{Ended, Speakers, may_matter},
};
use crate::{
    openai::{
        Identity, Json, Object,
        chunk::{Chunk, Family},
    },
    sse::{self, Event, Payload},
    upstream::{self, EventStream},
};

/// What happens to the chunks of one answer.
#[derive(Debug)]
pub struct Outgoing {
    family: Family,
    upstream: String,
    model: String,
    progress: Arc<Progress>,
    /// Whether the caller's tokens are limited.
    is_metered: bool,
    grounding: Option<Grounding>,
    timings: Timings,
    include_usage: bool,
    speakers: Speakers,
    /// Whether the upstream's identity is replaced: a chunk of the gateway's own went out first.
    renamed: Option<bool>,
    frame: Frame,
    done: bool,
}

/// What a grounded answer gains.
#[derive(Debug)]
pub struct Grounding {
    /// The `rag` object of the first chunk.
    pub report: Report,
    /// Where citations lead; `None`: the answer is not cited.
    pub links: Option<Links>,
    /// Whether `report` went out.
    pub told: bool,
}

impl Grounding {
    /// Lets go of what only the first chunk tells: passages and page images are most of what a stream would hold to its end.
    fn forget(&mut self) {
        let selection = &mut self.report.selection;
        if self.links.is_none() {
            *selection = Selection::default();
            return;
        }
        for source in &mut selection.sources {
            source.forget_content();
        }
    }
}

impl Outgoing {
    /// The way of an answer of `model` by `upstream`.
    pub fn new(
        family: Family,
        upstream: &str,
        model: &str,
        progress: Arc<Progress>,
        timings: Timings,
        include_usage: bool,
    ) -> Self {
        Self {
            family,
            upstream: upstream.to_owned(),
            model: model.to_owned(),
            is_metered: progress.tally.is_metered(),
            progress,
            grounding: None,
            timings,
            include_usage,
            speakers: Speakers::default(),
            renamed: None,
            frame: Frame::default(),
            done: false,
        }
    }

    /// Adds what a grounded answer gains.
    pub fn grounded(mut self, grounding: Grounding) -> Self {
        self.grounding = Some(grounding);
        self
    }

    /// What goes out for one event of the upstream.
    pub fn event(&mut self, event: Event) -> Result<Option<Bytes>, Error> {
        match event.payload() {
            Payload::Data(data) => {
                let data = data.clone();
                self.data(event, &data)
            }
            Payload::Done => {
                self.done = true;
                Ok(match self.missing_finish() {
                    Some(finish) => Some([finish, sse::encode::DONE.clone()].concat().into()),
                    None => event.relayed(),
                })
            }
            Payload::Comment => Ok(event.relayed()),
            Payload::Empty => Ok(event.relayed()),
            Payload::Stray(text) => Err(self.stray(text)),
        }
    }

    /// What goes out when the upstream's stream has ended.
    pub fn end(&mut self) -> Result<Option<Bytes>, Error> {
        if self.done {
            return Ok(None);
        }
        if !self.speakers.any_finished() {
            return Err(self.truncated());
        }
        self.done = true;
        // With retrieval off, the bytes are the upstream's, its missing `[DONE]` included.
        Ok(self.grounding.is_some().then(|| sse::encode::DONE.clone()))
    }

    /// Parses the next chunk, whatever it is like.
    #[cfg(test)]
    pub(super) fn forget_frame(&mut self) {
        self.frame = Frame::default();
    }

    /// Whether every answer that began has its finish.
    pub fn has_finished(&self) -> bool {
        self.speakers.all_finished()
    }

    /// Whether `[DONE]` went out: nothing follows it.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn data(&mut self, event: Event, data: &Bytes) -> Result<Option<Bytes>, Error> {
        let is_metered = self.is_metered;
        if event.is_whole() && self.renamed == Some(false) {
            if let Some(added) = self.frame.added(data) {
                self.add(added);
                return Ok(event.relayed());
            }
            // With retrieval off and tokens unlimited, only a finish and a failure matter, and most events hold neither word.
            let is_watched = self.grounding.is_some() || is_metered || self.frame.is_open();
            if !is_watched && !may_matter(data) {
                return Ok(event.relayed());
            }
        }
        let chunk = match Chunk::parse(data) {
            Ok(chunk) => chunk,
            // Half an event is no answer, and clients fail to read it; behind a finish nothing is missing.
            Err(_) if !event.is_whole() && self.has_finished() => return Ok(None),
            Err(_) if !event.is_whole() => return Err(self.truncated()),
            Err(_) if self.grounding.is_none() => return Ok(event.relayed()),
            Err(_) => return Err(self.invalid("an event that is no JSON")),
        };
        if chunk.is_error() {
            return Err(self.failure(data));
        }
        self.progress.tally.relayed(&chunk);
        if let Some(usage) = chunk.usage {
            self.progress.tally.used(usage.get());
        }
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let unasked = chunk.usage.is_some() && !self.include_usage;
        if unasked && choices.is_empty() && (self.grounding.is_some() || is_metered) {
            return Ok(None);
        }
        // The gateway asked for it: some servers count on the chunk with the finish.
        let counted = unasked && is_metered;
        let renamed = self.rename(&chunk);
        let is_cited = self.is_cited();
        let ended = self.speakers.watch(choices, is_cited);
        let first = !choices.is_empty()
            && self
                .grounding
                .as_ref()
                .is_some_and(|grounding| !grounding.told);
        let closes = self.grounding.is_some() && !ended.is_empty();
        if !renamed && !first && !closes && !counted {
            if self.renamed.is_some() && chunk.usage.is_none() {
                self.frame.keep(data, &chunk);
            }
            return Ok(event.relayed());
        }
        let Ok(mut object) = Object::read(data.clone()) else {
            return Ok(event.relayed());
        };
        if renamed {
            self.put_identity(&mut object);
        }
        if counted {
            object.remove("usage");
        }
        if first || closes {
            self.put_rag(&mut object, first, &ended);
        }
        Ok(Some(sse::encode::data(object.to_json().bytes())))
    }

    /// Notes what a chunk says that adds text and nothing else.
    fn add(&mut self, added: Added<'_>) {
        self.frame.hit();
        if self.is_metered {
            self.progress.tally.said(added.text);
        }
        let is_cited = self.is_cited();
        self.speakers.add(added, is_cited);
    }

    fn is_cited(&self) -> bool {
        let links = self.grounding.as_ref().map(|grounding| &grounding.links);
        links.is_some_and(Option::is_some)
    }

    /// Adds `rag`, whole on the first chunk and what only the end knows on the last, and the annotations of the answers that ended.
    fn put_rag(&mut self, object: &mut Object, first: bool, ended: &[Ended]) {
        let Some(grounding) = &mut self.grounding else {
            return;
        };
        let mut warnings = Vec::new();
        if let (Some(links), false) = (&grounding.links, ended.is_empty())
            && let Some(mut choices) = object.value("choices").and_then(Json::items)
        {
            for end in ended {
                let text = self.speakers.text(end.index);
                let (annotations, unknown) =
                    citations::annotate(text, &grounding.report.selection, links);
                warnings.extend(unknown);
                if let Some(choice) = choices.get_mut(end.position) {
                    annotate_delta(choice, &annotations);
                }
            }
            object.set("choices", Json::array(&choices));
        }
        if ended.iter().any(|end| end.ran_out) {
            warnings.push(super::RAN_OUT.to_owned());
        }
        let mut last = Map::new();
        if !ended.is_empty() {
            if !warnings.is_empty() {
                last.insert("warnings".to_owned(), json!(warnings));
            }
            last.insert("timings".to_owned(), self.timings.to_value());
            if self.progress.is_committed() {
                last.insert("upstream".to_owned(), json!(self.upstream));
                last.insert("model".to_owned(), json!(self.model));
            }
        }
        if first {
            grounding.told = true;
            grounding.report.warnings.append(&mut warnings);
            last.remove("warnings");
            object.set("rag", grounding.report.with(&last));
            grounding.forget();
        } else {
            object.set("rag", Json::of(&Value::Object(last)));
        }
    }

    /// Learns the identity of the stream from its first chunk; says whether this one must be given another.
    fn rename(&mut self, chunk: &Chunk<'_>) -> bool {
        if let Some(renamed) = self.renamed {
            return renamed;
        }
        // Azure's preamble has an empty id: it is no identity to adopt.
        let Some(id) = chunk.id.as_deref().filter(|id| !id.is_empty()) else {
            return self.progress.identity.get().is_some();
        };
        let own = Identity {
            id: id.to_owned(),
            created: chunk
                .created
                .as_ref()
                .and_then(serde_json::Number::as_u64)
                .unwrap_or_else(crate::openai::unix_seconds),
            model: chunk.model.as_deref().unwrap_or(&self.model).to_owned(),
        };
        let renamed = *self.progress.identity.get_or_init(|| own.clone()) != own;
        self.renamed = Some(renamed);
        renamed
    }

    fn put_identity(&self, object: &mut Object) {
        let Some(identity) = self.progress.identity.get() else {
            return;
        };
        object.set("id", Json::of(&identity.id));
        object.set("created", Json::of(&identity.created));
        object.set("model", Json::of(&identity.model));
    }

    /// The finish that an upstream forgot before its `[DONE]`; with retrieval off nobody adds it.
    fn missing_finish(&mut self) -> Option<Bytes> {
        let first = !self.grounding.as_ref()?.told;
        if self.speakers.any_finished() {
            return None;
        }
        let reason = if self.speakers.any_called() {
            "tool_calls"
        } else {
            "stop"
        };
        let identity = self
            .progress
            .identity
            .get_or_init(|| Identity::new(self.family, &self.model))
            .clone();
        let mut chunk = identity.empty_chunk(self.family, Some(reason));
        let ended = Ended {
            position: 0,
            index: 0,
            ran_out: false,
        };
        self.put_rag(&mut chunk, first, &[ended]);
        Some(sse::encode::data(chunk.to_json().bytes()))
    }

    fn stray(&self, text: &[u8]) -> Error {
        let json = text.strip_prefix(b"error:").unwrap_or(text);
        match serde_json::from_slice::<Value>(json) {
            Ok(Value::Object(_)) => self.failure(json),
            _ => self.invalid("text that is no event"),
        }
    }

    fn failure(&self, data: &[u8]) -> Error {
        Error::Upstream(upstream::Error::in_answer(&self.upstream, data))
    }

    fn truncated(&self) -> Error {
        Error::Upstream(upstream::Error::Truncated {
            upstream: self.upstream.clone(),
        })
    }

    fn invalid(&self, detail: &str) -> Error {
        Error::Upstream(upstream::Error::Invalid {
            upstream: self.upstream.clone(),
            detail: detail.to_owned(),
        })
    }
}

/// Adds `annotations` to those that the upstream gave.
fn annotate_delta(choice: &mut Json, annotations: &[citations::Annotation<'_>]) {
    let Some(object) = Object::parse(choice) else {
        return;
    };
    let delta = object.value("delta").and_then(Object::parse);
    let delta = delta.unwrap_or_else(Object::empty);
    let all = citations::joined(delta.value("annotations"), annotations);
    *choice = object.with(&[("delta", delta.with(&[("annotations", all)]))]);
}

/// Pulls events from an upstream and gives what goes out; the first error is the last item.
pub struct Relay<S = EventStream> {
    events: S,
    outgoing: Outgoing,
    ended: bool,
}

impl<S> Relay<S> {
    /// Relays `events` by `outgoing`.
    pub fn new(events: S, outgoing: Outgoing) -> Self {
        Self {
            events,
            outgoing,
            ended: false,
        }
    }
}

impl<S> Stream for Relay<S>
where
    S: Stream<Item = Result<Event, upstream::Error>> + Unpin,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.ended {
            let next = match this.events.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            };
            let out = match next {
                // What follows `[DONE]` is read only so that the connection can be used again.
                Some(_) if this.outgoing.is_done() => continue,
                Some(Ok(event)) => this.outgoing.event(event),
                // A connection that breaks or falls silent behind a finish is as good an end as any.
                Some(Err(error)) if error.is_silence() && this.outgoing.has_finished() => {
                    this.ended = true;
                    this.outgoing.end()
                }
                Some(Err(error)) => Err(Error::Upstream(error)),
                None => {
                    this.ended = true;
                    this.outgoing.end()
                }
            };
            match out {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(None) => {}
                Err(error) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}
