//! One connection: served until it ends, and cut when it holds its place for nothing.
//!
//! hyper's own limit on the time of a head counts the time between two requests in, so that it would cut connections that load balancers
//! keep for the next request, and it does not begin before the version of HTTP is known. Hence three clocks of our own: for a head that was
//! begun, for a connection that rests, and for one that rests while the process wants to end.

mod socket;
mod versions;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{body::Incoming, service::Service};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use self::socket::Socket;
pub(super) use self::versions::Versions;
use crate::{
    alarm::{Alarm, Halt},
    http::Transport,
};

/// How long a client may take to send the head of a request, the first one counted from its connection: slow ones must not hold a place.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection may rest between two requests: longer than load balancers keep theirs (60 s), because it is for them to close it.
const REST: Duration = Duration::from_secs(120);

/// How long a connection may rest once it is to end.
const LAST_REST: Duration = Duration::from_millis(500);

/// Serves one connection until it ends; after `closing` it takes no further request and does not rest.
pub(super) async fn serve<S>(
    versions: Arc<Versions>,
    socket: S,
    transport: Transport,
    router: Router,
    closing: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let life = Arc::new(Life::default());
    let mut clocks = Clocks::new(Arc::clone(&life), closing);
    let mut socket = Socket::new(socket, Arc::clone(&life));
    let mut first = Vec::new();
    let spoken = match clocks.during(|cx| socket.poll_spoken(&mut first, cx)).await {
        Passed::Over(spoken) => spoken?,
        Passed::Finish | Passed::Cut => return Ok(()),
    };
    let service = Counted {
        router,
        transport,
        life,
    };
    let server = versions.of(spoken);
    let mut connection =
        std::pin::pin!(server.serve_connection(TokioIo::new(socket.after(first)), service));
    loop {
        match clocks.during(|cx| connection.as_mut().poll(cx)).await {
            Passed::Over(ended) => return ended,
            // In good order: HTTP/2 tells the client which of its requests were still heard.
            Passed::Finish => connection.as_mut().graceful_shutdown(),
            Passed::Cut => return Ok(()),
        }
    }
}

/// The clocks of a connection, and the process that may want to end.
struct Clocks {
    life: Arc<Life>,
    clock: Alarm,
    halt: Halt,
    /// Since when it is to end.
    closed: Option<u64>,
}

/// What became of a step of a connection.
enum Passed<T> {
    /// It is over.
    Over(T),
    /// The connection is to end once it has answered what it heard.
    Finish,
    /// The connection held its place for nothing for too long.
    Cut,
}

/// Why the loop over a connection looks around.
enum Woken<T> {
    /// The step is over.
    Over(T),
    /// The process wants to end.
    Closing,
    /// It is time to look whether the connection holds its place for nothing.
    Clock,
}

impl Clocks {
    fn new(life: Arc<Life>, closing: CancellationToken) -> Self {
        Self {
            life,
            clock: Alarm::new(Instant::now() + HEAD),
            halt: Halt::new(closing),
            closed: None,
        }
    }

    /// Polls a step until it is over, or something is to be done about its connection.
    async fn during<T>(&mut self, mut step: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Passed<T> {
        loop {
            let woken = poll_fn(|cx| {
                if let Poll::Ready(over) = step(cx) {
                    return Poll::Ready(Woken::Over(over));
                }
                if self.closed.is_none() && self.halt.poll(cx).is_ready() {
                    return Poll::Ready(Woken::Closing);
                }
                self.clock.poll(cx).map(|()| Woken::Clock)
            });
            match woken.await {
                Woken::Over(over) => return Passed::Over(over),
                Woken::Closing => {}
                Woken::Clock => {
                    let patience = self.life.patience(self.life.now(), self.closed);
                    match (patience, self.closed) {
                        (Some(wait), _) => {
                            self.clock.set(Instant::now() + wait);
                            continue;
                        }
                        (None, Some(_)) => return Passed::Cut,
                        (None, None) => {}
                    }
                }
            }
            self.closed = Some(self.life.now());
            self.clock.set(Instant::now() + LAST_REST);
            // A client that connected a moment ago has its first request on the way; hyper would hang up on it.
            if self.life.was_heard() {
                return Passed::Finish;
            }
        }
    }
}

/// What a connection is doing. Times are milliseconds since it began.
#[derive(Debug)]
struct Life {
    began: Instant,
    /// Requests whose answers are not at their end.
    requests: AtomicUsize,
    /// When the first byte of the head came that is being read; 0: none is.
    head: AtomicU64,
    /// Whether it speaks HTTP/2, where what comes in need not be the head of a request: pings and windows do.
    is_multiplexed: AtomicBool,
    /// When the last answer ended.
    rested: AtomicU64,
    /// Whether the body of the last request was not read to its end.
    is_unread: AtomicBool,
    /// Whether anything came in.
    heard: AtomicBool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            requests: AtomicUsize::new(0),
            // The first head is waited for from the beginning.
            head: AtomicU64::new(1),
            is_multiplexed: AtomicBool::new(false),
            rested: AtomicU64::new(0),
            is_unread: AtomicBool::new(false),
            heard: AtomicBool::new(false),
        }
    }
}

