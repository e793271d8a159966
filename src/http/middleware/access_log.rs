//! A request id for every answer, a place for every request, and one line in the log when the answer has ended.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument, field, info, info_span};

use super::{head, traced};
use crate::{
    access::{Place, Standing},
    app::App,
    http::{Parts, error::ApiError, is_event_stream},
    rag::tally::{Counts, Tally},
    sse::Ending,
    telemetry::metrics::Report,
    trace::Context as Trace,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status of a request whose client left before there was one, as nginx writes it.
const LEFT: u16 = 499;

/// What the handlers tell the log.
#[derive(Debug, Default)]
pub(in crate::http) struct Notes {
    /// Its place in a trace, where requests are followed.
    trace: Option<Trace>,
    fields: Mutex<Fields>,
    /// What the answer takes, once there is somebody to count it.
    tally: OnceLock<Arc<Tally>>,
    /// The request's place among those of its key, held until the answer has ended.
    place: OnceLock<Place>,
    /// How the key stood with its requests when this one was counted.
    requests: OnceLock<Standing>,
    /// How a stream ended, where the body knows better than its bytes do.
    pub(in crate::http) ending: Arc<OnceLock<Ending>>,
}

#[derive(Debug, Default, Clone)]
struct Fields {
    key: String,
    model: String,
    upstream: String,
    mode: &'static str,
}

impl Notes {
    /// Who asked.
    pub(in crate::http) fn key(&self, name: &str) {
        name.clone_into(&mut self.lock().key);
    }

    /// What was asked, and how it is answered.
    pub(in crate::http) fn route(&self, upstream: &str, model: &str, mode: &'static str) {
        let mut fields = self.lock();
        upstream.clone_into(&mut fields.upstream);
        model.clone_into(&mut fields.model);
        fields.mode = mode;
    }

    /// Where it is counted what the answer takes.
    pub(in crate::http) fn count_in(&self, tally: &Arc<Tally>) {
        if let Some(trace) = &self.trace {
            tally.steps.follow(trace);
        }
        let _ = self.tally.set(Arc::clone(tally));
    }

    /// What the limits of the key gave the request.
    pub(in crate::http) fn admit(&self, place: Option<Place>, requests: Option<Standing>) {
        if let Some(place) = place {
            let _ = self.place.set(place);
        }
        if let Some(requests) = requests {
            let _ = self.requests.set(requests);
        }
    }

    /// How the key stands with its requests, where they are limited and this one was counted.
    pub(in crate::http) fn requests_left(&self) -> Option<Standing> {
        self.requests.get().copied()
    }

    /// Settles what the answer took, as far as it is known.
    pub(in crate::http) fn settle(&self) {
        if let Some(tally) = self.tally.get() {
            tally.settle();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Fields> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the request its id and its place, and writes the line when the answer has ended.
pub(in crate::http) async fn observe(
    State(parts): State<Parts>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let span = info_span!("request", id = %id.to_str().unwrap_or_default());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>();
    let endpoint = route.map_or_else(|| "other".to_owned(), |route| route.as_str().to_owned());

    let app = parts.load_full();
    let is_probe = matches!(endpoint.as_str(), "/healthz" | "/readyz" | "/metrics");
    let notes = Arc::new(Notes {
        trace: traced::context(&app.config, request.headers()).filter(|_| !is_probe),
        ..Notes::default()
    });
    request.extensions_mut().insert(Arc::clone(&notes));
    let place = if is_probe {
        None
    } else {
        Arc::clone(&app.places).try_acquire_owned().ok()
    };
    let line = Line {
        began,
        id: notes.trace.as_ref().map(|_| id.clone()),
        span: span.clone(),
        method,
        path,
        endpoint,
        status: LEFT,
        notes,
        app: Arc::clone(&app),
    };
    let mut unanswered = Unanswered((!is_probe).then_some(line));
    let mut response = if place.is_none() && !is_probe {
        app.metrics.shed();
        crowded().into_response()
    } else if let Err(refused) = head::check(&request) {
        refused.into_response()
    } else {
        let answering = next.run(request).instrument(span);
        // A stream ends itself, with an event that says why; what has no head yet is ended here, down to its upstream.
        tokio::select! {
            response = answering => response,
            () = app.stop.cancelled() => ApiError::shutting_down().into_response(),
        }
    };
    let line = unanswered.0.take().map(|line| Line {
        status: response.status().as_u16(),
        ..line
    });
    response.headers_mut().insert(REQUEST_ID, id);
    if app.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let is_stream = is_event_stream(response.headers());
    response.map(|body| {
        Body::new(Observed {
            body,
            line,
            _open: is_stream.then(|| OpenStream::new(app)),
            _place: place,
        })
    })
}

/// A request without an answer yet: where its client leaves, it is dropped with everything that was done for it, and has its line all the same.
struct Unanswered(Option<Line>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.write(Ending::Cancelled);
        }
    }
}

/// A stream being sent, as long as this lives.
struct OpenStream(Arc<App>);

impl OpenStream {
    fn new(app: Arc<App>) -> Self {
        app.metrics.open_streams.inc();
        Self(app)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.metrics.open_streams.dec();
    }
}

fn crowded() -> ApiError {
    let message = "the gateway answers as many requests as it may at once; try again in a moment";
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded_error",
        "overloaded",
        message,
    )
    .retry_after(Duration::from_secs(1))
}

/// The caller's id, if it is sane, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    let mut told = headers.get_all(REQUEST_ID).iter();
    told.next()
        .filter(|_| told.next().is_none())
        .filter(sane)
        .cloned()
        .unwrap_or_else(|| {
            let id = format!("req_{}", uuid::Uuid::new_v4().simple());
            HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("req_unknown"))
        })
}

/// The line of one request, written once: when its answer ended, or was dropped.
struct Line {
    began: Instant,
    /// Where a collector is told of it.
    id: Option<HeaderValue>,
    span: tracing::Span,
    method: Method,
    path: String,
    endpoint: String,
    status: u16,
    notes: Arc<Notes>,
    app: Arc<App>,
}

impl Line {
    fn write(self, seen: Ending) {
        let ending = self.notes.ending.get().copied().unwrap_or(seen);
        let mut fields = self.notes.lock().clone();
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
                endpoint: &self.endpoint,
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
            endpoint: &self.endpoint,
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

/// A body that notices how it ended and keeps the request's place until then.
struct Observed {
    body: Body,
    line: Option<Line>,
    _open: Option<OpenStream>,
    _place: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ending = match &polled {
            Poll::Ready(None) => Ending::Done,
            Poll::Ready(Some(Err(_))) => Ending::Failed,
            // A body of known length is not polled again once it gave everything.
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => Ending::Done,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => return polled,
        };
        if let Some(line) = self.line.take() {
            line.write(ending);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let ending = if self.body.is_end_stream() {
                Ending::Done
            } else {
                Ending::Cancelled
            };
            line.write(ending);
        }
    }
}
