//! A connection that one request has to itself: HTTP/1.1, read and written by whoever waits for the answer.
//!
//! A client of our own, because of what streams cost: hyper's holds 26 KB for each answer that is open (two buffers and a queue), and goes
//! through a queue for each piece. Here one task reads, one wake-up a piece, and nothing outlives the request; what is read into belongs to
//! the thread ([`reading`]), and a stream that waits for its next piece holds none of it. httparse reads the heads, as it does for hyper.
//!
//! Between two requests nobody reads; whether the neighbour hung up in the meantime is looked at when the connection is taken again.

mod framing;
mod head;
mod idle;
mod reading;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut, buf::Chain};
use http::{HeaderValue, Method, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::{io::AsyncWrite, task::coop::unconstrained};
use tokio_util::{either::Either, io::poll_write_buf};

pub(super) use self::idle::Idle;
use self::{
    framing::Framing,
    head::Head,
    reading::{Room, poll_read},
};
use super::{Body, Error, connect::Io};

/// Why an exchange broke off. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the neighbour hung up before it answered")]
    NoAnswer,
    #[error("the neighbour hung up in the middle of its answer")]
    Cut,
    #[error("the answer's head cannot be read: {0}")]
    Head(httparse::Error),
    #[error("the answer's head is larger than {} KiB", head::LARGEST >> 10)]
    HeadTooLarge,
    #[error("the neighbour changes to another protocol, which nobody asked for")]
    Unasked,
    #[error("the answer's `Content-Length` is no length, or says two")]
    Length,
    #[error("the answer has a `Transfer-Encoding` that HTTP/1.0 does not know")]
    Encoding,
    #[error("the answer's chunks cannot be read")]
    Chunk,
    #[error("the answer has too much in its chunks' extensions and trailers")]
    Aside,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault.into())
    }
}

/// A connection that no request uses.
pub(super) struct Connection {
    io: Io,
    home: Arc<Idle>,
}

/// Why an exchange did not begin, and the request where nothing of it was sent.
pub(super) struct Unsent {
    pub(super) error: Error,
    pub(super) request: Option<Request<Bytes>>,
}

impl Connection {
    /// HTTP/1.1 on `io`; after each answer it rests in `home`.
    pub(super) fn new(io: Io, home: &Arc<Idle>) -> Self {
        let home = Arc::clone(home);
        Self { io, home }
    }

