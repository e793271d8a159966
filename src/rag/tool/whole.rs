//! Whole answers in mode `tool`.

use std::sync::Arc;

use serde_json::{Value, json, value::RawValue};

use super::{
    calls::{self, Call},
    leak::Filter,
    session::{Session, Step, Turn},
    voice::finish_reason,
};
use crate::{
    openai::{Json, Object, chunk::content_text},
    rag::{Answer, Error, Job, Pipeline, answer, meta},
};

/// Answers a request: turn after turn, until one speaks or calls the client's own tools.
pub(in crate::rag) async fn answer(pipeline: Arc<Pipeline>, job: Job) -> Result<Answer, Error> {
    let mut session = Session::new(pipeline, job);
    let mut spoken = Spoken::default();
    loop {
        session.prepare();
        let pipeline = Arc::clone(&session.pipeline);
        let delivered = pipeline
            .deliver(&session.job, |client, call| Box::pin(client.whole(call)))
            .await;
        let delivered = delivered.map(|(answer, route)| (answer, route.clone()));
        let ((head, body), route) = match delivered {
            Ok(delivered) => delivered,
            Err(error) if session.may_ask_otherwise(&error) => continue,
            Err(error) => return Err(error),
        };
        session.stay_with(&route);
        session.timings.upstream =
            Some(session.timings.upstream.unwrap_or_default() + head.latency);
        session.job.progress.tally.relayed_whole(&body);
        let (choice, message) = first_choice(&body);
        let heard = Heard::of(&message);
        spoken.add(&message, &heard, &choice);
        let turn = Turn {
            content: heard.text,
            says_otherwise: says_otherwise(&message),
            calls: heard.calls,
            finish: choice.read_value("finish_reason"),
            usage: body.read_value("usage"),
        };
        let clients = match session.conclude(turn)? {
            Step::Again => continue,
            Step::Answer(turn, planned) => {
                let planned = session.within_limit(planned).await;
                session.run(turn, planned).await?;
                continue;
            }
            Step::Client(turn, planned, clients) => {
                let planned = session.within_limit(planned).await;
                session.run(turn, planned).await?;
                session.keep(&clients);
                clients
            }
            Step::Done => Vec::new(),
        };
        let mut body = spoken.put_into(body, choice, message, &clients);
        if let Some(usage) = &session.usage {
            body.set("usage", Json::of(usage));
        }
        let links = session.links();
        let tally = &session.job.progress.tally;
        tally.answered(route.upstream.name(), session.timings);
        let meta = meta(&route, head, session.timings);
        return Ok(Answer::Whole(
            meta,
            answer::finish(body, session.report, links.as_ref()),
        ));
    }
}

fn first_choice(body: &Object) -> (Object, Object) {
    let choices = body
        .value("choices")
        .and_then(Json::items)
        .unwrap_or_default();
    let choice = choices
        .first()
        .and_then(Object::parse)
        .unwrap_or_else(Object::empty);
    let message = choice
        .value("message")
        .and_then(Object::parse)
        .unwrap_or_else(Object::empty);
    (choice, message)
}

fn says_otherwise(message: &Object) -> bool {
    ["refusal", "audio"].iter().any(|key| {
        message
            .value(key)
            .is_some_and(|said| !matches!(&said.bytes()[..], b"null" | b"\"\"" | b"{}"))
    })
}

/// What one message says, with the calls that leaked into its text taken out of it.
struct Heard {
    /// Its content, as the upstream wrote it where nothing was taken out; `None` for `null`.
    content: Option<Json>,
    /// Its text.
    text: Option<String>,
    calls: Vec<Call>,
}

impl Heard {
    fn of(message: &Object) -> Self {
        let mut calls = calls::of_message(message);
        let Some(content) = message
            .value("content")
            .filter(|content| !content.is_null())
        else {
            return Self {
                content: None,
                text: None,
                calls,
            };
        };
        let text = content
            .read::<&RawValue>()
            .map(|content| content_text(content).into_owned())
            .unwrap_or_default();
        let mut filter = Filter::default();
        let mut kept = filter.push(&text).into_owned();
        let rest = filter.finish();
        kept.push_str(&rest.text);
        if kept == text || content.items().is_some() {
            return Self {
                content: Some(content.clone()),
                text: Some(text),
                calls,
            };
        }
        calls.extend(rest.calls);
        Self {
            content: Some(Json::of(&kept)),
            text: Some(kept),
            calls,
        }
    }
}

