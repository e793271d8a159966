//! The stand-in over HTTP/2, as a provider that takes two hundred streams on a connection.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use super::{Answers, USAGE_EVENT, Wanted, text_event};

/// How many streams a connection may have at once.
const STREAMS: u32 = 200;

type Pieces = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

/// Answers on every connection that comes.
pub(super) async fn accept(listener: TcpListener, answers: Arc<Answers>) -> io::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| answer(request, Arc::clone(&answers)));
        let serving = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(STREAMS)
            .serve_connection(TokioIo::new(socket), service);
        connections.spawn(serving);
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Answers>,
) -> Result<Response<StreamBody<Pieces>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let (kind, pieces) = match Wanted::read(&body) {
        Wanted::Stream { events, gap } => {
            let began = Instant::now();
            let texts = stream::iter(0..events).then(move |index| async move {
                sleep_until(began + gap * index).await;
                Bytes::from(text_event(index, events))
            });
            let last = Bytes::from([USAGE_EVENT, "data: [DONE]\n\n"].concat());
            let pieces = texts.chain(stream::iter([last]));
            ("text/event-stream", pieces.boxed())
        }
        // Only how a stream is relayed depends on the protocol; the rest is here for warming up.
        _ => {
            let whole = Bytes::from(answers.whole_body.clone());
            ("application/json", stream::iter([whole]).boxed())
        }
    };
    let pieces = pieces.map(|piece| Ok(Frame::data(piece))).boxed();
    let mut response = Response::new(StreamBody::new(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
