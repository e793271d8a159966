//! What a request leaves in the log and in the numbers: its span, its line, what is counted.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use groundwire::{
    config::{Log, LogFormat},
    telemetry::{
        self, Running,
        metrics::{Metrics, Report},
    },
};
use tracing::{Instrument, Span, info, info_span};

use super::Operation;

/// How often a request is looked at until it is answered: once when it came, once at its upstream's answer.
const POLLS: usize = 2;

/// A span that comes, is entered as often as the request is looked at, and goes.
pub(super) fn span() -> Operation {
    start();
    Box::new(|| {
        let span = span_of("req_0123456789abcdef0123456789abcdef");
        answered(&span);
        span.is_none().into()
    })
}

/// The line of a request.
pub(super) fn line() -> Operation {
    start();
    let span = span_of("req_0123456789abcdef0123456789abcdef");
    Box::new(move || span.in_scope(|| write("POST", "/v1/chat/completions")))
}

/// What is counted of a request.
pub(super) fn record() -> Operation {
    let metrics = Metrics::default();
    Box::new(move || {
        metrics.record(&report());
        0
    })
}

/// All of it.
pub(super) fn observed() -> Operation {
    start();
    let metrics = Metrics::default();
    Box::new(move || {
        let span = span_of("req_0123456789abcdef0123456789abcdef");
        answered(&span);
        metrics.record(&report());
        span.in_scope(|| write("POST", "/v1/chat/completions"))
    })
}

/// A log for all of this process, as `serve` has one; nobody reads it.
fn start() {
    static LOG: OnceLock<Running> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log {
            format: LogFormat::Text,
            level: "info".to_owned(),
            sources: false,
        };
        telemetry::start_to(&log, io::sink())
    });
}

fn span_of(id: &str) -> Span {
    info_span!("request", id = %id)
}

/// Lets a request be looked at.
fn answered(span: &Span) {
    let mut looks = 0;
    let answering = std::future::poll_fn(move |_| {
        looks += 1;
        if looks < POLLS {
            return Poll::Pending;
        }
        Poll::Ready(())
    });
    let mut answering = pin!(answering.instrument(span.clone()));
    let mut context = Context::from_waker(Waker::noop());
    while answering.as_mut().poll(&mut context).is_pending() {}
}

/// The fields of `http::middleware`'s line.
fn write(method: &str, path: &str) -> usize {
    info!(
        status = 200u16,
        duration_ms = 12.3,
        ending = "done",
        key = "acme",
        model = "llama-3.3-70b-instruct",
        upstream = "scaleway",
        mode = "off",
        searches = None::<usize>,
        cached = None::<usize>,
        passages = None::<usize>,
        defused = None::<usize>,
        passage_tokens = None::<u32>,
        prompt_tokens = Some(120u64),
        completion_tokens = Some(64u64),
        retries = None::<usize>,
        fallbacks = None::<usize>,
        ttfe_ms = None::<f64>,
        search_ms = None::<f64>,
        upstream_ms = Some(9.7),
        sources = None::<&str>,
        trace_id = None::<&str>,
        "{method} {path}"
    );
    path.len()
}

fn report() -> Report<'static> {
    Report {
        endpoint: "/v1/chat/completions",
        upstream: "scaleway",
        model: "llama-3.3-70b-instruct",
        is_listed: true,
        mode: "off",
        key: "acme",
        status: 200,
        ending: "done",
        duration: Duration::from_micros(12_300),
        tokens: [("prompt", 120), ("completion", 64), ("passages", 0)],
        ..Report::default()
    }
}
