//! What a collector is told of a request: its place in the trace of its caller, and at its ending what became of it.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method};

use crate::{
    config::Config,
    rag::tally::{Counts, Tally},
    sse::Ending,
    telemetry::otlp::{Ended, Request},
    trace::Context,
};

/// The longest text of a client's that is told.
const LONGEST: usize = 200;

/// The place of a request in a trace, where a collector is told of traces.
pub(super) fn context(config: &Config, headers: &HeaderMap) -> Option<Context> {
    let telemetry = config.telemetry.as_ref()?;
    let share = telemetry.trace_ratio;
    (share > 0.0).then(|| Context::joining(headers, share))
}

/// A request that ended, as the log and its tally know it.
pub(super) struct Known<'l> {
    pub(super) config: &'l Config,
    pub(super) began: Instant,
    pub(super) id: Option<&'l HeaderValue>,
    pub(super) method: &'l Method,
    pub(super) path: &'l str,
    /// `other` where nothing is.
    pub(super) endpoint: &'l str,
    pub(super) status: u16,
    pub(super) ending: Ending,
    pub(super) tally: Option<&'l Tally>,
    pub(super) key: String,
    pub(super) model: &'l str,
    pub(super) upstream: String,
    pub(super) mode: &'static str,
    pub(super) sources: Option<String>,
}

impl Known<'_> {
    /// What is told of it.
    pub(super) fn request(self, context: Context, counts: &Counts) -> Request {
        let cached = counts.searches.iter().filter(|(what, _)| *what == "cached");
        let cut = |text: &str| text.chars().take(LONGEST).collect();
        // Counts of nothing are left out, as in the log.
        let some = |count: usize| u64::try_from(count).ok().filter(|count| *count > 0);
        let passage_tokens = some(counts.passages).map(|_| counts.passage_tokens.into());
        let id = self.id.and_then(|id| id.to_str().ok());
        let failure = counts.failures.last();
        Request {
            context,
            steps: self.tally.map_or_else(Vec::new, |tally| tally.steps.take()),
            began: self.began,
            ended: Ended::now(),
            first_event: self
                .tally
                .and_then(|tally| tally.first_event.get().copied()),
            method: self.method.clone(),
            scheme: if self.config.tls.is_some() {
                "https"
            } else {
                "http"
            },
            path: cut(self.path),
            route: Some(self.endpoint.to_owned()).filter(|route| route != "other"),
            status: self.status,
            ending: self.ending.as_str(),
            failure: failure.map(|(_, kind)| *kind),
            id: id.unwrap_or_default().to_owned(),
            texts: [
                ("groundwire.key", self.key),
                ("groundwire.model", cut(self.model)),
                ("groundwire.upstream", self.upstream),
                ("groundwire.mode", self.mode.to_owned()),
                ("groundwire.sources", self.sources.unwrap_or_default()),
            ],
            numbers: [
                ("groundwire.searches", some(counts.searches.len())),
                ("groundwire.cached", some(cached.count())),
                ("groundwire.passages", some(counts.passages)),
                ("groundwire.defused", some(counts.defused)),
                ("groundwire.passage_tokens", passage_tokens),
                ("groundwire.prompt_tokens", counts.prompt_tokens),
                ("groundwire.completion_tokens", counts.completion_tokens),
                ("groundwire.retries", some(counts.retries.len())),
                ("groundwire.fallbacks", some(counts.fallbacks.len())),
            ],
        }
    }
}
