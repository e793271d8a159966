//! A connection that one request has to itself: HTTP/1.1, driven by whoever waits for the answer.
//!
//! hyper wants its connection polled by somebody, and usually that is a task of its own, woken for each piece in addition to the one that
//! relays it. Here the answer's body polls it: one task, one wake-up a piece, and nothing that outlives the request. Between two requests
//! nobody polls; whether the neighbour hung up in the meantime is looked at when the connection is taken again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{Body, Error, REST, connect::Io};

/// What is read at once at most, in bytes: hyper's own limit would let each stream keep several hundred kilobytes.
const READ_BUFFER: usize = 64 << 10;

/// How many connections rest for the requests to come, in each shard.
const MOST_IDLE: usize = 1024;

/// Opens HTTP/1.1 on `io`; after each answer it rests in `home`.
pub(super) async fn open(io: Io, home: &Arc<Idle>) -> Result<Connection, Error> {
    let (sender, driver) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .handshake(TokioIo::new(io))
        .await?;
    Ok(Connection {
        wire: Box::new(Wire { sender, driver }),
        home: Arc::clone(home),
    })
}

/// A connection that no request uses.
pub(super) struct Connection {
    wire: Box<Wire>,
    home: Arc<Idle>,
}

struct Wire {
    sender: SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Io>, Full<Bytes>>,
}

/// Why an exchange did not begin, and the request where nothing of it was sent.
pub(super) struct Unsent {
    pub(super) error: Error,
    pub(super) request: Option<Request<Full<Bytes>>>,
}

impl Connection {
    /// Sends `request` and waits for the head of its answer.
    pub(super) async fn exchange(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Unsent> {
        let mut answering = std::pin::pin!(self.wire.sender.try_send_request(request));
        let mut ended = false;
        let answered = std::future::poll_fn(|cx| {
            if !ended {
                ended = self.wire.poll_driver(cx).is_ready();
            }
            // Its end resolves the answer too, one way or the other.
            answering.as_mut().poll(cx)
        });
        match answered.await {
            Ok(response) => Ok(response.map(|incoming| {
                let connection = (!ended).then_some(self);
                Body::own(OwnBody {
                    incoming,
                    connection,
                })
            })),
            Err(mut failed) => Err(Unsent {
                request: failed.take_message(),
                error: failed.into_error().into(),
            }),
        }
    }

    /// Rests until the next request, unless it cannot be used again.
    fn rest(mut self) {
        if self.wire.is_open() {
            let home = Arc::clone(&self.home);
            home.put(self.wire);
        }
    }
}

impl Wire {
    /// Whether another request can be sent; the neighbour may have hung up, or sent what nobody asked for.
    fn is_open(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.poll_driver(&mut nobody).is_pending() && self.sender.is_ready()
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.driver).poll(cx)
    }
}

/// The body of an answer, which drives its connection.
pub(super) struct OwnBody {
    incoming: Incoming,
    /// Gone when it has ended, or rests.
    connection: Option<Connection>,
}

impl OwnBody {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Some(connection) = &mut self.connection
            && connection.wire.poll_driver(cx).is_ready()
        {
            // What it read before its end is still to be given.
            self.connection = None;
        }
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        let is_over = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(_)) => self.incoming.is_end_stream(),
            Poll::Pending => false,
        };
        if is_over && let Some(connection) = self.connection.take() {
            connection.rest();
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Connections that rest, the last one used at the end.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<(Box<Wire>, Instant)>>);

impl Idle {
    /// One that is open, the last one used first: the others may then rest until they are closed.
    pub(super) fn take(self: &Arc<Self>) -> Option<Connection> {
        loop {
            let (mut wire, since) = self.resting().pop()?;
            if since.elapsed() >= REST {
                continue;
            }
            if wire.is_open() {
                let home = Arc::clone(self);
                return Some(Connection { wire, home });
            }
        }
    }

    fn put(&self, wire: Box<Wire>) {
        let mut resting = self.resting();
        if resting.len() < MOST_IDLE {
            resting.push((wire, Instant::now()));
        }
    }

    /// Closes those that rested for long enough, and those whose neighbour hung up, which nobody else would notice.
    pub(super) fn sweep(&self, now: Instant) {
        let is_kept = |(wire, since): &mut (Box<Wire>, Instant)| {
            now.duration_since(*since) < REST && wire.is_open()
        };
        let (mut kept, closing): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.resting())
            .into_iter()
            .map(|mut resting| (is_kept(&mut resting), resting))
            .partition(|(is_kept, _)| *is_kept);
        // Closing is a call of the system each: not while others wait for the lock.
        drop(closing);
        let mut resting = self.resting();
        // What came to rest meanwhile is younger.
        kept.extend(resting.drain(..).map(|younger| (true, younger)));
        *resting = kept.into_iter().map(|(_, resting)| resting).collect();
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.resting().len()
    }

    fn resting(&self) -> MutexGuard<'_, Vec<(Box<Wire>, Instant)>> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Idle").field(&self.resting().len()).finish()
    }
}
