//! The end of a turn, and of a streamed answer, whichever turn it came with.

use bytes::Bytes;
use serde_json::{Map, json};

use super::Voice;
use crate::{
    openai::{Json, Object, chunk::Family},
    rag::{
        Error, RAN_OUT, citations,
        tool::{
            calls::Call,
            session::{Session, Turn},
        },
    },
    sse,
};

impl Voice {
    /// The turn, and the text that was held back in it.
    pub(in super::super) fn finish_turn(&mut self) -> Result<(Turn, Option<Bytes>), Error> {
        if self.turn.finish.is_none() && !self.turn.done {
            return Err(self.truncated());
        }
        let filter = std::mem::take(&mut self.turn.filter);
        let rest = filter.finish();
        let mut content = self.turn.content.take();
        if let Some(content) = &mut content {
            content.push_str(&rest.text);
        }
        let mut calls = std::mem::take(&mut self.turn.calls).finish();
        calls.extend(rest.calls);
        let piece = self.spoken(rest.text);
        let turn = Turn {
            content,
            says_otherwise: self.turn.says_otherwise,
            calls,
            finish: self.turn.finish.clone(),
            usage: self.turn.usage.take(),
        };
        Ok((turn, piece))
    }

    /// The end of the answer: the client's calls, the finish with everything that is known by now, the usage, `[DONE]`.
    pub(in super::super) fn last(&mut self, session: &Session, clients: &[Call]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        for (index, call) in clients.iter().enumerate() {
            let mut delta = self.opening();
            delta.insert("tool_calls".to_owned(), json!([call.to_delta(index)]));
            pieces.push(self.own_chunk(delta));
        }
        pieces.push(self.finish_chunk(session, !clients.is_empty()));
        if let (true, Some(usage)) = (self.include_usage, &session.usage) {
            let mut chunk = self.identity().empty_chunk(Family::Chat, None);
            chunk.set("choices", Json::of(&json!([])));
            chunk.set("usage", Json::of(usage));
            pieces.push(sse::encode::data(chunk.to_json().bytes()));
        }
        pieces.push(sse::encode::DONE.clone());
        pieces
    }

    /// The chunk with the finish: the upstream's own, but for what the gateway answers for.
    fn finish_chunk(&mut self, session: &Session, calls: bool) -> Bytes {
        let said = self.turn.finish.take();
        let finish = finish_reason(said.as_deref(), calls);
        let mut report = session.report.clone();
        let mut delta = self.opening();
        if let Some(links) = session.links() {
            let (annotations, unknown) = citations::annotate(&self.text, &report.selection, &links);
            report.warnings.extend(unknown);
            let annotations = citations::joined(None, &annotations);
            delta.insert(
                "annotations".to_owned(),
                annotations.read().unwrap_or_default(),
            );
        }
        if finish == "length" && !calls && !self.spoke {
            report.warnings.push(RAN_OUT.to_owned());
        }
        let own = self
            .turn
            .last
            .take()
            .and_then(|data| Object::read(data).ok());
        let mut chunk = own.unwrap_or_else(|| self.identity().empty_chunk(Family::Chat, None));
        let choices = chunk.value("choices").and_then(Json::items);
        let mut choice = choices
            .and_then(|choices| Object::parse(choices.first()?))
            .unwrap_or_else(Object::empty);
        choice.set("index", Json::of(&0));
        choice.set("delta", Json::of(&delta));
        choice.set("finish_reason", Json::of(finish));
        chunk.set("choices", Json::array([&choice.to_json()]));
        chunk.set("object", Json::of("chat.completion.chunk"));
        self.put_identity(&mut chunk);

        let mut more = Map::new();
        more.insert("timings".to_owned(), session.timings.to_value());
        if self.progress.is_committed() {
            more.insert("upstream".to_owned(), json!(self.upstream));
            more.insert("model".to_owned(), json!(self.model));
        }
        chunk.set("rag", report.with(&more));
        sse::encode::data(chunk.to_json().bytes())
    }
}

/// Why the answer as a whole ended: with calls for the client or without, whatever the server said.
pub(in super::super) fn finish_reason(said: Option<&str>, calls: bool) -> &str {
    match said {
        _ if calls => "tool_calls",
        None | Some("tool_calls" | "function_call") => "stop",
        Some(reason) => reason,
    }
}
