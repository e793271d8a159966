//! What every request passes on its way to its route, and its answer on its way back: [`Edge::pass`] reads in the order of a request.
//!
//! One service around each route and not a stack of them: each of axum's layers clones what is inside it and boxes its future for each
//! request, which for the five that stood here was a third of what a relayed answer cost.

mod access_log;
pub(super) mod auth;
mod cors;
mod head;
pub(super) mod notes;
mod observed;
pub(super) mod rate_limit;
mod traced;
pub(super) mod visit;

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tower::{Layer, Service, ServiceExt};
use tracing::{Instrument, info_span};

use self::{
    access_log::{Line, Unanswered},
    notes::Notes,
    observed::{Observed, OpenStream},
    visit::Visit,
};
use super::{Parts, error::ApiError, is_event_stream};
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What stands around every route.
#[derive(Clone)]
pub(super) struct Edge {
    parts: Parts,
    gate: Gate,
}

/// Who may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Whoever has a key, as far as its limits go.
    Keyed,
    /// Everybody: the route decides by itself.
    Open,
}

/// A route with the edge around it.
#[derive(Clone)]
pub(super) struct Edged<S> {
    edge: Edge,
    route: S,
}

impl<S> Layer<S> for Edge {
    type Service = Edged<S>;

    fn layer(&self, route: S) -> Edged<S> {
        Edged {
            edge: self.clone(),
            route,
        }
    }
}

impl<S> Service<Request> for Edged<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routes are ready at all times.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (edge, route) = (self.edge.clone(), self.route.clone());
        async move { Ok(edge.pass(request, route).await) }.boxed()
    }
}

impl Edge {
    /// The edge of routes behind this gate.
    pub(super) fn new(parts: &Parts, gate: Gate) -> Self {
        Self {
            parts: Arc::clone(parts),
            gate,
        }
    }

    /// Lets a request through to `route`, and its answer back, as pages of other origins may ask it.
    async fn pass<S>(self, request: Request, route: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let app = self.parts.load_full();
        let Some(sharing) = cors::sharing(&app.config.cors, &request) else {
            return self.observe(app, request, route).await;
        };
        // Beyond everything else, so that a page can read that it is to come back later, too.
        let inside = tower::service_fn(move |request| {
            let (edge, app, route) = (self.clone(), Arc::clone(&app), route.clone());
            async move { Ok::<_, Infallible>(edge.observe(app, request, route).await) }
        });
        match sharing.layer(inside).oneshot(request).await {
            Ok(response) => response.into_response(),
            Err(never) => match never {},
        }
    }

    /// Gives the request its id and its place, and sees to it that its end is told, whatever becomes of it.
    async fn observe<S>(self, app: Arc<App>, request: Request, route: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send>,
    {
        let id = request_id(request.headers());
        let span = info_span!("request", id = %id.to_str().unwrap_or_default());
        let line = Line::begin(&app, &request, &id, &span);
        let notes = Arc::clone(line.notes());
        let needs_place = !line.is_probe();
        let unanswered = Unanswered::new(line);

        let place = needs_place.then(|| Arc::clone(&app.places).try_acquire_owned());
        let answered = match &place {
            Some(Err(_)) => {
                app.metrics.shed();
                Err(crowded())
            }
            Some(Ok(_)) | None => {
                let answering = self.gate.admit(&app, request, &notes, route);
                let answering = AssertUnwindSafe(answering).catch_unwind().instrument(span);
                // A stream ends itself, with an event that says why; what has no head yet is ended here, down to its upstream.
                tokio::select! {
                    answered = answering => answered.unwrap_or_else(|_| Err(panicked())),
                    () = app.stop.cancelled() => Err(ApiError::shutting_down()),
                }
            }
        };

        let mut response = answered.unwrap_or_else(ApiError::into_response);
        let line = unanswered.answered(response.status().as_u16());
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        if app.is_draining() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let is_stream = is_event_stream(headers);
        response.map(|body| {
            Body::new(Observed {
                body,
                line,
                _open: is_stream.then(|| OpenStream::new(app)),
                _place: place.and_then(Result::ok),
            })
        })
    }
}

impl Gate {
    /// Lets the request through to `route` if its head is sane, its key is known and that key's limits have room for it.
    async fn admit<S>(
        self,
        app: &Arc<App>,
        mut request: Request,
        notes: &Arc<Notes>,
        route: S,
    ) -> Result<Response, ApiError>
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send>,
    {
        head::check(&request)?;
        if self == Self::Open {
            request.extensions_mut().insert(Arc::clone(notes));
            return Ok(answer(route, request).await);
        }
        let principal = auth::principal(app, request.headers())?;
        notes.key(&principal.name);
        let limits = principal.limits.clone();
        request.extensions_mut().insert(Visit {
            app: Arc::clone(app),
            principal,
            notes: Arc::clone(notes),
        });
        let Some(limits) = limits else {
            return Ok(answer(route, request).await);
        };
        let mut response = match rate_limit::admit(app, &limits, notes).await {
            Ok(()) => answer(route, request).await,
            Err(refused) => refused.into_response(),
        };
        rate_limit::tell(&mut response, &limits, notes);
        Ok(response)
    }
}

async fn answer<S>(route: S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>,
{
    match route.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
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

fn panicked() -> ApiError {
    tracing::error!("a request panicked; this is a bug of the gateway");
    ApiError::internal()
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
        .unwrap_or_else(new_id)
}

/// `req_` and 32 random hexadecimal digits. They tell requests apart and open nothing, so that no call of the system is made for them.
fn new_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut id = *b"req_00000000000000000000000000000000";
    let mut random = fastrand::u128(..);
    for digit in id.iter_mut().skip(4) {
        let [low, ..] = random.to_le_bytes();
        *digit = DIGITS.get(usize::from(low & 15)).copied().unwrap_or(b'0');
        random >>= 4;
    }
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("req_unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_sane_and_new() {
        let (one, other) = (new_id(), new_id());
        let is_sane = |id: &HeaderValue| {
            let digits = id.to_str().unwrap().strip_prefix("req_").unwrap();
            digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        assert!(is_sane(&one) && is_sane(&other), "{one:?} {other:?}");
        assert_ne!(one, other);
    }
}
