//! Whole answers in mode `tool`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::session::{Session, Step, Turn, read_message};
use crate::{
    openai::{Json, Object},
    rag::{Answer, Error, Job, Pipeline, answer, meta},
};

/// The fields of a message whose texts of all turns are joined.
const SPOKEN: [&str; 3] = ["content", "reasoning", "reasoning_content"];

/// Answers a request: turn after turn, until one speaks or calls the client's own tools.
pub(in crate::rag) async fn answer(pipeline: Arc<Pipeline>, job: Job) -> Result<Answer, Error> {
    let mut session = Session::new(pipeline, job);
    let mut spoken = Spoken::default();
    loop {
        session.prepare();
        let pipeline = Arc::clone(&session.pipeline);
        let ((head, body), route) = pipeline
            .deliver(&session.job, |client, call| Box::pin(client.whole(call)))
            .await?;
        let (head, route) = (head, route.clone());
        session.timings.upstream =
            Some(session.timings.upstream.unwrap_or_default() + head.latency);
        let (choice, message) = first_choice(&body);
        let (content, calls) = read_message(&message);
        spoken.add(&message, content.as_deref(), &choice);
        let turn = Turn {
            content,
            calls,
            finish: choice.read_value("finish_reason"),
            usage: body.read_value("usage"),
        };
        let calls = match session.conclude(turn)? {
            Step::Again => continue,
            Step::Answer(turn, planned) => {
                session.run(turn, planned).await?;
                continue;
            }
            Step::Client(turn, planned, calls) => {
                if session.has_hidden_turns() || !planned.is_empty() {
                    session.run(turn, planned).await?;
                    session.keep(&calls);
                }
                calls
            }
            Step::Done => Vec::new(),
        };
        let calls: Vec<Value> = calls.iter().map(super::calls::Call::to_value).collect();
        let mut body = spoken.put_into(body, choice, message, &calls);
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

/// What the turns said, in order.
#[derive(Debug, Default)]
struct Spoken {
    texts: [Option<String>; 3],
    logprobs: Vec<Json>,
}

impl Spoken {
    fn add(&mut self, message: &Object, content: Option<&str>, choice: &Object) {
        for (field, text) in SPOKEN.into_iter().zip(&mut self.texts) {
            let said = if field == "content" {
                content.map(str::to_owned)
            } else {
                message.read_value::<String>(field)
            };
            if let Some(said) = said {
                text.get_or_insert_default().push_str(&said);
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
        calls: &[Value],
    ) -> Object {
        for (field, text) in SPOKEN.into_iter().zip(self.texts) {
            let text = text.filter(|text| !text.is_empty() || calls.is_empty());
            match text {
                Some(text) => {
                    // What only one turn said stays as its upstream wrote it.
                    if message.read_value::<String>(field).as_deref() != Some(text.as_str()) {
                        message.set(field, Json::of(&text));
                    }
                }
                None if field == "content" => message.set(field, Json::of(&Value::Null)),
                None => {}
            }
        }
        if calls.is_empty() {
            message.remove("tool_calls");
            if choice.read_value::<String>("finish_reason").as_deref() == Some("tool_calls") {
                choice.set("finish_reason", Json::of("stop"));
            }
        } else {
            message.set("tool_calls", Json::of(calls));
            choice.set("finish_reason", Json::of("tool_calls"));
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
