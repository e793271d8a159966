//! Streamed answers in mode `tool`: text and thinking go out as they come, whatever the turn turns out to be.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::{
    calls::{self, Call, Gathered},
    leak::Filter,
    session::{Session, Step, Turn},
};
use crate::{
    openai::{
        Identity, Json, Object,
        chunk::{Chunk, Family},
    },
    rag::{Answer, Error, Job, Meta, Pieces, Pipeline, RAN_OUT, citations, event_chunk, meta},
    sse::{self, Event, Payload},
    upstream::{self, Client, EventStream, client::Call as Request},
};

/// Answers a request. Returns when the first piece that goes to the client is there, so that what fails before it still has a status.
pub(in crate::rag) async fn answer(pipeline: Arc<Pipeline>, job: Job) -> Result<Answer, Error> {
    let told = Arc::new(Mutex::new(Meta::default()));
    let mut pieces = pieces(Session::new(pipeline, job), Arc::clone(&told));
    let first = pieces.next().await.transpose()?;
    let meta = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let first = futures_util::stream::iter(first.map(Ok));
    Ok(Answer::Stream(meta, first.chain(pieces).boxed()))
}

fn pieces(mut session: Session, told: Arc<Mutex<Meta>>) -> Pieces {
    async_stream::try_stream! {
        let mut voice = Voice::new(&session);
        loop {
            session.prepare();
            let pipeline = Arc::clone(&session.pipeline);
            let ((head, mut events), route) = pipeline.deliver(&session.job, open).await?;
            session.timings.upstream = Some(session.timings.upstream.unwrap_or_default() + head.latency);
            session.job.progress.tally.answered(route.upstream.name(), session.timings);
            let meta = meta(route, head, session.timings);
            voice.upstream = route.upstream.name().to_owned();
            voice.model.clone_from(&route.model);
            *told.lock().unwrap_or_else(PoisonError::into_inner) = meta;

            voice.begin();
            while let Some(event) = events.next().await {
                for piece in voice.event(event?)? {
                    yield piece;
                }
                if voice.turn.ended {
                    break;
                }
            }
            drain(events);
            let (turn, rest) = voice.finish_turn()?;
            if let Some(piece) = rest {
                yield piece;
            }
            let finish = turn.finish.clone();
            let (kept, planned, clients) = match session.conclude(turn)? {
                Step::Again => continue,
                Step::Answer(kept, planned) => (kept, planned, None),
                Step::Client(kept, planned, clients) => (kept, planned, Some(clients)),
                Step::Done => {
                    for piece in voice.last(&session, finish.as_deref(), &[]) {
                        yield piece;
                    }
                    return;
                }
            };
            let tells = session.job.options.events;
            if tells {
                let identity = voice.identity();
                for event in planned.iter().filter_map(super::session::Planned::event) {
                    yield event_chunk(Family::Chat, &identity, &event);
                }
            }
            if clients.is_none() || session.has_hidden_turns() || !planned.is_empty() {
                let ran = session.run(kept, planned).await?;
                if tells {
                    let identity = voice.identity();
                    for ran in &ran {
                        yield event_chunk(Family::Chat, &identity, &ran.event());
                    }
                }
            }
            if let Some(clients) = clients {
                if session.has_hidden_turns() {
                    session.keep(&clients);
                }
                for piece in voice.last(&session, Some("tool_calls"), &clients) {
                    yield piece;
                }
                return;
            }
        }
    }
    .boxed()
}

type Opened = Result<(upstream::Head, EventStream), upstream::Error>;

fn open<'a>(
    client: &'a Client,
    request: &'a Request,
) -> futures_util::future::BoxFuture<'a, Opened> {
    Box::pin(client.stream(request))
}

/// A turn is over with `[DONE]`; its connection is given up rather than waited for when the end of the body is not there yet.
fn drain(mut events: EventStream) {
    use futures_util::FutureExt;
    while let Some(Some(Ok(_))) = events.next().now_or_never() {}
}

/// What the client hears: one stream with one identity, made of the turns.
struct Voice {
    session: Shown,
    upstream: String,
    model: String,
    /// A chunk with nothing but a role, held until something is said: it would commit the status.
    held: Option<Bytes>,
    role_told: bool,
    text: String,
    spoke: bool,
    turn: Hearing,
}

/// What of a session the voice needs.
struct Shown {
    progress: Arc<crate::rag::Progress>,
    asked: String,
    include_usage: bool,
}

/// One turn as it is heard.
#[derive(Default)]
struct Hearing {
    calls: Gathered,
    filter: Filter,
    content: Option<String>,
    finish: Option<String>,
    usage: Option<Value>,
    done: bool,
    ended: bool,
}

impl Voice {
    fn new(session: &Session) -> Self {
        Self {
            session: Shown {
                progress: Arc::clone(&session.job.progress),
                asked: session.job.request.model.clone(),
                include_usage: session.job.request.include_usage,
            },
            upstream: String::new(),
            model: String::new(),
            held: None,
            role_told: false,
            text: String::new(),
            spoke: false,
            turn: Hearing::default(),
        }
    }

