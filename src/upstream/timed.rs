//! Events under the deadlines `idle` and `total`.
//!
//! Only `data:` events count as life: an upstream that sends comments for ever still times out. And only the time counts in which somebody
//! waits for the upstream: what a slow client takes is not the upstream's silence.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use super::{Deadline, Error, client::Call};
use crate::{
    alarm::Alarm,
    outbound,
    sse::{self, Event, Payload},
};

/// How long the end of a body may take after `[DONE]`: with it the connection can be used again, without it a new one is opened.
const DRAIN: Duration = Duration::from_millis(100);

/// How many events may come without a look at the clock: one that always has another ready is never waited for.
const UNWATCHED: u32 = 100;

/// The events of one answer, watched.
pub(super) struct Timed<S> {
    upstream: String,
    idle: Duration,
    /// How long was waited for the next `data:` event, up to `since`.
    waited: Duration,
    /// Since when somebody waits; `None`: the client has the turn.
    since: Option<Instant>,
    total: (Instant, Duration),
    alarm: Alarm,
    events: S,
    /// How many events came since the clock was looked at.
    unwatched: u32,
    /// After `[DONE]`: when the rest is no longer waited for.
    drain_until: Option<Instant>,
    ended: bool,
}

impl<S> Timed<S> {
    /// Watches the events of `call`: `idle` between two of them, `total` for the whole request.
    pub(super) fn new(call: &Call, events: S, idle: Duration, total: Duration) -> Self {
        Self {
            upstream: call.upstream.name().to_owned(),
            idle,
            waited: Duration::ZERO,
            since: None,
            total: (call.until, total),
            alarm: Alarm::new(Instant::now() + idle),
            events,
            unwatched: 0,
            drain_until: None,
            ended: false,
        }
    }

    /// Notes an event that came.
    fn hear(&mut self, event: &Event) {
        let since = self.since.take();
        self.unwatched = self.unwatched % (UNWATCHED + 1) + 1;
        match event.payload() {
            Payload::Data(_) => self.waited = Duration::ZERO,
            Payload::Done => self.drain_until = Some(Instant::now() + DRAIN),
            Payload::Comment | Payload::Empty | Payload::Stray(_) => {
                self.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
            }
        }
    }

    /// Waits until a deadline passes: an error, or nothing where only the end of the body is waited for.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        let now = Instant::now();
        self.unwatched = 0;
        let since = *self.since.get_or_insert(now);
        let (total, after) = self.total;
        let silence = since + self.idle.saturating_sub(self.waited);
        let (at, error) = match self.drain_until {
            Some(drained) if drained < total.min(silence) => (drained, None),
            _ if total <= silence => (total, Some((Deadline::Total, after))),
            _ => (silence, Some((Deadline::Idle, self.idle))),
        };
        self.alarm.set(at);
        self.alarm.poll_at(now, cx).map(|()| {
            let (deadline, after) = error?;
            Some(self.passed(deadline, after))
        })
    }

    fn passed(&self, deadline: Deadline, after: Duration) -> Error {
        let upstream = self.upstream.clone();
        Error::Timeout {
            upstream,
            deadline,
            after,
        }
    }
}

impl<S> Stream for Timed<S>
where
    S: Stream<Item = Result<Event, sse::Error<outbound::Error>>> + Unpin,
{
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let (total, after) = self.total;
        let ended = match self.events.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(_))) if self.unwatched > UNWATCHED && Instant::now() >= total => {
                Some(self.passed(Deadline::Total, after))
            }
            Poll::Ready(Some(Ok(event))) => {
                self.hear(&event);
                return Poll::Ready(Some(Ok(event)));
            }
            Poll::Ready(Some(Err(error))) => {
                let upstream = self.upstream.clone();
                Some(match error {
                    sse::Error::Decode(error) => Error::Invalid {
                        upstream,
                        detail: error.to_string(),
                    },
                    // The connection broke in the middle of an answer: what a client has is a beginning.
                    sse::Error::Body(_) => Error::Truncated { upstream },
                })
            }
            Poll::Ready(None) => None,
            Poll::Pending => match self.poll_deadline(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(passed) => passed,
            },
        };
        self.ended = true;
        Poll::Ready(ended.map(Err))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    type Read = Result<Bytes, outbound::Error>;

    /// The events of `body`, of a request that must be over at `end`.
    fn timed<S>(body: S, idle: Duration, end: Instant) -> Timed<sse::Events<S>>
    where
        S: Stream<Item = Read> + Unpin,
    {
        Timed {
            upstream: "u".into(),
            idle,
            waited: Duration::ZERO,
            since: None,
            total: (end, HOUR),
            alarm: Alarm::new(Instant::now() + idle),
            events: sse::Events::new(body, 1000),
            unwatched: 0,
            drain_until: None,
            ended: false,
        }
    }

    #[tokio::test]
    async fn the_time_that_a_client_takes_is_not_the_upstreams_silence() {
        let idle = Duration::from_millis(50);
        let read = Bytes::from_static(b"data: 1\n\n: ping\n\n: ping\n\n");
        let body = futures_util::stream::iter([Ok(read)]).chain(futures_util::stream::pending());
        let mut events = timed(body, idle, Instant::now() + HOUR);

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

    #[tokio::test]
    async fn an_upstream_that_always_has_another_event_ready_is_over_in_time() {
        let read = Bytes::from("data: 1\n\n".repeat(10));
        let body = futures_util::stream::repeat_with(move || Ok(read.clone()));
        let mut events = timed(body, HOUR, Instant::now());
        let ends = async {
            loop {
                if let Err(error) = events.next().await.unwrap() {
                    return error;
                }
            }
        };
        assert!(matches!(
            ends.await,
            Error::Timeout {
                deadline: Deadline::Total,
                ..
            }
        ));
    }
}
