//! The events of one answer, as the rest of the gateway pulls them.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};

use super::{Error, scrub::Secrets, timed::Timed};
use crate::{
    outbound::Body,
    sse::{self, Event},
};

/// Events of one answer: at most one error, and it is last.
pub struct EventStream {
    /// What was read before the stream counted as opened.
    read: VecDeque<Event>,
    live: Option<Live>,
}

/// An answer that still comes.
struct Live {
    events: Timed<sse::Events<Body>>,
    secrets: Secrets,
}

impl EventStream {
    /// All of `events`, which are here.
    pub(super) fn of(events: VecDeque<Event>) -> Self {
        Self {
            read: events,
            live: None,
        }
    }

    /// Those of `read`, and then what still comes, without `secrets`.
    pub(super) fn live(
        read: VecDeque<Event>,
        events: Timed<sse::Events<Body>>,
        secrets: Secrets,
    ) -> Self {
        Self {
            read,
            live: Some(Live { events, secrets }),
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        let Some(Live { events, secrets }) = &mut self.live else {
            return Poll::Ready(None);
        };
        let polled = events.poll_next_unpin(cx);
        polled.map(|event| event.map(|event| event.map(|event| secrets.out_of_event(event))))
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("read", &self.read.len())
            .finish_non_exhaustive()
    }
}
