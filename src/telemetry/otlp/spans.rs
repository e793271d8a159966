//! A request that ended, as spans: one for itself, by OpenTelemetry's conventions for HTTP servers, and one for each of its steps, by those
//! for generative AI where they fit. `docs/observability.md` lists every attribute; none holds content.

use std::time::{Instant, SystemTime};

use super::wire::{Message, Said, attribute};
use crate::trace::{Call, Context, Search, Step, What};

/// What is told of a request that ended.
#[derive(Debug)]
pub struct Request {
    /// Its place in a trace.
    pub context: Context,
    /// What it did.
    pub steps: Vec<Step>,
    /// When it came.
    pub began: Instant,
    /// When its answer ended.
    pub ended: Ended,
    /// When its first event went out, of a stream.
    pub first_event: Option<Instant>,
    /// The HTTP method.
    pub method: http::Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The path that was asked.
    pub path: String,
    /// The route, such as `/v1/models/{*id}`; unset: none.
    pub route: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// How it ended: `done`, `truncated`, `failed` or `cancelled`.
    pub ending: &'static str,
    /// A word for what its upstream did wrong last.
    pub failure: Option<&'static str>,
    /// Its `X-Request-Id`.
    pub id: String,
    /// The fields of its line in the log, by the attributes that they are, each told where it says something.
    pub texts: [(&'static str, String); 5],
    /// The same, of those that are numbers.
    pub numbers: [(&'static str, Option<u64>); 9],
}

/// The end of a request, by both clocks: times of the one are told by the other.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    at: Instant,
    time: SystemTime,
}

impl Ended {
    /// It ended now.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            time: SystemTime::now(),
        }
    }

    /// `at` in nanoseconds since 1970.
    fn nanos(self, at: Instant) -> u64 {
        let ago = self.at.saturating_duration_since(at);
        nanos(self.time.checked_sub(ago).unwrap_or(self.time))
    }
}

/// `time` in nanoseconds since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}

/// Kinds of spans.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// The status of a span that failed.
const FAILED: u64 = 2;

/// Bits of a span's flags beside those of its trace: whether it is known if its parent is another process', and whether it is.
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// The fields of a span.
const ATTRIBUTE: u32 = 9;

impl Request {
    /// How many spans it makes.
    pub(super) fn spans(&self) -> u64 {
        1 + self.steps.len() as u64
    }

    /// Writes its spans as `field` of `message`, itself first.
    pub(super) fn write(&self, message: &mut Message, field: u32) {
        message.message(field, |span| self.itself(span));
        for step in &self.steps {
            message.message(field, |span| self.step(span, step));
        }
    }

    fn itself(&self, span: &mut Message) {
        let method = method(&self.method);
        let name = match &self.route {
            Some(route) => format!("{} {route}", method.unwrap_or("HTTP")),
            None => method.unwrap_or("HTTP").to_owned(),
        };
        self.identify(span, &self.context.span, self.context.parent.as_ref(), true);
        span.text(5, &name);
        span.number(6, SERVER);
        span.fixed64(7, self.ended.nanos(self.began));
        span.fixed64(8, self.ended.nanos(self.ended.at));
        let mut tell = |key: &str, said| attribute(span, ATTRIBUTE, key, said);
        tell(
            "http.request.method",
            Said::Text(method.unwrap_or("_OTHER")),
        );
        tell("url.scheme", Said::Text(self.scheme));
        tell("url.path", Said::Text(&self.path));
        if let Some(route) = &self.route {
            tell("http.route", Said::Text(route));
        }
        let status = Said::Number(self.status.into());
        tell("http.response.status_code", status);
        tell("groundwire.request.id", Said::Text(&self.id));
        tell("groundwire.ending", Said::Text(self.ending));
        for (name, text) in self.texts.iter().filter(|(_, text)| !text.is_empty()) {
            tell(name, Said::Text(text));
        }
        for (name, number) in &self.numbers {
            if let Some(number) = number {
                tell(name, Said::Number(*number));
            }
        }
        if let Some(first) = self.first_event {
            let took = first.saturating_duration_since(self.began);
            let seconds = Said::Fraction(took.as_secs_f64());
            tell("groundwire.time_to_first_event", seconds);
        }
        let failed = self.failed();
        if let Some(failed) = &failed {
            tell("error.type", Said::Text(failed));
        }
        if let Some(first) = self.first_event {
            self.event(span, first);
        }
        status_of(span, failed.is_some());
    }

    /// Why the request failed, where that is not its caller's fault.
    fn failed(&self) -> Option<String> {
        let is_broken = matches!(self.ending, "failed" | "truncated");
        match self.status {
            500.. => Some(self.status.to_string()),
            _ if is_broken => Some(self.failure.unwrap_or(self.ending).to_owned()),
            _ => None,
        }
    }

