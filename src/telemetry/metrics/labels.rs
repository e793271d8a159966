//! What is told of a request to be counted, and the labels that it is counted under.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;

/// What is counted of a request at its ending.
#[derive(Debug, Clone, Default)]
pub struct Report<'a> {
    /// The route, such as `/v1/chat/completions`; empty where there is none.
    pub endpoint: &'a str,
    /// The upstream that was asked; empty where none was.
    pub upstream: &'a str,
    /// The model as the client wrote it.
    pub model: &'a str,
    /// Whether that name is configured or listed.
    pub is_listed: bool,
    /// `inject`, `tool`, `off`, or empty.
    pub mode: &'static str,
    /// The name of the key.
    pub key: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// How it ended.
    pub ending: &'static str,
    /// How long it took, to its last byte.
    pub duration: Duration,
    /// How long its first event took, for a stream that had one.
    pub first_event: Option<Duration>,
    /// The longest wait between two events of a stream.
    pub longest_gap: Option<Duration>,
    /// Its searches: `made`, `cached`, `empty` or `failed`, and how long each took.
    pub searches: &'a [(&'static str, Duration)],
    /// Passages that the model was given.
    pub passages: u64,
    /// Those of them that held something which had to be defused.
    pub defused: u64,
    /// Tokens of prompt and answer by the upstream's count, and of the passages by ours.
    pub tokens: [(&'static str, u64); 3],
    /// The upstreams that were asked again.
    pub retries: &'a [String],
    /// The upstreams that were not asked again because the budget was empty.
    pub refused_retries: &'a [String],
    /// The upstreams that another was asked instead of.
    pub fallbacks: &'a [String],
    /// What upstreams did wrong: which, and a word for it.
    pub failures: &'a [(String, &'static str)],
    /// Limits of the key that were used up while it was answered, each by a word.
    pub limited: &'a [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) endpoint: String,
    pub(super) upstream: String,
    pub(super) model: String,
    pub(super) mode: &'static str,
    pub(super) key: String,
    pub(super) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Road {
    pub(super) endpoint: String,
    pub(super) upstream: String,
    pub(super) model: String,
    pub(super) mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) endpoint: String,
    pub(super) upstream: String,
    pub(super) mode: &'static str,
    pub(super) ending: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Tokens {
    pub(super) kind: &'static str,
    pub(super) upstream: String,
    pub(super) model: String,
    pub(super) key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Upstream {
    pub(super) upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failure {
    pub(super) upstream: String,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Limited {
    pub(super) key: String,
    pub(super) limit: &'static str,
}

/// The labels of a number that is told only where it means something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Nothing {}
