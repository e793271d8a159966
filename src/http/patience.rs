//! A request body that is not waited for for ever: a client that stops sending, or sends a byte now and then, must not hold a place.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{BoxError, body::Body};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// What a client has to send on average once it has had one silence's time, in bytes a second: what Apache asks for (`mod_reqtimeout`).
const LEAST_RATE: f64 = 500.0;

/// The client was waited for long enough.
#[derive(Debug, thiserror::Error)]
#[error("the client sends its body too slowly or not at all")]
pub(super) struct Stalled;

impl Stalled {
    /// Whether it is what `error` comes from.
    pub(super) fn is_behind(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::is_behind)
    }
}

/// A body whose client is waited for only so long. Only the time counts in which somebody waits: a slow store is not the client's fault.
pub(super) struct Patient {
    body: Body,
    /// The longest silence.
    silence: Duration,
    sleep: Pin<Box<Sleep>>,
    /// Since when the next piece is waited for.
    since: Option<Instant>,
    waited: Duration,
    received: usize,
}

impl Patient {
    /// Waits for each piece of `body` at most for `silence`.
    pub(super) fn new(body: Body, silence: Duration) -> Self {
        Self {
            body,
            silence,
            sleep: Box::pin(sleep(silence)),
            since: None,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    /// How long the next piece may take.
    fn allowed(&self) -> Duration {
        // No body is so long that a float could not tell its seconds.
        let earned = Duration::from_secs_f64(self.received as f64 / LEAST_RATE);
        let left = (self.silence + earned).saturating_sub(self.waited);
        left.min(self.silence)
    }

    fn hear(&mut self, frame: &Frame<Bytes>) {
        self.waited += self.since.take().map_or(Duration::ZERO, |at| at.elapsed());
        self.received += frame.data_ref().map_or(0, Bytes::len);
    }
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.hear(&frame);
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if self.since.is_none() {
            let now = Instant::now();
            let end = now + self.allowed();
            self.since = Some(now);
            self.sleep.as_mut().reset(end);
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Stalled.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(waited: u64, received: usize) -> Patient {
        Patient {
            sleep: Box::pin(sleep(Duration::ZERO)),
            body: Body::empty(),
            silence: Duration::from_secs(30),
            since: None,
            waited: Duration::from_secs(waited),
            received,
        }
    }

    #[tokio::test]
    async fn a_byte_now_and_then_does_not_prolong_the_wait_for_ever() {
        let seconds = |waited, received| patient(waited, received).allowed().as_secs();
        assert_eq!(seconds(0, 0), 30);
        assert_eq!(seconds(29, 1), 1);
        assert_eq!(seconds(30, 5000), 10);
        assert_eq!(seconds(600, 20_000_000), 30);
        assert_eq!(seconds(60, 2), 0);
    }
}
