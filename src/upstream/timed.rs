//! Events under the deadlines `idle` and `total`.
//!
//! Only `data:` events count as life: an upstream that sends comments for ever still times out.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use super::{Deadline, Error, client::Call};
use crate::{
    outbound,
    sse::{self, Event, Payload},
};

/// How long the end of a body may take after `[DONE]`: with it the connection can be used again, without it a new one is opened.
const DRAIN: Duration = Duration::from_millis(100);

/// The events of one answer, watched.
pub(super) struct Timed<S> {
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
    /// Watches the events of `call`: `idle` between two of them, `total` for the whole request.
    pub(super) fn new(call: &Call, events: S, idle: Duration, total: Duration) -> Self {
        Self {
            upstream: call.upstream.name().to_owned(),
            idle,
            last: Instant::now(),
            handed_over: None,
            total: (call.until, total),
            sleep: Box::pin(tokio::time::sleep(idle)),
            events,
            drain_until: None,
            ended: false,
        }
    }

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
    S: Stream<Item = Result<Event, sse::Error<outbound::Error>>> + Unpin,
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
    use bytes::Bytes;

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

    type TimedItem = Result<Event, sse::Error<outbound::Error>>;

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
