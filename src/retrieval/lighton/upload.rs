//! A file on its way to LightOn: a multipart form whose file part is passed on as it comes, watched for standing still.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use http::{HeaderMap, header};
use reqwest::{
    Body,
    multipart::{Form, Part},
};
use tokio::time::{Instant, sleep_until};

use crate::retrieval::documents::Upload;

/// The form of `POST /api/v3/files`, and the watch over its file part.
///
/// The fields go first, so that the service can refuse them before the file comes. `filename` is a field of its own because the name
/// inside the part's header is encoded, and not every server undoes that.
pub(super) fn form(upload: Upload) -> (Form, Watch) {
    form_with(Form::new(), upload)
}

/// The same, after the fields that are there already.
pub(super) fn form_with(mut form: Form, upload: Upload) -> (Form, Watch) {
    let watch = Watch::new();
    let stream = Watched {
        bytes: upload.bytes,
        watch: watch.clone(),
    };
    let body = Body::wrap_stream(stream);
    let part = match upload.length {
        Some(length) => Part::stream_with_length(body, length),
        None => Part::stream(body),
    };
    let part = typed(
        part.file_name(upload.filename.clone()),
        upload.content_type.as_deref(),
    );
    if let Some(workspace) = upload.workspace {
        form = form.text("workspace_id", workspace.to_string());
    }
    form = form.text("filename", upload.filename);
    if let Some(title) = upload.title {
        form = form.text("title", title);
    }
    (form.part("file", part), watch)
}

/// Names the media type where it is one; LightOn goes by the extension of the file name anyway.
fn typed(part: Part, content_type: Option<&str>) -> Part {
    let mut headers = HeaderMap::new();
    if let Some(value) = content_type
        .filter(|text| text.contains('/'))
        .and_then(|text| text.parse().ok())
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
    part.headers(headers)
}

/// Knows since when the service owes us something: to take the next piece, or to answer.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Mutex<Side>>);

/// Whose move it is.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// Ours: the client who brings the file is waited for.
    Client,
    /// The service's, since then.
    Service(Instant),
}

impl Watch {
    /// It begins with the service, which has to accept the connection.
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Side::Service(Instant::now()))))
    }

    /// Waits until it was the service's move for `idle` without pause.
    pub(super) async fn stalled(&self, idle: Duration) {
        loop {
            let now = Instant::now();
            let until = match self.side() {
                Side::Client => now + idle,
                Side::Service(since) if since + idle <= now => return,
                Side::Service(since) => since + idle,
            };
            sleep_until(until).await;
        }
    }

    fn side(&self) -> Side {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, side: Side) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = side;
    }
}

/// The file's bytes, which tell the watch whose move it is.
struct Watched {
    bytes: BoxStream<'static, std::io::Result<Bytes>>,
    watch: Watch,
}

impl Stream for Watched {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let poll = self.bytes.as_mut().poll_next(context);
        self.watch.set(match poll {
            Poll::Pending => Side::Client,
            Poll::Ready(_) => Side::Service(Instant::now()),
        });
        poll
    }
}
