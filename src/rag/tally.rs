//! What answering one request took: counted while it is answered, told once, at its ending, by the log and the metrics.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{passages::Selection, report::Timings};
use crate::{
    openai::Object,
    retrieval::{self, Found},
    upstream,
};

/// The count of one request.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
    /// When the first event of a stream went to the client.
    pub first_event: OnceLock<Instant>,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Each search: `made`, `cached`, `empty` or `failed`, and how long it took.
    pub searches: Vec<(&'static str, Duration)>,
    /// Passages that the model was given.
    pub passages: usize,
    /// Their tokens, by the gateway's own estimate.
    pub passage_tokens: u32,
    /// What they are: file and chunk.
    pub sources: Vec<(i64, String)>,
    /// Tokens of the prompt, where the upstream told.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, where the upstream told.
    pub completion_tokens: Option<u64>,
    /// The upstream that answered in the end.
    pub upstream: Option<String>,
    /// How long the steps took.
    pub timings: Timings,
    /// The longest wait between two events of a stream.
    pub longest_gap: Option<Duration>,
    /// The upstreams that were asked again.
    pub retries: Vec<String>,
    /// The upstreams that were not asked again because too much was.
    pub refused_retries: Vec<String>,
    /// The upstreams that another was asked instead of.
    pub fallbacks: Vec<String>,
    /// What upstreams did wrong: which, and a word for it.
    pub failures: Vec<(String, &'static str)>,
}

/// What upstreams count (`usage`).
#[derive(Debug, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Tally {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Counts a search.
    pub fn searched(&self, found: &Result<Found, retrieval::Error>, took: Duration) {
        let outcome = match found {
            Err(_) => "failed",
            Ok(found) if found.cached => "cached",
            Ok(found) if found.passages.is_empty() => "empty",
            Ok(_) => "made",
        };
        self.lock().searches.push((outcome, took));
    }

    /// Notes what the model was given, all in all.
    pub fn given(&self, selection: &Selection) {
        let mut counts = self.lock();
        counts.passages = selection.sources.len();
        counts.passage_tokens = selection.tokens;
        let sources = selection.sources.iter();
        counts.sources = sources
            .map(|source| {
                let passage = &source.passage;
                (passage.source.file_id, passage.chunk_id.clone())
            })
            .collect();
    }

    /// Notes which upstream answered, after how long.
    pub fn answered(&self, upstream: &str, timings: Timings) {
        let mut counts = self.lock();
        counts.upstream = Some(upstream.to_owned());
        counts.timings = timings;
    }

    /// Notes the tokens by an upstream's `usage`; later counts replace earlier ones, which they include.
    pub fn used(&self, usage: &str) {
        if let Ok(Some(usage)) = serde_json::from_str::<Option<Usage>>(usage) {
            let mut counts = self.lock();
            counts.prompt_tokens = usage.prompt_tokens.or(counts.prompt_tokens);
            counts.completion_tokens = usage.completion_tokens.or(counts.completion_tokens);
        }
    }

    /// Notes the tokens of a whole answer.
    pub fn used_by(&self, answer: &Object) {
        if let Some(usage) = answer.value("usage")
            && let Ok(usage) = std::str::from_utf8(usage.bytes())
        {
            self.used(usage);
        }
    }

    /// Notes the longest wait between two events.
    pub fn waited(&self, longest: Duration) {
        self.lock().longest_gap = Some(longest);
    }

    /// Counts a failure of an upstream.
    pub fn failed(&self, error: &upstream::Error) {
        let failure = (error.upstream().to_owned(), error.kind());
        self.lock().failures.push(failure);
    }

    /// Counts a call made again.
    pub fn retried(&self, upstream: &str) {
        self.lock().retries.push(upstream.to_owned());
    }

    /// Counts a call that was not made again because the budget was empty.
    pub fn retry_refused(&self, upstream: &str) {
        self.lock().refused_retries.push(upstream.to_owned());
    }

    /// Counts a turn to another upstream instead of this one.
    pub fn fell_back(&self, upstream: &str) {
        self.lock().fallbacks.push(upstream.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
