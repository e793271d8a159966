//! Sends one request to one upstream, under named deadlines.
//!
//! A stream counts as opened only when its first `data:` event was read and is no error: until then a failure is still an ordinary error
//! that the caller may retry, and afterwards it never is.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use tokio::time::Instant;

use super::{
    Deadline, Error, Upstream,
    events::EventStream,
    headers, quirks,
    reply::{
        collect, failure, first_event, invalid, read_bounded, unreachable_upstream, whole_answer,
    },
    scrub::Secrets,
    spread,
    timed::Timed,
};
use crate::{
    config::{ApiKey, Limits, Timeouts},
    openai::Object,
    outbound::Body,
    sse,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The largest whole answer that is taken, in bytes: a long answer with log-probabilities is a few megabytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// Sends requests to upstreams.
#[derive(Debug, Clone)]
pub struct Client {
    timeouts: Timeouts,
    event_bytes: usize,
}

/// One request to one upstream.
#[derive(Debug, Clone)]
pub struct Call {
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// The path in its API, such as `/chat/completions`.
    pub path: &'static str,
    /// The body, JSON.
    pub body: Bytes,
    /// What of the client's headers goes along.
    pub headers: HeaderMap,
    /// The client's own `Authorization`, for upstreams that want it.
    pub authorization: Option<HeaderValue>,
    /// When the whole request must be over.
    pub until: Instant,
}

/// The head of an answer: what crosses to the client, and how long it took to come.
#[derive(Debug, Clone)]
pub struct Head {
    /// The headers that go on to the client.
    pub headers: HeaderMap,
    /// From sending until the head was there.
    pub latency: Duration,
}

impl Client {
    /// A client under these deadlines and limits.
    pub fn new(timeouts: &Timeouts, limits: &Limits) -> Self {
        Self {
            timeouts: timeouts.clone(),
            event_bytes: limits.event_bytes,
        }
    }

    /// Gets a whole answer.
    pub async fn whole(&self, call: &Call) -> Result<(Head, Object), Error> {
        let clock = self.clock(call, Deadline::Answer, self.timeouts.answer);
        let (response, head) = self.send(call, "application/json", &clock).await?;
        let body = clock
            .bound(read_bounded(call, response, ANSWER_LIMIT))
            .await??;
        Ok((head, whole_answer(call, body)?))
    }

    /// Opens a stream: returns when its first `data:` event is there, with that event put back.
    pub async fn stream(&self, call: &Call) -> Result<(Head, EventStream), Error> {
        let clock = self.clock(call, Deadline::FirstEvent, self.timeouts.first_event);
        let (response, head) = self.send(call, "text/event-stream", &clock).await?;
        let said_stream = headers::is_event_stream(response.headers());
        let mut body = response.into_body();

        let first = loop {
            match clock.bound(body.next()).await? {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => break bytes,
                Some(Err(error)) => return Err(unreachable_upstream(call, error)),
                None => return Err(invalid(call, "an empty body")),
            }
        };
        // Content types lie in both directions, so the first byte decides (JSON errors as event streams, event streams as JSON).
        let text = first.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&first);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => {
                let body = clock
                    .bound(collect(call, body, first, ANSWER_LIMIT))
                    .await??;
                let answer = whole_answer(call, body)?;
                return match spread::events(&answer, &call.body) {
                    Some(events) => Ok((head, EventStream::of(events))),
                    None => Err(invalid(call, "JSON that is no answer, nor a stream")),
                };
            }
            Some(b'<') if !said_stream => {
                return Err(invalid(call, "a page of HTML instead of a stream"));
            }
            _ => {}
        }

        let mut events = sse::Events::after(first, body, self.event_bytes);
        let mut read = VecDeque::new();
        loop {
            match clock.bound(events.next()).await? {
                Some(Ok(event)) => {
                    let decided = first_event(call, &event)?;
                    read.push_back(event);
                    if decided {
                        break;
                    }
                    if read.len() > 1000 {
                        // Comments in front of a first event are kept in order, but not without bound.
                        read.pop_front();
                    }
                }
                Some(Err(sse::Error::Decode(error))) => {
                    return Err(invalid(call, &error.to_string()));
                }
                Some(Err(sse::Error::Body(error))) => {
                    return Err(unreachable_upstream(call, error));
                }
                None => return Err(invalid(call, "a stream without a single event")),
            }
        }
        let rest = Timed::new(call, events, self.timeouts.idle, self.timeouts.total);
        Ok((head, EventStream::live(read, rest, Secrets::of(call))))
    }

    /// Gets a small JSON document, such as the list of models, with the caller's own `Authorization` where the upstream wants it.
    pub async fn get(
        &self,
        upstream: &Arc<Upstream>,
        path: &'static str,
        authorization: Option<HeaderValue>,
        patience: Duration,
    ) -> Result<Bytes, Error> {
        let call = Call {
            upstream: Arc::clone(upstream),
            path,
            body: Bytes::new(),
            headers: HeaderMap::new(),
            authorization,
            until: Instant::now() + patience,
        };
        let clock = self.clock(&call, Deadline::Answer, patience);
        let (response, _) = self
            .exchange(&call, Method::GET, "application/json", &clock)
            .await?;
        clock
            .bound(read_bounded(&call, response, ANSWER_LIMIT))
            .await?
    }

    /// The deadline of a step that may take as long as `after`, unless the whole request is over before that.
    fn clock(&self, call: &Call, deadline: Deadline, after: Duration) -> Clock {
        let at = Instant::now() + after;
        let (deadline, after, at) = if call.until < at {
            (Deadline::Total, self.timeouts.total, call.until)
        } else {
            (deadline, after, at)
        };
        Clock {
            upstream: call.upstream.name().to_owned(),
            deadline,
            after,
            at,
        }
    }

    async fn send(
        &self,
        call: &Call,
        accept: &'static str,
        clock: &Clock,
    ) -> Result<(Response<Body>, Head), Error> {
        self.exchange(call, Method::POST, accept, clock).await
    }

    /// Sends the request of `call` and takes the head of the answer, unless it says that there is none.
    async fn exchange(
        &self,
        call: &Call,
        method: Method,
        accept: &'static str,
        clock: &Clock,
    ) -> Result<(Response<Body>, Head), Error> {
        let request = request(call, method, accept)?;
        let began = Instant::now();
        let sending = call.upstream.origin.send(request, self.timeouts.connect);
        let response = clock
            .bound(sending)
            .await?
            .map_err(|error| unreachable_upstream(call, error))?;
        if !response.status().is_success() {
            return Err(failure(call, response).await);
        }
        let head = Head {
            headers: headers::to_client(response.headers()),
            latency: began.elapsed(),
        };
        Ok((response, head))
    }
}

fn request(call: &Call, method: Method, accept: &'static str) -> Result<Request<Bytes>, Error> {
    let upstream = &call.upstream;
    let mut request = Request::new(quirks::apply(upstream, call.body.clone())?);
    *request.method_mut() = method;
    *request.uri_mut() = upstream
        .origin
        .path(call.path)
        .map_err(|_| invalid(call, "an address that no request can have"))?;
    let headers = request.headers_mut();
    headers.reserve(upstream.headers.len() + call.headers.len() + 4);
    headers.extend(call.headers.clone());
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    if !call.body.is_empty() {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    headers.extend(upstream.headers.clone());
    if let (ApiKey::Client, Some(authorization)) = (&upstream.settings.api_key, &call.authorization)
    {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}

/// The deadline of one step, bounded by the one of the whole request.
struct Clock {
    upstream: String,
    deadline: Deadline,
    after: Duration,
    at: Instant,
}

impl Clock {
    async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::time::timeout_at(self.at, work)
            .await
            .map_err(|_| Error::Timeout {
                upstream: self.upstream.clone(),
                deadline: self.deadline,
                after: self.after,
            })
    }
}
