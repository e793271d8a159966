//! The body of an answer: it notices how it ended, and keeps the request's place until then.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::access_log::Line;
use crate::{app::App, sse::Ending};

/// A body that notices how it ended and keeps the request's place until then.
pub(super) struct Observed {
    pub(super) body: Body,
    /// Written at the end.
    pub(super) line: Option<Line>,
    pub(super) _open: Option<OpenStream>,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ending = match &polled {
            Poll::Ready(None) => Ending::Done,
            Poll::Ready(Some(Err(_))) => Ending::Failed,
            // A body of known length is not polled again once it gave everything.
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => Ending::Done,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => return polled,
        };
        if let Some(line) = self.line.take() {
            line.write(ending);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let ending = if self.body.is_end_stream() {
                Ending::Done
            } else {
                Ending::Cancelled
            };
            line.write(ending);
        }
    }
}

/// A stream being sent, as long as this lives.
pub(super) struct OpenStream(Arc<App>);

impl OpenStream {
    pub(super) fn new(app: Arc<App>) -> Self {
        app.metrics.open_streams.inc();
        Self(app)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.metrics.open_streams.dec();
    }
}
