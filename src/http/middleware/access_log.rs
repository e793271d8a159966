//! A request id for every answer, a place for every request, and one line in the log when the answer has ended.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument, info, info_span};

use crate::{
    http::{Parts, error::ApiError},
    sse::Ending,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the handlers tell the log.
#[derive(Debug, Default)]
pub(in crate::http) struct Notes {
    fields: Mutex<Fields>,
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
    let notes = Arc::new(Notes::default());
    request.extensions_mut().insert(Arc::clone(&notes));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());

    let app = parts.load();
    let is_probe = matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics");
    let place = if is_probe {
        None
    } else {
        Arc::clone(&app.places).try_acquire_owned().ok()
    };
    let mut response = if place.is_none() && !is_probe {
        crowded().into_response()
    } else {
        next.run(request).instrument(span.clone()).await
    };
    response.headers_mut().insert(REQUEST_ID, id);
    if app.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let line = Line {
        began,
        span,
        method: method.to_string(),
        path,
        status: response.status(),
        notes,
        quiet: is_probe,
    };
    response.map(|body| {
        Body::new(Observed {
            body,
            line: Some(line),
            _place: place,
        })
    })
}

fn crowded() -> ApiError {
    let message = "the gateway answers as many requests as it may at once; try again in a moment";
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded_error",
        "overloaded",
        message,
    )
    .retry_after(std::time::Duration::from_secs(1))
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
    headers
        .get(REQUEST_ID)
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
    span: tracing::Span,
    method: String,
    path: String,
    status: StatusCode,
    notes: Arc<Notes>,
    quiet: bool,
}

impl Line {
    fn write(self, seen: Ending) {
        if self.quiet {
            return;
        }
        let ending = self.notes.ending.get().copied().unwrap_or(seen);
        let fields = self.notes.lock().clone();
        let duration_ms = self.began.elapsed().as_secs_f64() * 1000.0;
        self.span.in_scope(|| {
            info!(
                status = self.status.as_u16(),
                duration_ms = (duration_ms * 10.0).round() / 10.0,
                ending = ending.as_str(),
                key = fields.key,
                model = fields.model,
                upstream = fields.upstream,
                mode = fields.mode,
                "{} {}",
                self.method,
                self.path
            );
        });
    }
}

/// A body that notices how it ended and keeps the request's place until then.
struct Observed {
    body: Body,
    line: Option<Line>,
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