    /// Sends `request` to `host` and waits for the head of its answer.
    pub(super) async fn exchange(
        mut self,
        request: Request<Bytes>,
        host: &HeaderValue,
    ) -> Result<Response<Body>, Unsent> {
        let mut sending = Sending::new(&request, host);
        let is_head = request.method() == Method::HEAD;
        // Kept while nothing of it was sent.
        let mut request = Some(request);
        let mut hearing = Hearing::default();
        let answered = std::future::poll_fn(|cx| {
            sending.poll(cx, &mut self.io);
            if sending.has_begun {
                request = None;
            } else if sending.failed.is_some() {
                return Poll::Ready(Err(Fault::NoAnswer));
            }
            hearing.poll(cx, &mut self.io)
        });
        let head = match answered.await {
            Ok(head) => head,
            // Why nothing more could be sent says more than that no answer came.
            Err(fault) => {
                let error = sending.failed.map_or(fault, Fault::Io).into();
                return Err(Unsent { error, request });
            }
        };
        let mut response = Response::new(Body::own(OwnBody {
            said: hearing.said,
            room: Room::Much,
            framing: match is_head {
                true => Framing::Length(0),
                false => head.framing,
            },
            keeps_open: head.keeps_open,
            sending: (!sending.is_over).then(|| Box::new(sending)),
            connection: Some(self),
        }));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    /// Rests until the next request, unless it cannot be used again.
    fn rest(mut self) {
        if is_open(&mut self.io) {
            self.home.put(self.io);
        }
    }
}

/// Whether another request can be sent; the neighbour may have hung up, or sent what nobody asked for.
fn is_open(io: &mut Io) -> bool {
    let mut nobody = Context::from_waker(Waker::noop());
    // However much this task has done in its turn already: a connection that is not looked at would pass for one that is open.
    let reading = unconstrained(std::future::poll_fn(|cx| poll_read(io, Room::Little, cx)));
    std::pin::pin!(reading).poll(&mut nobody).is_pending()
}

/// An answer whose head comes.
#[derive(Default)]
struct Hearing {
    /// What came; behind the head, what of the body came with it.
    said: Bytes,
}

impl Hearing {
    /// Reads the head of the answer, and takes it off what came.
    fn poll(&mut self, cx: &mut Context<'_>, io: &mut Io) -> Poll<Result<Head, Fault>> {
        loop {
            let more = ready!(poll_read(io, Room::Much, cx))?;
            if more.is_empty() {
                return Poll::Ready(Err(if self.said.is_empty() {
                    Fault::NoAnswer
                } else {
                    Fault::Cut
                }));
            }
            if self.hear(more)
                && let Some(head) = head::read(&mut self.said)?
            {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Takes in what came; says whether it is worth a look. Most heads come in one piece, and one that comes byte by byte must not be read
    /// from its beginning for each.
    fn hear(&mut self, more: Bytes) -> bool {
        let known = self.said.len();
        if known == 0 {
            self.said = more;
            return true;
        }
        let mut whole = BytesMut::from(std::mem::take(&mut self.said));
        whole.extend_from_slice(&more);
        self.said = whole.freeze();
        // The empty line that ends a head may have begun in the piece before.
        let fresh = self.said.get(known.saturating_sub(3)..).unwrap_or_default();
        let has_end = [&b"\n\r\n"[..], b"\n\n"]
            .iter()
            .any(|end| memchr::memmem::find(fresh, end).is_some());
        has_end || self.said.len() >= head::LARGEST
    }
}

/// A request on its way.
struct Sending {
    rest: Chain<Bytes, Bytes>,
    has_begun: bool,
    is_over: bool,
    /// Why no more of it can be sent. There may be an answer all the same.
    failed: Option<io::Error>,
}

impl Sending {
    fn new(request: &Request<Bytes>, host: &HeaderValue) -> Self {
        Self {
            rest: head::write(request, host).chain(request.body().clone()),
            has_begun: false,
            is_over: false,
            failed: None,
        }
    }

    /// Sends what the connection takes.
    fn poll(&mut self, cx: &mut Context<'_>, io: &mut Io) {
        if self.is_over || self.failed.is_some() {
            return;
        }
        match self.poll_all(cx, io) {
            Poll::Ready(Ok(())) => self.is_over = true,
            Poll::Ready(Err(error)) => {
                // TLS tells of a failure only, and not of what went out before it.
                self.has_begun |= matches!(io, Either::Right(_));
                self.failed = Some(error);
            }
            Poll::Pending => {}
        }
    }

    fn poll_all(&mut self, cx: &mut Context<'_>, io: &mut Io) -> Poll<io::Result<()>> {
        while self.rest.has_remaining() {
            if ready!(poll_write_buf(Pin::new(&mut *io), cx, &mut self.rest))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_begun = true;
        }
        Pin::new(io).poll_flush(cx)
    }
}

/// The body of an answer, which reads its connection.
pub(super) struct OwnBody {
    /// What was read and not given on.
    said: Bytes,
    /// How much is read at once.
    room: Room,
    framing: Framing,
    /// Whether the connection may be used again.
    keeps_open: bool,
    /// What of the request is still to be sent: some answer before they have heard all.
    sending: Option<Box<Sending>>,
    /// Gone when it has ended, or rests.
    connection: Option<Connection>,
}

impl OwnBody {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = self.poll_data(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) if !self.framing.is_over() => {}
            Poll::Ready(Some(Ok(_)) | None) => self.finish(),
            // Nothing comes after it.
            Poll::Ready(Some(Err(_))) => {
                self.connection = None;
                self.said = Bytes::new();
            }
            Poll::Pending => {}
        }
        polled.map(|data| data.map(|data| data.map(Frame::data).map_err(Error::from)))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            if let Some(data) = self.framing.cut(&mut self.said)? {
                return Poll::Ready(Some(Ok(data)));
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            if self.framing.is_over() {
                return Poll::Ready(None);
            }
            if let Some(sending) = &mut self.sending {
                sending.poll(cx, &mut connection.io);
                // What was sent is let go of.
                self.sending.take_if(|sending| sending.is_over);
            }
            self.said = ready!(poll_read(&mut connection.io, self.room, cx))?;
            self.room = self.framing.room(self.said.len());
            if self.said.is_empty() {
                self.connection = None;
                let is_whole = self.framing.ends_with_connection();
                return Poll::Ready((!is_whole).then_some(Err(Fault::Cut)));
            }
        }
    }

    /// Lets the connection rest, where nothing speaks against it.
    fn finish(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.keeps_open
            && self.said.is_empty()
            && self.sending.is_none()
        {
            connection.rest();
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.framing.is_over()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.framing.size_hint()
    }
}