    fn step(&self, span: &mut Message, step: &Step) {
        self.identify(span, &step.span, Some(&self.context.span), false);
        let kind = match &step.what {
            What::Search(Search {
                is_cached: true, ..
            }) => {
                span.text(5, "search");
                INTERNAL
            }
            What::Search(_) => {
                span.text(5, "search");
                CLIENT
            }
            What::Call(call) => {
                span.text(5, &format!("{} {}", call.operation, call.model));
                CLIENT
            }
        };
        span.number(6, kind);
        span.fixed64(7, self.ended.nanos(step.began));
        let ended = step.ended.unwrap_or(self.ended.at);
        span.fixed64(8, self.ended.nanos(ended));
        match &step.what {
            What::Search(found) => search(span, *found),
            What::Call(made) => call(span, made),
        }
        let failed = self.step_failed(step);
        if let Some(failed) = failed {
            attribute(span, ATTRIBUTE, "error.type", Said::Text(failed));
        }
        if let What::Call(call) = &step.what
            && let Some(first) = call.first_event
        {
            self.event(span, first);
        }
        status_of(span, failed.is_some());
    }

    /// Why a step failed; one that was still under way shares the request's ending.
    fn step_failed<'a>(&'a self, step: &'a Step) -> Option<&'a str> {
        let cut = match self.ending {
            "done" => None,
            ending => Some(ending),
        };
        step.failed.or(cut.filter(|_| step.ended.is_none()))
    }

    fn identify(
        &self,
        span: &mut Message,
        id: &crate::trace::SpanId,
        parent: Option<&crate::trace::SpanId>,
        is_remote: bool,
    ) {
        span.bytes(1, &self.context.trace.0.get().to_be_bytes());
        span.bytes(2, &id.0.get().to_be_bytes());
        span.text(3, self.context.state.as_deref().unwrap_or_default());
        if let Some(parent) = parent {
            span.bytes(4, &parent.0.get().to_be_bytes());
        }
        let remote = if is_remote && parent.is_some() {
            REMOTE
        } else {
            0
        };
        span.fixed32(16, u32::from(self.context.flags) | KNOWN | remote);
    }

    /// The event of a stream's beginning.
    fn event(&self, span: &mut Message, at: Instant) {
        span.message(11, |event| {
            event.fixed64(1, self.ended.nanos(at));
            event.text(2, "first_event");
        });
    }
}

fn search(span: &mut Message, found: Search) {
    let mut tell = |key: &str, said| attribute(span, ATTRIBUTE, key, said);
    tell("gen_ai.operation.name", Said::Text("retrieval"));
    if let Some(results) = found.results {
        tell("groundwire.search.results", Said::Number(results as u64));
        tell("groundwire.search.cached", Said::Flag(found.is_cached));
    }
}

fn call(span: &mut Message, call: &Call) {
    let mut tell = |key: &str, said| attribute(span, ATTRIBUTE, key, said);
    tell("gen_ai.operation.name", Said::Text(call.operation));
    tell("gen_ai.provider.name", Said::Text(&call.upstream));
    tell("gen_ai.request.model", Said::Text(&call.model));
    tell("server.address", Said::Text(&call.host));
    if let Some(port) = call.port {
        tell("server.port", Said::Number(port.into()));
    }
    if call.resends > 0 {
        let resends = Said::Number(call.resends.into());
        tell("http.request.resend_count", resends);
    }
    for (key, text) in [
        ("gen_ai.response.model", &call.answered_as),
        ("gen_ai.response.id", &call.id),
    ] {
        if let Some(text) = text {
            tell(key, Said::Text(text));
        }
    }
    if !call.finish_reasons.is_empty() {
        let reasons = Said::Texts(&call.finish_reasons);
        tell("gen_ai.response.finish_reasons", reasons);
    }
    for (key, tokens) in [
        ("gen_ai.usage.input_tokens", call.input_tokens),
        ("gen_ai.usage.output_tokens", call.output_tokens),
    ] {
        if let Some(tokens) = tokens {
            tell(key, Said::Number(tokens));
        }
    }
}

/// Only a failure has a status: what else is right or wrong is for whoever reads it to say.
fn status_of(span: &mut Message, has_failed: bool) {
    if has_failed {
        span.message(15, |status| status.number(3, FAILED));
    }
}

/// The methods that are named; of others there may be any number.
fn method(method: &http::Method) -> Option<&str> {
    let name = method.as_str();
    let known = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    known.contains(&name).then_some(name)
}
