//! The body of a neighbour's answer: it holds the connection that it comes from, or its place on one.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::{Error, own::OwnBody, shared::Place};

/// The body of an answer, piece by piece as it comes. Dropped before its end, it ends the exchange.
pub struct Body(Kind);

enum Kind {
    Own(Box<OwnBody>),
    Shared(
        Incoming,
        #[expect(dead_code, reason = "held for its drop")] Place,
    ),
}

impl Body {
    pub(super) fn own(body: OwnBody) -> Self {
        Self(Kind::Own(Box::new(body)))
    }

    pub(super) fn shared(incoming: Incoming, place: Place) -> Self {
        Self(Kind::Shared(incoming, place))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Own(body) => body.poll_frame(cx),
            Kind::Shared(body, _) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Error::from))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_end_stream(),
            Kind::Shared(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(body) => body.size_hint(),
            Kind::Shared(body, _) => body.size_hint(),
        }
    }
}

/// Its data; trailers say nothing here.
impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let polled = http_body::Body::poll_frame(self.as_mut(), cx);
            return match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