impl Life {
    /// How long the connection may go on before it is looked at again; `None`: not at all.
    fn patience(&self, now: u64, closed: Option<u64>) -> Option<Duration> {
        if self.requests.load(Ordering::Acquire) > 0 {
            return Some(if closed.is_some() { LAST_REST } else { HEAD });
        }
        let since = |at: u64| Duration::from_millis(now.saturating_sub(at));
        let left = match (closed, self.head.load(Ordering::Acquire)) {
            (Some(closed), _) => LAST_REST.checked_sub(since(closed)),
            (None, 0) => REST.checked_sub(since(self.rested.load(Ordering::Acquire))),
            (None, head) => HEAD.checked_sub(since(head)),
        };
        left.filter(|left| !left.is_zero())
            .map(|left| left.min(HEAD))
    }

    /// Notes that something came in; `now` is asked only where it matters.
    fn hear(&self, now: impl FnOnce() -> u64) {
        self.heard.store(true, Ordering::Release);
        let is_head = !self.is_multiplexed.load(Ordering::Acquire);
        // Only the first byte of a head begins its time: one byte now and then must not prolong it.
        let begins = self.head.load(Ordering::Acquire) == 0;
        if is_head && begins && self.requests.load(Ordering::Acquire) == 0 {
            let (order, failed) = (Ordering::AcqRel, Ordering::Acquire);
            let _ = self.head.compare_exchange(0, now().max(1), order, failed);
        }
    }

    fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    fn begin(&self) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.head.store(0, Ordering::Release);
        self.is_unread.store(false, Ordering::Release);
    }

    /// Whether the client may still be sending what nobody reads. HTTP/2 tells it to stop, HTTP/1 cannot.
    fn is_sent_to(&self) -> bool {
        self.is_unread.load(Ordering::Acquire) && !self.is_multiplexed.load(Ordering::Acquire)
    }

    fn end(&self, now: u64) {
        self.rested.store(now, Ordering::Release);
        self.requests.fetch_sub(1, Ordering::AcqRel);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request under way, as long as this lives.
#[derive(Debug)]
struct UnderWay(Arc<Life>);

impl UnderWay {
    fn new(life: &Arc<Life>) -> Self {
        life.begin();
        Self(Arc::clone(life))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end(self.0.now());
    }
}

/// The routes, with each request counted from its head to the end of its answer.
#[derive(Debug, Clone)]
struct Counted {
    router: Router,
    transport: Transport,
    life: Arc<Life>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<Counting>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let under_way = UnderWay::new(&self.life);
        if request.version() == Version::HTTP_2 {
            self.life.is_multiplexed.store(true, Ordering::Release);
        }
        request.extensions_mut().insert(self.transport);
        // A router is ready at all times.
        let life = Arc::clone(&self.life);
        let answering = self.router.clone().call(request.map(|body| Asked {
            body,
            ended: false,
            life,
        }));
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| Counting {
                body,
                _under_way: under_way,
            }))
        })
    }
}

/// The body of a request, which notes whether it was read to its end.
struct Asked {
    body: Incoming,
    ended: bool,
    life: Arc<Life>,
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let is_unread = !self.ended && !self.body.is_end_stream();
        self.life.is_unread.store(is_unread, Ordering::Release);
    }
}

/// The body of an answer, which belongs to a request under way.
struct Counting {
    body: Body,
    _under_way: UnderWay,
}

impl http_body::Body for Counting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
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

    fn left(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_head_has_its_time_and_single_bytes_do_not_prolong_it() {
        let life = Life::default();
        life.begin();
        life.end(0);
        life.hear(|| 50_000);
        assert_eq!(life.patience(50_000, None), left(30));

        life.hear(|| 79_000);
        assert_eq!(life.patience(79_000, None), left(1));
        assert_eq!(life.patience(80_000, None), None);
    }

    #[test]
    fn a_connection_that_never_speaks_is_cut_like_one_that_speaks_slowly() {
        let life = Life::default();
        assert!(life.patience(30_000, None).is_some());
        assert_eq!(life.patience(30_001, None), None);
    }

    #[test]
    fn between_two_requests_it_may_rest_longer_than_load_balancers_do() {
        let life = Life::default();
        life.begin();
        life.end(5000);
        assert_eq!(life.patience(95_000, None), left(30));
        assert_eq!(life.patience(125_000, None), None);
    }

    #[test]
    fn what_http2_says_between_requests_is_no_slow_head() {
        let life = Life::default();
        life.begin();
        life.is_multiplexed.store(true, Ordering::Release);
        life.end(0);
        life.hear(|| 1000);

        assert!(life.patience(60_000, None).is_some());
        assert_eq!(life.patience(120_000, None), None);
    }

    #[test]
    fn an_answer_under_way_is_never_cut_here() {
        let life = Life::default();
        life.begin();
        assert!(life.patience(3_600_000, None).is_some());
        assert!(life.patience(3_600_000, Some(0)).is_some());

        life.end(3_600_000);

        assert!(life.patience(3_600_000, None).is_some());
        assert_eq!(life.patience(3_600_000, Some(0)), None);
    }
}
