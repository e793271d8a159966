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

    /// Reads `body` whose first read was taken already.
    pub fn after(first: Bytes, body: S, limit_bytes: usize) -> Self {
        let mut events = Self::new(body, limit_bytes);
        events.decoder.push(first);
        events
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    const LIMIT_BYTES: usize = 100;

    type Read = Result<Bytes, io::Error>;

    fn read(text: &'static str) -> Read {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    fn broken() -> Read {
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// Describes every item until the stream ends, and polls it twice more.
    fn all(reads: Vec<Read>) -> Vec<String> {
        let mut events = Events::new(stream::iter(reads), LIMIT_BYTES);
        let mut items = Vec::new();
        while let Some(item) = events.next().now_or_never().unwrap() {
            items.push(match item {
                Ok(event) => format!("{:?}", event.raw()),
                Err(error) => format!("error: {error}"),
            });
        }
        assert!(events.is_terminated());
        assert!(events.next().now_or_never().unwrap().is_none());
        items
    }

    #[test]
    fn a_body_gives_its_events_and_ends() {
        let items = all(vec![
            read("data: a\n\nda"),
            read(""),
            read("ta: b\n\ndata: c"),
        ]);
        assert_eq!(
            items,
            [
                r#"b"data: a\n\n""#,
                r#"b"data: b\n\n""#,
                r#"b"data: c\n\n""#
            ]
        );
    }

    #[test]
    fn a_broken_body_gives_its_whole_events_and_then_one_error() {
        let items = all(vec![
            read("data: a\n\ndata: b\n\ndata: {\"cut"),
            broken(),
            read("data: never\n\n"),
        ]);
        assert_eq!(
            items,
            [
                r#"b"data: a\n\n""#,
                r#"b"data: b\n\n""#,
                "error: the event stream broke off"
            ]
        );
    }

    #[test]
    fn a_refused_event_is_the_last_item() {
        let long = Ok(Bytes::from(vec![b'x'; 200]));
        let items = all(vec![read("data: a\n\n"), long, broken()]);
        assert_eq!(
            items,
            [
                r#"b"data: a\n\n""#,
                "error: an event is longer than 100 bytes"
            ]
        );

        let invalid = Ok(Bytes::from_static(b"data: \xFF\n\ndata: b\n\n"));
        assert_eq!(
            all(vec![invalid]),
            ["error: the data of an event is not valid UTF-8"]
        );
    }

    #[test]
    fn the_body_is_asked_only_when_every_event_of_the_last_read_was_taken() {
        let reads = Cell::new(0);
        let body = stream::iter([
            read("data: a\n\ndata: b\n\ndata: c\n\n"),
            read("data: d\n\n"),
        ])
        .inspect(|_| reads.set(reads.get() + 1));
        let mut events = Events::new(body, LIMIT_BYTES);

        assert!(events.take_ready().is_none());
        let first = events.next().now_or_never().flatten();
        let ready = std::iter::from_fn(|| events.take_ready()).count();

        assert!(first.is_some_and(|event| event.is_ok()));
        assert_eq!((ready, reads.get()), (2, 1));
        assert!(events.next().now_or_never().flatten().is_some());
        assert_eq!(reads.get(), 2);
    }

    #[test]
    fn an_error_met_while_taking_what_is_ready_waits_for_the_next_poll() {
        let body = stream::iter([Ok::<_, io::Error>(Bytes::from_static(
            b"data: a\n\ndata: \xFF\n\n",
        ))]);
        let mut events = Events::new(body, LIMIT_BYTES);

        let first = events.next().now_or_never().flatten().unwrap();
        let ready = events.take_ready();
        let last = events.next().now_or_never().flatten().unwrap();

        assert!(first.is_ok());
        assert_eq!(ready, None);
        assert!(matches!(last, Err(Error::Decode(DecodeError::InvalidUtf8))));
    }

    #[test]
    fn a_silent_body_is_waited_for() {
        let mut events = Events::new(stream::pending::<Read>(), LIMIT_BYTES);
        assert!(events.next().now_or_never().is_none());
        assert!(!events.is_terminated());
    }
}
