//! Connections that requests share: HTTP/2, each up to the streams that both sides allow, and another one beyond that.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{sync::Notify, time::Instant};

use super::{Body, Error, REST, connect::Io};

/// What a neighbour may send on one stream before it is read, in bytes: what a client that does not read costs. (hyper's own is 2 MB.)
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all streams of a connection: with less than a window for each of the usual hundred, clients that do not read would hold up
/// those that do. (hyper's own is 5 MB, which three such clients fill.)
const CONNECTION_WINDOW: u32 = 32 << 20;

/// How long a connection is silent before it is asked whether it is there, and how long that may take: what passes through a balancer that
/// forgot it would otherwise wait for its own deadline.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Opens HTTP/2 on `io`, for `home`; `making` is over when it is known how many streams the neighbour allows.
pub(super) async fn open(
    io: Io,
    home: &Arc<Shared>,
    making: Option<Connecting>,
) -> Result<Place, Error> {
    let (sender, mut driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Nobody but its maker gets a place before the neighbour said how many there are: what is too many would wait for the others' ends.
        .initial_max_send_streams(0)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .handshake(TokioIo::new(io))
        .await?;
    let allowed = Arc::new(AtomicUsize::new(0));
    let connection = Arc::new(Multiplex {
        sender,
        allowed: Arc::clone(&allowed),
        streams: AtomicUsize::new(1),
        rested: Mutex::new(Instant::now()),
    });
    let (told, mut making) = (Arc::downgrade(home), making);
    let driving = std::future::poll_fn(move |cx| {
        let polled = Pin::new(&mut driver).poll(cx);
        let streams = driver.current_max_send_streams();
        if allowed.swap(streams, Ordering::Relaxed) != streams
            && let Some(home) = told.upgrade()
        {
            drop(making.take());
            home.allows(streams);
        }
        polled
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "a connection that requests share belongs to none of them: it ends with the last handle to it, which the pool lets go of"
    )]
    tokio::spawn(async move {
        if let Err(error) = driving.await {
            tracing::debug!(error = %error, "a shared connection ended");
        }
    });
    home.add(&connection);
    Ok(Place {
        connection,
        home: Arc::clone(home),
    })
}

/// A connection with the streams on it.
pub(super) struct Multiplex {
    sender: SendRequest<Full<Bytes>>,
    /// How many streams the neighbour allows.
    allowed: Arc<AtomicUsize>,
    streams: AtomicUsize,
    /// When its last stream ended.
    rested: Mutex<Instant>,
}

impl Multiplex {
    /// Takes a place on it, if there is one beside those of `limit`, or of fewer where the neighbour allows fewer.
    fn place(self: &Arc<Self>, limit: usize, home: &Arc<Shared>) -> Option<Place> {
        let limit = limit.min(self.allowed.load(Ordering::Relaxed));
        let more = |streams: usize| (streams < limit).then_some(streams + 1);
        if self.sender.is_closed() {
            return None;
        }
        let taken = self
            .streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Place {
            connection: Arc::clone(self),
            home: Arc::clone(home),
        })
    }

    fn is_over(&self, now: Instant) -> bool {
        let rested = || {
            let rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
            now.duration_since(*rested) >= REST
        };
        self.sender.is_closed() || (self.streams.load(Ordering::Relaxed) == 0 && rested())
    }
}

/// A place among the streams of a connection, given back when it is dropped.
pub(super) struct Place {
    connection: Arc<Multiplex>,
    home: Arc<Shared>,
}

impl Place {
    /// Sends `request` and waits for the head of its answer, whose body keeps the place.
    pub(super) async fn exchange(
        self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Error> {
        let response = self.connection.sender.clone().send_request(request).await?;
        Ok(response.map(|incoming| Body::shared(incoming, self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.connection.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            let rested = &self.connection.rested;
            *rested.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        self.home.changed.notify_one();
    }
}

/// The connections to one neighbour.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Somebody who waits for a place should look again.
    changed: Notify,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Multiplex>>,
    /// How many are being made.
    connecting: usize,
    /// How many requests wait for those.
    waiting: usize,
    /// How many streams a connection may have, as the neighbour said last; `None`: it did not.
    allowed: Option<usize>,
    speaks: Speaks,
}

/// What the neighbour agreed to speak when it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Speaks {
    #[default]
    Unknown,
    Http1,
    Http2,
}

/// What a request without a connection does.
pub(super) enum Turn {
    /// It has a place on one.
    Place(Place),
    /// It makes one, for itself and those that wait.
    Connect(Connecting),
    /// It makes one for itself: the neighbour does not share.
    Alone,
}

impl Shared {
    /// A place on a connection that is there.
    pub(super) fn place(self: &Arc<Self>, limit: usize) -> Option<Place> {
        self.state().place(limit, self)
    }

    /// Waits until there is a place, or something to do about it.
    pub(super) async fn turn(self: &Arc<Self>, limit: usize) -> Turn {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let _waiting = {
                let mut state = self.state();
                if let Some(place) = state.place(limit, self) {
                    return Turn::Place(place);
                }
                if state.speaks == Speaks::Http1 {
                    return Turn::Alone;
                }
                // Before it is known what it speaks, one asks and the others wait for what comes of it.
                let each = state.allowed.map_or(limit, |allowed| limit.min(allowed));
                let enough = match state.speaks {
                    Speaks::Http2 => state.connecting.saturating_mul(each) > state.waiting,
                    Speaks::Unknown | Speaks::Http1 => state.connecting > 0,
                };
                if !enough {
                    state.connecting += 1;
                    return Turn::Connect(Connecting(Arc::downgrade(self)));
                }
                state.waiting += 1;
                Waiting(self)
            };
            changed.await;
        }
    }

    fn add(&self, connection: &Arc<Multiplex>) {
        let mut state = self.state();
        state.speaks = Speaks::Http2;
        state.connections.push(Arc::clone(connection));
    }

    fn allows(&self, streams: usize) {
        self.state().allowed = Some(streams);
        self.changed.notify_waiters();
    }

    /// Lets go of connections that ended, and of those that rested for long enough.
    pub(super) fn sweep(&self, now: Instant) {
        self.state()
            .connections
            .retain(|connection| !connection.is_over(now));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, limit: usize, home: &Arc<Shared>) -> Option<Place> {
        self.connections
            .retain(|connection| !connection.sender.is_closed());
        // The oldest first, so that what is too many may rest until it is closed.
        self.connections
            .iter()
            .find_map(|connection| connection.place(limit, home))
    }
}

/// A request that waits for a place.
struct Waiting<'s>(&'s Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// A connection that is being made. Where it comes to nothing, those that waited for it look again.
pub(super) struct Connecting(Weak<Shared>);

impl Connecting {
    /// The neighbour agreed to HTTP/1.1 alone.
    pub(super) fn speaks_http1(self) {
        if let Some(home) = self.0.upgrade() {
            home.state().speaks = Speaks::Http1;
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(home) = self.0.upgrade() {
            home.state().connecting -= 1;
            home.changed.notify_waiters();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Shared")
            .field("connections", &state.connections.len())
            .field("connecting", &state.connecting)
            .field("waiting", &state.waiting)
            .finish()
    }
}