    fn begin(&mut self) {
        self.turn = Hearing::default();
        self.held = None;
    }

    /// The identity of the whole stream: the first turn's, or the gateway's where a chunk of its own came first.
    fn identity(&self) -> Identity {
        self.session
            .progress
            .identity
            .get_or_init(|| Identity::new(&self.session.asked))
            .clone()
    }

    /// What goes out for one event.
    fn event(&mut self, event: Event) -> Result<Vec<Bytes>, Error> {
        match event.payload() {
            Payload::Data(data) => {
                let data = data.clone();
                self.chunk(event, &data)
            }
            Payload::Done => {
                self.turn.done = true;
                self.turn.ended = true;
                Ok(Vec::new())
            }
            // Heartbeats of the upstream would commit the status; the gateway sends its own.
            Payload::Comment | Payload::Empty => Ok(Vec::new()),
            Payload::Stray(_) => Err(self.invalid("text that is no event")),
        }
    }

    fn chunk(&mut self, event: Event, data: &Bytes) -> Result<Vec<Bytes>, Error> {
        let Ok(chunk) = Chunk::parse(data) else {
            return Err(self.invalid("an event that is no JSON"));
        };
        if chunk.is_error() {
            let (status, body) = upstream::error_body::read_under_success(data);
            return Err(Error::Upstream(upstream::Error::Status {
                upstream: self.upstream.clone(),
                status,
                body: Box::new(body),
                headers: Box::default(),
                retry_after: None,
            }));
        }
        let counts = chunk.usage.filter(|usage| usage.get() != "null");
        if let Some(usage) = counts {
            self.turn.usage = serde_json::from_str(usage.get()).ok();
        }
        let renamed = self.is_renamed(&chunk);
        let Some(choice) = chunk
            .choices
            .as_ref()
            .and_then(|choices| choices.iter().find(|choice| choice.index.unwrap_or(0) == 0))
        else {
            return Ok(Vec::new());
        };
        if let Some(reason) = choice.finish_reason.as_deref()
            && self.turn.finish.is_none()
        {
            self.turn.finish = Some(reason.to_owned());
        }
        let Some(delta) = &choice.delta else {
            return Ok(Vec::new());
        };
        if let Some(calls) = delta.tool_calls {
            self.turn.calls.add(calls.get());
        }
        let text = delta.text();
        if delta.content.is_some_and(|content| content.get() != "null") {
            self.turn.content.get_or_insert_default().push_str(&text);
        }
        let out = self.turn.filter.push(&text);
        self.text.push_str(&out);
        self.spoke |= !out.is_empty();

        let says = !out.is_empty() || delta.thinks();
        let repeats_role = delta.role.is_some() && self.role_told;
        let as_it_came = !renamed
            && out == text
            && !repeats_role
            && chunk.usage.is_none()
            && delta.tool_calls.is_none()
            && choice.finish_reason.is_none();
        let begins = delta.role.is_some() && !self.role_told;
        if !says && !begins {
            return Ok(Vec::new());
        }
        let piece = if as_it_came {
            event.relayed()
        } else {
            self.rewritten(data, &out, repeats_role)
        };
        let Some(piece) = piece else {
            return Ok(Vec::new());
        };
        if !says {
            self.held = Some(piece);
            return Ok(Vec::new());
        }
        self.role_told |= begins || self.held.is_some();
        Ok(self.held.take().into_iter().chain([piece]).collect())
    }

    /// A chunk with nothing of the gateway's business in it: no calls, no finish, no running usage, no second role, and the stream's identity.
    fn rewritten(&self, data: &Bytes, text: &str, repeats_role: bool) -> Option<Bytes> {
        let mut chunk = Object::read(data.clone()).ok()?;
        let identity = self.identity();
        chunk.set("id", Json::of(&identity.id));
        chunk.set("created", Json::of(&identity.created));
        chunk.set("model", Json::of(&identity.model));
        self.hide_usage(&mut chunk);
        let mut choices = chunk.value("choices").and_then(Json::items)?;
        for choice in &mut choices {
            let mut object = Object::parse(choice)?;
            let mut delta = object.value("delta").and_then(Object::parse)?;
            delta.remove("tool_calls");
            if repeats_role {
                delta.remove("role");
                delta.remove("name");
            }
            if delta
                .read_value::<String>("content")
                .is_some_and(|content| content != text)
            {
                delta.set("content", Json::of(text));
            }
            object.set("delta", delta.to_json());
            object.set("finish_reason", Json::of(&Value::Null));
            *choice = object.to_json();
        }
        chunk.set("choices", Json::array(&choices));
        Some(sse::encode::data(chunk.to_json().bytes()))
    }

    fn hide_usage(&self, chunk: &mut Object) {
        if self.session.include_usage {
            chunk.set("usage", Json::of(&Value::Null));
        } else {
            chunk.remove("usage");
        }
    }

