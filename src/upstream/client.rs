//! Sends one request to one upstream, under named deadlines.
//!
//! A stream counts as opened only when its first `data:` event was read and is no error: until then a failure is still an ordinary error
//! that the caller may retry, and afterwards it never is.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, Sleep};

use super::{Deadline, Error, Upstream, error_body, headers};
use crate::{
    config::{ApiKey, Limits, Timeouts},
    openai::{Object, chunk::Chunk},
    sse::{self, Event, Payload},
};

/// Events of one answer: at most one error, and it is last.
pub type EventStream = BoxStream<'static, Result<Event, Error>>;

/// The largest whole answer that is taken, in bytes: a long answer with log-probabilities is a few megabytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// The largest error body that is read, in bytes.
const ERROR_LIMIT: usize = 256 << 10;

/// How long an error body may take to arrive once its head is there.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a body may take after `[DONE]`: with it the connection can be used again, without it a new one is opened.
const DRAIN: Duration = Duration::from_millis(100);

/// Sends requests to upstreams.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
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
    /// A client that reaches upstreams through `http`.
    pub fn new(http: reqwest::Client, timeouts: &Timeouts, limits: &Limits) -> Self {
        Self {
            http,
            timeouts: timeouts.clone(),
            event_bytes: limits.event_bytes,
        }
    }

    /// Gets a whole answer.
    pub async fn whole(&self, call: &Call) -> Result<(Head, Object), Error> {
        let clock = Clock::start(call, Deadline::Answer, self.timeouts.answer);
        let (response, head) = self.send(call, "application/json", &clock).await?;
        let body = clock
            .bound(read_bounded(call, response, ANSWER_LIMIT))
            .await??;
        Ok((head, whole_answer(call, body)?))
    }

    /// Opens a stream: returns when its first `data:` event is there, with that event put back.
    pub async fn stream(&self, call: &Call) -> Result<(Head, EventStream), Error> {
        let clock = Clock::start(call, Deadline::FirstEvent, self.timeouts.first_event);
        let (response, head) = self.send(call, "text/event-stream", &clock).await?;
        let said_stream = headers::is_event_stream(response.headers());
        let mut body = response.bytes_stream().boxed();

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
                whole_answer(call, body)?;
                return Err(invalid(call, "a whole answer where a stream was asked for"));
            }
            Some(b'<') if !said_stream => {
                return Err(invalid(call, "a page of HTML instead of a stream"));
            }
            _ => {}
        }

        let bytes = futures_util::stream::once(std::future::ready(Ok(first))).chain(body);
        let mut events = sse::Events::new(bytes, self.event_bytes);
        let mut waiting = VecDeque::new();
        loop {
            match clock.bound(events.next()).await? {
                Some(Ok(event)) => {
                    let decided = first_event(call, &event)?;
                    waiting.push_back(Ok(event));
                    if decided {
                        break;
                    }
                    if waiting.len() > 1000 {
                        // Comments in front of a first event are kept in order, but not without bound.
                        waiting.pop_front();
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
        let rest = Timed {
            upstream: call.upstream.name().to_owned(),
            idle: self.timeouts.idle,
            last: Instant::now(),
            handed_over: None,
            total: (call.until, clock.total),
            sleep: Box::pin(tokio::time::sleep(self.timeouts.idle)),
            events,
            drain_until: None,
            ended: false,
        };
        Ok((
            head,
            futures_util::stream::iter(waiting).chain(rest).boxed(),
        ))
    }

    /// Gets a small JSON document, such as the list of models.
    pub async fn get(
        &self,
        upstream: &Arc<Upstream>,
        path: &'static str,
        patience: Duration,
    ) -> Result<Bytes, Error> {
        let call = Call {
            upstream: Arc::clone(upstream),
            path,
            body: Bytes::new(),
            headers: HeaderMap::new(),
            authorization: None,
            until: Instant::now() + patience,
        };
        let clock = Clock::start(&call, Deadline::Answer, patience);
        let request = self
            .http
            .get(upstream.url(path))
            .header(header::ACCEPT, "application/json");
        let response = clock
            .bound(authorize(request, &call).send())
            .await?
            .map_err(|error| send_error(&call, error, &self.timeouts))?;
        if !response.status().is_success() {
            return Err(failure(&call, response).await);
        }
        clock
            .bound(read_bounded(&call, response, ANSWER_LIMIT))
            .await?
    }

    async fn send(
        &self,
        call: &Call,
        accept: &'static str,
        clock: &Clock,
    ) -> Result<(reqwest::Response, Head), Error> {
        let began = Instant::now();
        let mut request = self
            .http
            .post(call.upstream.url(call.path))
            .headers(call.headers.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            // A compressed stream would wait for blocks to fill.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(call.body.clone());
        for (name, value) in &call.upstream.settings.headers {
            request = request.header(name, value);
        }
        let response = clock
            .bound(authorize(request, call).send())
            .await?
            .map_err(|error| send_error(call, error, &self.timeouts))?;
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

fn authorize(request: reqwest::RequestBuilder, call: &Call) -> reqwest::RequestBuilder {
    match (&call.upstream.settings.api_key, &call.authorization) {
        (ApiKey::Fixed(key), _) => request.bearer_auth(key.expose()),
        (ApiKey::Client, Some(authorization)) => {
            request.header(header::AUTHORIZATION, authorization)
        }
        (ApiKey::Client | ApiKey::None, _) => request,
    }
}

/// The deadline of one step, bounded by the one of the whole request.
struct Clock {
    upstream: String,
    deadline: Deadline,
    after: Duration,
    at: Instant,
    total: Duration,
}

impl Clock {
    fn start(call: &Call, deadline: Deadline, after: Duration) -> Self {
        let now = Instant::now();
        let total = call.until.saturating_duration_since(now);
        let (deadline, after) = if total < after {
            (Deadline::Total, total)
        } else {
            (deadline, after)
        };
        Self {
            upstream: call.upstream.name().to_owned(),
            deadline,
            after,
            at: now + after,
            total,
        }
    }

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

/// Whether `event` is the first piece of an answer; an error in its place is the answer's status.
fn first_event(call: &Call, event: &Event) -> Result<bool, Error> {
    match event.payload() {
        Payload::Data(data) => match Chunk::parse(data) {
            Ok(chunk) if chunk.is_error() => Err(error_under_success(call, data)),
            Ok(_) => Ok(true),
            Err(_) => Err(error_in_words(call, data)),
        },
        Payload::Done => Err(invalid(call, "a stream that ended before it began")),
        Payload::Stray(text) => Err(error_in_words(call, text)),
        Payload::Comment | Payload::Empty => Ok(false),
    }
}

/// An error that an upstream wrote where an event belongs: an error object, or words (`error: ...`) that say nothing a client can use.
fn error_in_words(call: &Call, text: &[u8]) -> Error {
    let json = text.strip_prefix(b"error:").unwrap_or(text);
    match serde_json::from_slice::<serde_json::Value>(json) {
        Ok(value) if value.is_object() => error_under_success(call, json),
        _ => invalid(call, "an event that is no JSON"),
    }
}

/// The error that an event or a body under HTTP 200 holds.
pub fn error_under_success(call: &Call, body: &[u8]) -> Error {
    let (status, body) = error_body::read_under_success(body);
    Error::Status {
        upstream: call.upstream.name().to_owned(),
        status,
        body: Box::new(body),
        headers: Box::default(),
        retry_after: None,
    }
}

fn whole_answer(call: &Call, body: Bytes) -> Result<Object, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(invalid(call, "an empty body"));
    }
    let Ok(object) = Object::read(body.clone()) else {
        return Err(invalid(call, "a body that is no JSON object"));
    };
    let names_error = object
        .value("error")
        .is_some_and(|error| !matches!(&error.bytes()[..], b"null" | b"false" | b"\"\"" | b"{}"));
    if names_error || object.read_value::<String>("object").as_deref() == Some("error") {
        return Err(error_under_success(call, &body));
    }
    Ok(object)
}

async fn failure(call: &Call, response: reqwest::Response) -> Error {
    let status = response.status();
    let crossing = headers::to_client(response.headers());
    let retry_after = retry_after(response.headers());
    let reading =
        tokio::time::timeout(ERROR_PATIENCE, read_bounded(call, response, ERROR_LIMIT)).await;
    let body = error_body::read(
        status,
        &reading.ok().and_then(Result::ok).unwrap_or_default(),
    );
    let gateways_own = !matches!(call.upstream.settings.api_key, ApiKey::Client);
    let means_key = status == StatusCode::UNAUTHORIZED
        || (status == StatusCode::FORBIDDEN && call.upstream.means_the_key_by_403());
    if gateways_own && means_key {
        return Error::Authentication {
            upstream: call.upstream.name().to_owned(),
            status,
            message: body.message,
        };
    }
    if status.is_redirection() || status.is_informational() {
        return invalid(call, "a redirect, which is not followed");
    }
    Error::Status {
        upstream: call.upstream.name().to_owned(),
        status,
        body: Box::new(body),
        headers: Box::new(crossing),
        retry_after,
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), or OpenAI's `retry-after-ms`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(ms) = headers
        .get("retry-after-ms")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
    {
        return Some(Duration::from_millis(ms));
    }
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(
        date.duration_since(std::time::SystemTime::now())
            .unwrap_or_default(),
    )
}

async fn read_bounded(
    call: &Call,
    response: reqwest::Response,
    limit: usize,
) -> Result<Bytes, Error> {
    collect(call, response.bytes_stream().boxed(), Bytes::new(), limit).await
}

async fn collect(
    call: &Call,
    mut body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    first: Bytes,
    limit: usize,
) -> Result<Bytes, Error> {
    let mut lone = first;
    let mut joined = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| unreachable_upstream(call, error))?;
        if lone.len() + joined.len() + piece.len() > limit {
            return Err(invalid(call, "an answer beyond every size"));
        }
        if lone.is_empty() && joined.is_empty() {
            lone = piece;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&std::mem::take(&mut lone));
        }
        joined.extend_from_slice(&piece);
    }
    Ok(if joined.is_empty() {
        lone
    } else {
        joined.freeze()
    })
}

fn send_error(call: &Call, error: reqwest::Error, timeouts: &Timeouts) -> Error {
    if error.is_connect() && error.is_timeout() {
        return Error::Timeout {
            upstream: call.upstream.name().to_owned(),
            deadline: Deadline::Connect,
            after: timeouts.connect,
        };
    }
    unreachable_upstream(call, error)
}

fn unreachable_upstream(call: &Call, error: reqwest::Error) -> Error {
    Error::Unreachable {
        upstream: call.upstream.name().to_owned(),
        source: error.without_url(),
    }
}

fn invalid(call: &Call, detail: &str) -> Error {
    Error::Invalid {
        upstream: call.upstream.name().to_owned(),
        detail: detail.to_owned(),
    }
}

/// Events under the deadlines `idle` and `total`.
///
/// Only `data:` events count as life: an upstream that sends comments for ever still times out.
struct Timed<S> {
    upstream: String,
    idle: Duration,
    /// When the last `data:` event came, moved on by the time that the client took since.
    last: Instant,
    /// Since when the client has the turn: what it takes is not the upstream's silence.
    handed_over: Option<Instant>,
    total: (Instant, Duration),
    sleep: Pin<Box<Sleep>>,
    events: S,
    /// After `[DONE]`: when the rest is no longer waited for.
    drain_until: Option<Instant>,
    ended: bool,
}

impl<S> Timed<S> {
    fn overdue(&self, now: Instant) -> Option<Error> {
        let (deadline, after) = if now >= self.total.0 {
            (Deadline::Total, self.total.1)
        } else if now >= self.last + self.idle {
            (Deadline::Idle, self.idle)
        } else {
            return None;
        };
        Some(Error::Timeout {
            upstream: self.upstream.clone(),
            deadline,
            after,
        })
    }
}

impl<S> Stream for Timed<S>
where
    S: Stream<Item = Result<Event, sse::Error<reqwest::Error>>> + Unpin,
{
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(since) = self.handed_over.take() {
            self.last += since.elapsed();
        }
        match self.events.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(event))) => {
                let now = Instant::now();
                match event.payload() {
                    Payload::Data(_) => self.last = now,
                    Payload::Done => self.drain_until = Some(now + DRAIN),
                    Payload::Comment | Payload::Empty | Payload::Stray(_) => {}
                }
                let Some(error) = self.overdue(now) else {
                    self.handed_over = Some(now);
                    return Poll::Ready(Some(Ok(event)));
                };
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                let upstream = self.upstream.clone();
                Poll::Ready(Some(Err(match error {
                    sse::Error::Decode(error) => Error::Invalid {
                        upstream,
                        detail: error.to_string(),
                    },
                    // The connection broke in the middle of an answer: what a client has is a beginning.
                    sse::Error::Body(_) => Error::Truncated { upstream },
                })))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => loop {
                let now = Instant::now();
                if self.drain_until.is_some_and(|until| now >= until) {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                if let Some(error) = self.overdue(now) {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                // The timer is set again only when it fires: an event a millisecond must not cost a timer each.
                let next = (self.last + self.idle)
                    .min(self.total.0)
                    .min(self.drain_until.unwrap_or(self.total.0));
                if self.sleep.deadline() > next || self.sleep.is_elapsed() {
                    self.sleep.as_mut().reset(next);
                }
                if self.sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(bytes: &'static str, idle: Duration) -> Timed<impl Stream<Item = TimedItem> + Unpin> {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let body = futures_util::stream::iter([Ok(Bytes::from_static(bytes.as_bytes()))]);
        Timed {
            upstream: "u".into(),
            idle,
            last: now,
            handed_over: None,
            total: (now + hour, hour),
            sleep: Box::pin(tokio::time::sleep(idle)),
            events: sse::Events::new(body.chain(futures_util::stream::pending()), 1000),
            drain_until: None,
            ended: false,
        }
    }

    type TimedItem = Result<Event, sse::Error<reqwest::Error>>;

    #[tokio::test]
    async fn the_time_that_a_client_takes_is_not_the_upstreams_silence() {
        let idle = Duration::from_millis(50);
        let mut events = timed("data: 1\n\n: ping\n\n: ping\n\n", idle);

        assert!(events.next().await.unwrap().is_ok());
        // The client reads nothing for longer than the upstream may be silent.
        tokio::time::sleep(2 * idle).await;

        assert!(events.next().await.unwrap().is_ok());
        assert!(events.next().await.unwrap().is_ok());
        let silence = events.next().await.unwrap().unwrap_err();
        assert!(matches!(
            silence,
            Error::Timeout {
                deadline: Deadline::Idle,
                ..
            }
        ));
        assert!(events.next().await.is_none());
    }
}
