//! Holds a request to the limits of its key, and tells in the answer's head how the key stands, in OpenAI's headers.
//!
//! Requests are counted here, before anything is read of them. Tokens are held for a request by its handler, which knows the prompt, and settled
//! by the request's tally; searches are counted where they are made.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::notes::Notes;
use crate::{
    access::{KeyLimits, Kind, Principal, Refused, Standing},
    app::App,
    http::{error::ApiError, is_event_stream},
    rag::{Job, estimate, tally::Tally},
};

/// What OpenAI's headers about limits begin with.
const PREFIX: &str = "x-ratelimit-";

/// The headers about one limit: what it is, what is left, and when all of it is there again.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];

const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Counts a request, and gives it its place among those under way.
pub(in crate::http) async fn admit(
    app: &App,
    limits: &Arc<KeyLimits>,
    notes: &Notes,
) -> Result<(), ApiError> {
    let admitted = async {
        let place = limits.enter()?;
        let standing = limits.take(Kind::Requests, 1, Instant::now()).await?;
        notes.admit(place, standing);
        Ok(())
    };
    admitted
        .await
        .map_err(|refused| refuse(app, limits, refused))
}

/// Holds tokens for a request to a model, where its key's are limited; a streamed answer is then asked to tell what it took.
pub(in crate::http) async fn hold_tokens(
    app: &App,
    principal: &Principal,
    job: &mut Job,
) -> Result<(), ApiError> {
    let tally = Arc::clone(&job.progress.tally);
    let answer = job.request.completion_limit();
    hold(app, principal, &tally, answer, || estimate::prompt(job)).await?;
    if tally.is_metered() && job.request.stream {
        job.ask_for_usage();
    }
    Ok(())
}

/// Holds `prompt` tokens, and those of an answer of at most `answer`, until `tally` is settled.
pub(in crate::http) async fn hold(
    app: &App,
    principal: &Principal,
    tally: &Tally,
    answer: Option<u64>,
    prompt: impl FnOnce() -> u64,
) -> Result<(), ApiError> {
    let Some(limits) = &principal.limits else {
        return Ok(());
    };
    let Some(limit) = limits.limit(Kind::Tokens) else {
        return Ok(());
    };
    let prompt = prompt();
    let tokens = estimate::reservation(prompt, answer, limit);
    let reserved = limits.reserve(tokens, Instant::now()).await;
    if let Some(reservation) = reserved.map_err(|refused| refuse(app, limits, refused))? {
        tally.hold(reservation, prompt);
    }
    Ok(())
}

/// Counts searches that a request makes for itself.
pub(in crate::http) async fn use_searches(
    app: &App,
    principal: &Principal,
    count: usize,
) -> Result<(), ApiError> {
    let Some(limits) = &principal.limits else {
        return Ok(());
    };
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let taken = limits.take(Kind::Searches, count, Instant::now()).await;
    taken
        .map(drop)
        .map_err(|refused| refuse(app, limits, refused))
}

fn refuse(app: &App, limits: &KeyLimits, refused: Refused) -> ApiError {
    app.metrics.limited(limits.name(), refused.word());
    refused.into()
}

/// Writes how the key stands in the place of what the upstream said of the gateway's own key: two sets would lie.
pub(super) fn tell(response: &mut Response, limits: &KeyLimits, notes: &Notes) {
    let headers = response.headers_mut();
    // What a whole answer took is known before its head goes out, and so the head can tell it.
    if !is_event_stream(headers) {
        notes.settle();
    }
    let now = Instant::now();
    let requests = notes.requests_left();
    let requests = requests.or_else(|| limits.standing(Kind::Requests, now));
    let tokens = limits.standing(Kind::Tokens, now);
    if requests.is_none() && tokens.is_none() {
        return;
    }
    let is_theirs = |name: &&HeaderName| name.as_str().starts_with(PREFIX);
    let theirs: Vec<HeaderName> = headers.keys().filter(is_theirs).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
    headers.reserve(REQUESTS.len() + TOKENS.len());
    for (names, standing) in [(REQUESTS, requests), (TOKENS, tokens)] {
        if let Some(standing) = standing {
            put(headers, names, &standing);
        }
    }
}

fn put(headers: &mut HeaderMap, names: Names, standing: &Standing) {
    let [limit, remaining, reset] = names;
    headers.insert(limit, HeaderValue::from(standing.limit));
    headers.insert(remaining, HeaderValue::from(standing.remaining));
    if let Ok(value) = HeaderValue::from_str(&written(standing.reset)) {
        headers.insert(reset, value);
    }
}

/// `12ms`, `1s`, `6m0s`, `1h0m0s`: a time as OpenAI's headers write it, rounded up to whole seconds, or below one to milliseconds.
fn written(time: Duration) -> String {
    let millis = time.as_micros().div_ceil(1000);
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let seconds = millis.div_ceil(1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_writes_them() {
        for (millis, expected) in [
            (0, "0s"),
            (12, "12ms"),
            (1000, "1s"),
            (1001, "2s"),
            (59_999, "1m0s"),
            (360_000, "6m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(written(Duration::from_millis(millis)), expected);
        }
        assert_eq!(written(Duration::from_nanos(1_500_000)), "2ms");
        assert_eq!(written(Duration::from_micros(999_001)), "1s");
    }
}
