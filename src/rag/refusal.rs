//! The answer without any model, for questions that the documents say nothing about (`on_no_results = "refuse"`).

use futures_util::StreamExt;
use serde_json::json;

use super::{
    Answer, Meta, answer,
    completion::{self, Endpoint},
    ground::Grounded,
    job::Job,
    report::Timings,
};
use crate::{
    openai::{Identity, Json},
    sse,
};

/// What answers when search found nothing and the operator wants no model to be asked.
const REFUSAL: &str = "I could not find anything about this in the documents that I can search.";

/// The fixed sentence, as an answer in the form that the client asked for.
pub(super) fn refuse(job: &Job, grounded: &Grounded, timings: Timings) -> Answer {
    let family = job.endpoint.family();
    let identity = job
        .progress
        .identity
        .get_or_init(|| Identity::new(family, &job.request.model))
        .clone();
    let meta = Meta {
        timings,
        ..Meta::default()
    };
    if !job.request.stream {
        let mut answer = match &job.endpoint {
            Endpoint::Chat => answer::own(&identity, REFUSAL),
            Endpoint::Completions(_) => completion::own(&identity, REFUSAL),
        };
        answer.set("rag", grounded.report.to_json());
        return Answer::Whole(meta, answer.to_json().bytes().clone());
    }
    let mut first = identity.text_chunk(family, REFUSAL);
    first.set("rag", grounded.report.to_json());
    let last = identity.empty_chunk(family, Some("stop"));
    let mut pieces = vec![
        Ok(sse::encode::data(first.to_json().bytes())),
        Ok(sse::encode::data(last.to_json().bytes())),
    ];
    if job.request.include_usage {
        let mut usage = identity.empty_chunk(family, None);
        usage.set("choices", Json::of(&json!([])));
        let none = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        usage.set("usage", Json::of(&none));
        pieces.push(Ok(sse::encode::data(usage.to_json().bytes())));
    }
    pieces.push(Ok(sse::encode::DONE.clone()));
    Answer::Stream(meta, futures_util::stream::iter(pieces).boxed())
}