    fn is_renamed(&self, chunk: &Chunk<'_>) -> bool {
        let Some(id) = chunk.id.as_deref().filter(|id| !id.is_empty()) else {
            return self.session.progress.identity.get().is_some();
        };
        let created = chunk.created.as_ref().and_then(serde_json::Number::as_u64);
        let known = self.session.progress.identity.get_or_init(|| Identity {
            id: id.to_owned(),
            created: created.unwrap_or_else(crate::openai::unix_seconds),
            model: chunk.model.as_deref().unwrap_or(&self.model).to_owned(),
        });
        known.id != id
            || Some(known.created) != created
            || Some(known.model.as_str()) != chunk.model.as_deref()
    }

    /// The turn, and the text that was held back in it.
    fn finish_turn(&mut self) -> Result<(Turn, Option<Bytes>), Error> {
        let heard = std::mem::take(&mut self.turn);
        if heard.finish.is_none() && !heard.done {
            return Err(Error::Upstream(upstream::Error::Truncated {
                upstream: self.upstream.clone(),
            }));
        }
        let (mut rest, leaked) = heard.filter.finish();
        let mut calls = heard.calls.finish();
        let mut content = heard.content;
        if let Some(leaked) = leaked {
            let found = calls::of_leaked_text(&leaked);
            if found.is_empty() {
                rest.push_str(&leaked);
            } else if let Some(content) = &mut content {
                content.truncate(content.len().saturating_sub(leaked.len()));
            }
            calls.extend(found);
        }
        let piece = (!rest.is_empty()).then(|| {
            self.text.push_str(&rest);
            self.spoke = true;
            let delta = if std::mem::replace(&mut self.role_told, true) {
                json!({"content": rest})
            } else {
                json!({"role": "assistant", "content": rest})
            };
            self.own_chunk(delta, None)
        });
        Ok((
            Turn {
                content,
                calls,
                finish: heard.finish,
                usage: heard.usage,
            },
            piece,
        ))
    }

    /// The end of the answer: the client's calls, the finish with everything that is known by now, the usage, `[DONE]`.
    fn last(&mut self, session: &Session, finish: Option<&str>, clients: &[Call]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        for (index, call) in clients.iter().enumerate() {
            let mut delta = json!({"tool_calls": [call.to_delta(index)]});
            if let (false, Some(delta)) = (
                std::mem::replace(&mut self.role_told, true),
                delta.as_object_mut(),
            ) {
                delta.insert("role".to_owned(), json!("assistant"));
                delta.insert("content".to_owned(), Value::Null);
            }
            pieces.push(self.own_chunk(delta, None));
        }
        let finish = match finish {
            Some("tool_calls") if clients.is_empty() => "stop",
            Some(reason) => reason,
            None => "stop",
        };
        pieces.push(self.finish_chunk(session, finish, clients.is_empty()));
        if self.session.include_usage
            && let Some(usage) = &session.usage
        {
            let identity = self.identity();
            let mut chunk = identity.empty_chunk(Family::Chat, None);
            chunk.set("choices", Json::of(&json!([])));
            chunk.set("usage", Json::of(usage));
            pieces.push(sse::encode::data(chunk.to_json().bytes()));
        }
        pieces.push(sse::encode::DONE.clone());
        pieces
    }

    fn finish_chunk(&self, session: &Session, finish: &str, answered: bool) -> Bytes {
        let mut chunk = self.identity().empty_chunk(Family::Chat, Some(finish));
        let mut report = session.report.clone();
        let mut delta = Map::new();
        if !self.role_told {
            delta.insert("role".to_owned(), json!("assistant"));
            delta.insert("content".to_owned(), Value::Null);
        }
        if let Some(links) = session.links() {
            let (annotations, unknown) = citations::annotate(&self.text, &report.selection, &links);
            report.warnings.extend(unknown);
            delta.insert(
                "annotations".to_owned(),
                serde_json::to_value(annotations).unwrap_or_default(),
            );
        }
        if finish == "length" && answered && !self.spoke {
            report.warnings.push(RAN_OUT.to_owned());
        }
        let choice =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        chunk.set("choices", Json::of(&choice));
        if self.session.include_usage {
            chunk.set("usage", Json::of(&Value::Null));
        }
        let mut rag = Object::parse(&report.to_json()).unwrap_or_else(Object::empty);
        rag.set("timings", Json::of(&session.timings.to_value()));
        if session.job.progress.is_committed() {
            rag.set("upstream", Json::of(&self.upstream));
            rag.set("model", Json::of(&self.model));
        }
        chunk.set("rag", rag.to_json());
        sse::encode::data(chunk.to_json().bytes())
    }

    fn own_chunk(&self, delta: Value, finish: Option<&str>) -> Bytes {
        let mut chunk = self.identity().empty_chunk(Family::Chat, finish);
        chunk.set(
            "choices",
            Json::of(
                &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]),
            ),
        );
        if self.session.include_usage {
            chunk.set("usage", Json::of(&Value::Null));
        }
        sse::encode::data(chunk.to_json().bytes())
    }

    fn invalid(&self, detail: &str) -> Error {
        Error::Upstream(upstream::Error::Invalid {
            upstream: self.upstream.clone(),
            detail: detail.to_owned(),
        })
    }
}