/// The fields of a message that hold thoughts.
const THOUGHTS: [&str; 2] = ["reasoning", "reasoning_content"];

/// What the turns said, in order.
#[derive(Debug, Default)]
struct Spoken {
    contents: Vec<Json>,
    thoughts: [Option<String>; 2],
    logprobs: Vec<Json>,
}

impl Spoken {
    fn add(&mut self, message: &Object, heard: &Heard, choice: &Object) {
        self.contents.extend(heard.content.clone());
        for (field, thoughts) in THOUGHTS.into_iter().zip(&mut self.thoughts) {
            if let Some(more) = message.read_value::<String>(field) {
                thoughts.get_or_insert_default().push_str(&more);
            }
        }
        let logprobs = choice.value("logprobs").and_then(Object::parse);
        self.logprobs.extend(
            logprobs
                .and_then(|logprobs| logprobs.value("content").and_then(Json::items))
                .unwrap_or_default(),
        );
    }

    /// The last turn's answer, speaking for all of them.
    fn put_into(
        self,
        mut body: Object,
        mut choice: Object,
        mut message: Object,
        clients: &[Call],
    ) -> Object {
        let content = joined(&self.contents)
            .filter(|content| clients.is_empty() || &content.bytes()[..] != b"\"\"");
        message.set("content", content.unwrap_or(Json::of(&Value::Null)));
        for (field, thoughts) in THOUGHTS.into_iter().zip(self.thoughts) {
            // What only one turn thought stays as its upstream wrote it.
            if let Some(thoughts) = thoughts
                && message.read_value::<String>(field).as_deref() != Some(thoughts.as_str())
            {
                message.set(field, Json::of(&thoughts));
            }
        }
        message.remove("function_call");
        if clients.is_empty() {
            message.remove("tool_calls");
        } else {
            let calls: Vec<Value> = clients.iter().map(Call::to_value).collect();
            message.set("tool_calls", Json::of(&calls));
        }
        let said: Option<String> = choice.read_value("finish_reason");
        let finish = finish_reason(said.as_deref(), !clients.is_empty());
        if said.as_deref() != Some(finish) {
            choice.set("finish_reason", Json::of(finish));
        }
        if !self.logprobs.is_empty() {
            let mut logprobs = choice
                .value("logprobs")
                .and_then(Object::parse)
                .unwrap_or_else(Object::empty);
            logprobs.set("content", Json::array(&self.logprobs));
            choice.set("logprobs", logprobs.to_json());
        }
        choice.set("message", message.to_json());
        if choice.value("index").is_none() {
            choice.set("index", Json::of(&json!(0)));
        }
        body.set("choices", Json::array([&choice.to_json()]));
        body
    }
}

/// The contents of all turns as one, nothing between; `None` where there is none. One that stands alone stays as its upstream wrote it.
fn joined(contents: &[Json]) -> Option<Json> {
    let said: Vec<&Json> = contents
        .iter()
        .filter(|content| &content.bytes()[..] != b"\"\"")
        .collect();
    match said.as_slice() {
        [] => contents.last().cloned(),
        [one] => Some((*one).clone()),
        _ => {
            let texts: Option<String> = said
                .iter()
                .map(|content| content.read::<String>().ok())
                .collect();
            Some(texts.map_or_else(|| parts(&said), |text| Json::of(&text)))
        }
    }
}

/// Contents of which some are lists of parts, as one list.
fn parts(contents: &[&Json]) -> Json {
    let parts = contents.iter().flat_map(|content| {
        content.items().unwrap_or_else(|| {
            vec![Json::of(
                &json!({"type": "text", "text": content.read::<Value>().ok()}),
            )]
        })
    });
    Json::array(&parts.collect::<Vec<_>>())
}
