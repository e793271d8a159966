//! The events of a response body, pulled one at a time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::FusedStream;

use super::{DecodeError, Decoder, Event};

/// A body as a stream of events: at most one error, and it is last.
///
/// Nothing is read ahead: a read of the body is asked for only when every event of the one before was taken, so a slow client slows the
/// upstream. The body is dropped, and with it the connection or its stream, as soon as nothing more will be read from it.
#[derive(Debug)]
pub struct Events<S> {
    /// Gone when it has ended or will not be read on.
    body: Option<S>,
    decoder: Decoder,
    phase: Phase,
}

/// Why a stream of events ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The bytes are no readable events.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The body broke off.
    #[error("the event stream broke off")]
    Body(#[source] E),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// An event was refused; the error waits until it is asked for.
    Refused(DecodeError),
    Over,
}

impl<S> Events<S> {
    /// Reads `body` as events of at most `limit_bytes` each.
    pub fn new(body: S, limit_bytes: usize) -> Self {
        Self {
            body: Some(body),
            decoder: Decoder::new(limit_bytes),
            phase: Phase::Reading,
        }
    }

    /// Gives the next event of what was already read, without touching the body: what is ready can go out in one write.
    ///
    /// An error is kept for the next poll.
    pub fn take_ready(&mut self) -> Option<Event> {
        if self.phase != Phase::Reading {
            return None;
        }
        let next = if self.body.is_some() {
            self.decoder.next()
        } else {
            self.decoder.finish()
        };
        match next? {
            Ok(event) => Some(event),
            Err(error) => {
                self.phase = Phase::Refused(error);
                self.body = None;
                None
            }
        }
    }
}

impl<S, E> Stream for Events<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    type Item = Result<Event, Error<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.take_ready() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Phase::Refused(error) = self.phase {
                self.phase = Phase::Over;
                return Poll::Ready(Some(Err(error.into())));
            }
            let Some(body) = &mut self.body else {
                self.phase = Phase::Over;
                return Poll::Ready(None);
            };
            match ready!(Pin::new(body).poll_next(cx)) {
                Some(Ok(read)) => self.decoder.push(read),
                // What the decoder still holds was cut in the middle by the failure and is no event.
                Some(Err(error)) => {
                    self.body = None;
                    self.phase = Phase::Over;
                    return Poll::Ready(Some(Err(Error::Body(error))));
                }
                None => self.body = None,
            }
        }
    }
}

impl<S, E> FusedStream for Events<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + 'static,
{
    fn is_terminated(&self) -> bool {
        self.phase == Phase::Over
    }
}
