//! The line of a request: written when its answer has ended, with the numbers and the trace that go with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::{MatchedPath, Request};
use http::{HeaderValue, Method};
use tracing::{Span, field, info};

use super::{
    notes::{Fields, Notes},
    traced,
};
use crate::{app::App, rag::tally::Counts, sse::Ending, telemetry::metrics::Report};

/// The status of a request whose client left before there was one, as nginx writes it.
const LEFT: u16 = 499;

/// The routes that leave no line: what asks there asks every few seconds.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The line of one request, written once: when its answer ended, or was dropped.
pub(super) struct Line {
    began: Instant,
    /// Where a collector is told of it.
    id: Option<HeaderValue>,
    span: Span,
    method: Method,
    path: String,
    /// Its route; `None`: it has none.
    route: Option<MatchedPath>,
    status: u16,
    notes: Arc<Notes>,
    app: Arc<App>,
}

impl Line {
    /// The line of `request`, which is called `id` and whose lines have `span`.
    pub(super) fn begin(app: &Arc<App>, request: &Request, id: &HeaderValue, span: &Span) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let is_probe = route.as_ref().is_some_and(is_probe);
        let trace = traced::context(&app.config, request.headers()).filter(|_| !is_probe);
        Self {
            began: Instant::now(),
            id: trace.as_ref().map(|_| id.clone()),
            span: span.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            route,
            status: LEFT,
            notes: Arc::new(Notes::of(trace)),
            app: Arc::clone(app),
        }
    }

    /// What the handlers tell it.
    pub(super) fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// Whether it is never written, and its request needs no place.
    pub(super) fn is_probe(&self) -> bool {
        self.route.as_ref().is_some_and(is_probe)
    }

    /// Its route, as metrics name it.
    fn endpoint(&self) -> &str {
        self.route.as_ref().map_or("other", MatchedPath::as_str)
    }

    pub(super) fn write(self, seen: Ending) {
        let ending = self.notes.ending.get().copied().unwrap_or(seen);
        let mut fields = self.notes.fields();
        self.notes.settle();
        let tally = self.notes.tally.get();
        let mut counts = tally.map(|tally| tally.counts()).unwrap_or_default();
        if let Some(upstream) = counts.upstream.take() {
            fields.upstream = upstream;
        }
        let first_event = tally.and_then(|tally| tally.first_event.get());
        let first_event = first_event.map(|at| at.saturating_duration_since(self.began));
        self.count(ending, &fields, &counts, first_event);
        let of_search = counts.timings.search.or_else(|| {
            let all = counts.searches.iter().map(|(_, took)| *took);
            (!counts.searches.is_empty()).then(|| all.sum())
        });
        let cached = counts.searches.iter().filter(|(what, _)| *what == "cached");
        let sources = (self.app.config.log.sources && !counts.sources.is_empty())
            .then(|| sources(&counts.sources));
        let trace = self.notes.trace.as_ref();
        let trace = trace.filter(|trace| trace.is_sampled());
        // Counts of nothing are left out: most lines are short.
        let some = |count: usize| (count > 0).then_some(count);
        self.span.in_scope(|| {
            info!(
                status = self.status,
                duration_ms = milliseconds(self.began.elapsed()),
                ending = ending.as_str(),
                key = fields.key,
                model = fields.model,
                upstream = fields.upstream,
                mode = fields.mode,
                searches = some(counts.searches.len()),
                cached = some(cached.count()),
                passages = some(counts.passages),
                defused = some(counts.defused),
                passage_tokens = (counts.passages > 0).then_some(counts.passage_tokens),
                prompt_tokens = counts.prompt_tokens,
                completion_tokens = counts.completion_tokens,
                retries = some(counts.retries.len()),
                fallbacks = some(counts.fallbacks.len()),
                ttfe_ms = first_event.map(milliseconds),
                search_ms = of_search.map(milliseconds),
                upstream_ms = counts.timings.upstream.map(milliseconds),
                sources,
                trace_id = trace.map(|trace| field::display(trace.trace)),
                "{} {}",
                self.method,
                self.path
            );
        });
        if let Some(trace) = trace.cloned() {
            let known = traced::Known {
                config: &self.app.config,
                began: self.began,
                id: self.id.as_ref(),
                method: &self.method,
                path: &self.path,
                endpoint: self.endpoint(),
                status: self.status,
                ending,
                tally: tally.map(AsRef::as_ref),
                key: fields.key,
                model: &fields.model,
                upstream: fields.upstream,
                mode: fields.mode,
                sources,
            };
            self.app.outbox.put(known.request(trace, &counts));
        }
    }

    fn count(
        &self,
        ending: Ending,
        fields: &Fields,
        counts: &Counts,
        first_event: Option<Duration>,
    ) {
        let passages = u64::try_from(counts.passages).unwrap_or(u64::MAX);
        self.app.metrics.record(&Report {
            endpoint: self.endpoint(),
            upstream: &fields.upstream,
            model: &fields.model,
            is_listed: self.app.catalog.is_listed(&fields.model),
            mode: fields.mode,
            key: &fields.key,
            status: self.status,
            ending: ending.as_str(),
            duration: self.began.elapsed(),
            first_event,
            longest_gap: counts.longest_gap,
            searches: &counts.searches,
            passages,
            defused: u64::try_from(counts.defused).unwrap_or(u64::MAX),
            tokens: [
                ("prompt", counts.prompt_tokens.unwrap_or_default()),
                ("completion", counts.completion_tokens.unwrap_or_default()),
                ("passages", counts.passage_tokens.into()),
            ],
            retries: &counts.retries,
            refused_retries: &counts.refused_retries,
            fallbacks: &counts.fallbacks,
            failures: &counts.failures,
            limited: &counts.limited,
        });
    }
}

/// `512:550e8400-… 513:…`: file and chunk of each passage that the model was given.
fn sources(sources: &[(i64, String)]) -> String {
    let named = sources
        .iter()
        .map(|(file, chunk)| format!("{file}:{chunk}"));
    named.collect::<Vec<_>>().join(" ")
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// A request without an answer yet: where its client leaves, it is dropped with everything that was done for it, and has its line all the same.
pub(super) struct Unanswered(Option<Line>);

impl Unanswered {
    /// Nobody answered it yet.
    pub(super) fn new(line: Line) -> Self {
        Self((!line.is_probe()).then_some(line))
    }

    /// Its line, once it has an answer of `status`; nothing where it leaves none.
    pub(super) fn answered(mut self, status: u16) -> Option<Line> {
        let line = self.0.take()?;
        Some(Line { status, ..line })
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.write(Ending::Cancelled);
        }
    }
}

fn is_probe(route: &MatchedPath) -> bool {
    PROBES.contains(&route.as_str())
}
