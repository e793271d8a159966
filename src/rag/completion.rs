//! Legacy completions: the same road as chat, with a prompt where the conversation is.

use bytes::Bytes;
use serde_json::json;

use super::{Job, report::Report, tokens};
use crate::{
    openai::{CompletionRequest, Identity, Json, Object, chunk::Family, completions::Prompt},
    upstream::Route,
};

/// Which endpoint a request came to, and what it needs beyond the conversation.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`. The job's conversation is the prompt as a message; what is sent on is this request.
    Completions(Box<CompletionRequest>),
}

/// What `rag.warnings` says where the prompt cannot be read.
const TOKENS: &str = "the prompt consists of tokens, so nothing was searched for and the answer is not grounded; send the prompt as text";

impl Endpoint {
    /// What kind of chunks its streams have.
    pub fn family(&self) -> Family {
        match self {
            Self::Chat => Family::Chat,
            Self::Completions(_) => Family::Completion,
        }
    }

    /// The path in an upstream's API.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions(_) => "/completions",
        }
    }

    /// Whether the prompt is text.
    pub(super) fn is_readable(&self) -> bool {
        !matches!(self, Self::Completions(request) if request.prompt == Prompt::Tokens)
    }

    /// Whether the prompt can be grounded; if not, the report says why.
    pub(super) fn can_be_grounded(&self, report: &mut Report) -> bool {
        if !self.is_readable() {
            report.warnings.push(TOKENS.to_owned());
        }
        self.is_readable()
    }

    /// The tokens that the longest prompt of a list takes beyond the first, which the conversation counts.
    pub(super) fn longest_beyond_first(&self) -> u32 {
        let Self::Completions(request) = self else {
            return 0;
        };
        let Prompt::Texts(texts) = &request.prompt else {
            return 0;
        };
        let mut counts = texts.iter().map(|text| tokens::estimate(text));
        let first = counts.next().unwrap_or_default();
        counts.max().unwrap_or_default().saturating_sub(first)
    }
}

/// The body to send on, with a token limit below the route's minimum raised to it.
pub(super) fn body(job: &Job, request: &CompletionRequest, route: &Route) -> Bytes {
    let low = job.low_limits(route);
    if low.is_empty() {
        return request.body(&route.model);
    }
    let mut request = request.clone();
    for key in low {
        request.set(key, Json::of(&route.min_completion_tokens));
    }
    request.body(&route.model)
}

/// A completion of the gateway's own, without any model.
pub(super) fn own(identity: &Identity, text: &str) -> Object {
    let answer = Json::of(&json!({
        "id": identity.id, "object": "text_completion", "created": identity.created, "model": identity.model,
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }));
    Object::parse(&answer).unwrap_or_else(Object::empty)
}
