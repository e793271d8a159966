//! What answering one request took: counted while it is answered, told once, at its ending, by the log and the metrics.
//!
//! Where the tokens of the caller's key are limited, it also holds what was reserved for the request, and settles it by the same count: at the
//! ending, or when it is dropped because the client left.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    heard,
    metered::{Metered, texts_of},
    passages::Selection,
    report::Timings,
};
use crate::{
    access::Reservation,
    openai::{Object, chunk::Chunk},
    retrieval::{self, Found},
    trace::{Begun, Search, Steps},
    upstream,
};

/// The count of one request.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
    /// What is settled where no upstream's count is there.
    metered: Mutex<Metered>,
    /// When the first event of a stream went to the client.
    pub first_event: OnceLock<Instant>,
    /// What was done, step by step, where the request is followed.
    pub steps: Steps,
    /// What is held of a limit of tokens; nothing where there is none.
    reservation: OnceLock<Reservation>,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Each search: `made`, `cached`, `empty` or `failed`, and how long it took.
    pub searches: Vec<(&'static str, Duration)>,
    /// Passages that the model was given.
    pub passages: usize,
    /// Those of them that held something which had to be defused.
    pub defused: usize,
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
    /// Limits of the key that were used up on the way, each by a word.
    pub limited: Vec<&'static str>,
}

/// What upstreams count (`usage`).
#[derive(Debug, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl Usage {
    /// All of them. Embeddings have no completion, and some servers tell only the sum.
    fn total(&self) -> Option<u64> {
        let parts = [self.prompt_tokens, self.completion_tokens];
        let sum = parts.into_iter().flatten().reduce(u64::saturating_add);
        sum.max(self.total_tokens)
    }
}

impl Tally {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Counts a search, whose step ends with it.
    pub fn searched(&self, step: Begun, found: &Result<Found, retrieval::Error>, took: Duration) {
        let outcome = match found {
            Err(_) => "failed",
            Ok(found) if found.cached => "cached",
            Ok(found) if found.passages.is_empty() => "empty",
            Ok(_) => "made",
        };
        self.lock().searches.push((outcome, took));
        let brought = found.as_ref().ok();
        let search = Search {
            results: brought.map(|found| found.passages.len()),
            is_cached: brought.is_some_and(|found| found.cached),
        };
        let failed = found.as_ref().err().map(retrieval::Error::kind);
        self.steps.searched(step, took, search, failed);
    }

    /// Notes what the model was given, all in all.
    pub fn given(&self, selection: &Selection) {
        let mut counts = self.lock();
        counts.passages = selection.sources.len();
        counts.defused = selection.suspicious.len();
        counts.passage_tokens = selection.tokens;
        let more = self.metered().given(selection.tokens);
        if let Some(reservation) = self.reservation.get() {
            reservation.raise(more, Instant::now());
        }
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
            self.steps.hear(|call| {
                call.input_tokens = usage.prompt_tokens.or(call.input_tokens);
                call.output_tokens = usage.completion_tokens.or(call.output_tokens);
            });
            let mut counts = self.lock();
            counts.prompt_tokens = usage.prompt_tokens.or(counts.prompt_tokens);
            counts.completion_tokens = usage.completion_tokens.or(counts.completion_tokens);
            if let Some(told) = usage.total() {
                self.metered().told(told);
            }
        }
    }

    /// Ends a turn of the model, which counted this.
    pub fn turned(&self, usage: Option<&Value>) {
        self.steps.over(|call| heard::usage(call, usage));
    }

    /// Notes the tokens of a whole answer.
    pub fn used_by(&self, answer: &Object) {
        if let Some(usage) = answer.value("usage")
            && let Ok(usage) = std::str::from_utf8(usage.bytes())
        {
            self.used(usage);
        }
        self.relayed_whole(answer);
    }

    /// Holds `reservation` for a request whose prompt is about `prompt` tokens, until the tally is settled.
    pub fn hold(&self, reservation: Reservation, prompt: u64) {
        if self.reservation.set(reservation).is_ok() {
            *self.metered() = Metered::new(prompt);
        }
    }

    /// Whether the tokens of this request are limited.
    pub fn is_metered(&self) -> bool {
        self.reservation.get().is_some()
    }

    /// Notes that an upstream is asked: from here on it may count.
    pub fn asks(&self) {
        self.metered().asks();
    }

    /// Notes that the upstream that was asked last refused or failed, and so counts nothing.
    pub fn unanswered(&self) {
        self.metered().unanswered();
    }

    /// Estimates what a chunk says, where tokens are limited and its stream may end without a count.
    pub fn relayed(&self, chunk: &Chunk<'_>) {
        self.steps.hear(|call| heard::chunk(call, chunk));
        if self.is_metered() {
            self.metered().relayed(chunk);
        }
    }

    /// The same of a chunk that adds this text and nothing else: the inside of a JSON string. Only for a request whose tokens are limited,
    /// which whoever relays its events knows.
    pub(super) fn said(&self, inside: &str) {
        self.metered().says_json(inside);
    }

    /// Estimates what a whole answer says, where tokens are limited and it has no count.
    pub fn relayed_whole(&self, answer: &Object) {
        self.steps.over(|call| heard::answer(call, answer));
        let has_count = answer.value("usage").is_some_and(|usage| !usage.is_null());
        if self.is_metered() && !has_count {
            let mut metered = self.metered();
            texts_of(answer).for_each(|text| metered.says(&text));
        }
    }

    /// Counts the tokens of a call beside the answer's own, such as one that words the query.
    pub fn used_beside(&self, answer: &Object) {
        let usage: Option<Usage> = answer.read_value("usage");
        let told = usage.and_then(|usage| usage.total());
        self.metered().beside(told.unwrap_or_default());
    }

    /// Notes that a limit of the key was used up on the way.
    pub fn limited(&self, limit: &'static str) {
        self.lock().limited.push(limit);
    }

    /// Puts what the request took in the place of what was held for it; once, whoever says so first.
    pub fn settle(&self) {
        if let Some(reservation) = self.reservation.get() {
            let spent = self.metered().spent();
            reservation.settle(spent, Instant::now());
        }
    }

    /// What would be settled now.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.metered().spent()
    }

    /// Notes the longest wait between two events.
    pub fn waited(&self, longest: Duration) {
        self.lock().longest_gap = Some(longest);
    }

    /// Counts a failure of an upstream.
    pub fn failed(&self, error: &upstream::Error) {
        self.steps.failed(error.kind());
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

    fn metered(&self) -> MutexGuard<'_, Metered> {
        self.metered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tally {
    /// Whoever answers may be dropped at any moment, with everything it was about to do.
    fn drop(&mut self) {
        self.settle();
    }
}
