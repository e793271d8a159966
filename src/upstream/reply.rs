//! What an upstream's reply is: an answer, the first piece of one, or one of the many ways to fail.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Response, StatusCode, header};

use super::{Deadline, Error, Place, client::Call, error_body, headers, scrub::Secrets};
use crate::{
    config::ApiKey,
    openai::{Object, chunk::Chunk},
    outbound::{self, Body},
    sse::{Event, Payload},
};

/// The largest error body that is read, in bytes.
const ERROR_LIMIT: usize = 256 << 10;

/// How long an error body may take to arrive once its head is there.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn whole_answer(call: &Call, body: Bytes) -> Result<Object, Error> {
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
    // FastAPI and LightOn say only `detail`; an answer never does.
    if object.value("detail").is_some() && object.value("choices").is_none() {
        return Err(error_under_success(call, &body));
    }
    Ok(object)
}

pub(super) async fn failure(call: &Call, response: Response<Body>) -> Error {
    let status = response.status();
    let crossing = headers::to_client(response.headers());
    let retry_after = retry_after(response.headers());
    let reading =
        tokio::time::timeout(ERROR_PATIENCE, read_bounded(call, response, ERROR_LIMIT)).await;
    let body = error_body::read(
        status,
        &reading.ok().and_then(Result::ok).unwrap_or_default(),
    );
    let body = Secrets::of(call).out_of(body);
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
        place: Place::Status,
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

pub(super) async fn read_bounded(
    call: &Call,
    response: Response<Body>,
    limit: usize,
) -> Result<Bytes, Error> {
    collect(call, response.into_body(), Bytes::new(), limit).await
}

pub(super) async fn collect(
    call: &Call,
    mut body: Body,
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

/// Whether `event` is the first piece of an answer; an error in its place is the answer's status.
pub(super) fn first_event(call: &Call, event: &Event) -> Result<bool, Error> {
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
fn error_under_success(call: &Call, body: &[u8]) -> Error {
    let error = Error::in_answer(call.upstream.name(), body);
    let gateways_own = !matches!(call.upstream.settings.api_key, ApiKey::Client);
    match error {
        Error::Status {
            upstream,
            status: status @ StatusCode::UNAUTHORIZED,
            body,
            ..
        } if gateways_own => Error::Authentication {
            upstream,
            status,
            message: Secrets::of(call).out_of(*body).message,
        },
        Error::Status {
            upstream,
            status,
            place,
            body,
            headers,
            retry_after,
        } => Error::Status {
            upstream,
            status,
            place,
            body: Box::new(Secrets::of(call).out_of(*body)),
            headers,
            retry_after,
        },
        error => error,
    }
}

pub(super) fn unreachable_upstream(call: &Call, error: outbound::Error) -> Error {
    let upstream = call.upstream.name().to_owned();
    match error {
        outbound::Error::ConnectTimeout { after } => Error::Timeout {
            upstream,
            deadline: Deadline::Connect,
            after,
        },
        source => Error::Unreachable { upstream, source },
    }
}

pub(super) fn invalid(call: &Call, detail: &str) -> Error {
    Error::Invalid {
        upstream: call.upstream.name().to_owned(),
        detail: detail.to_owned(),
    }
}
