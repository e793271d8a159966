use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn origin(address: SocketAddr, http2: Http2, streams: usize) -> Origin {
    let base = Url::parse(&format!("http://{address}/v1")).unwrap();
    Origin::new(&base, http2, streams).unwrap()
}

pub(super) async fn ask(origin: &Origin) -> Result<Response<Body>, Error> {
    let mut request = Request::new(Bytes::from_static(b"{}"));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = origin.path("/chat/completions").unwrap();
    origin.send(request, PATIENCE).await
}

pub(super) async fn text(response: Response<Body>) -> String {
    let body = BodyExt::collect(response.into_body()).await;
    let body = body.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A listener, and the sockets that it accepts one by one.
pub(super) async fn listen() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// Reads one request with the body `{}`.
pub(super) async fn hear(socket: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n{}") {
        assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0, "hung up");
    }
    String::from_utf8(heard).unwrap()
}

pub(super) async fn say(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

const HI: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            let heard = hear(&mut socket).await;
            assert!(
                heard.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
                "{heard}"
            );
            assert!(heard.contains(&format!("host: {address}\r\n")), "{heard}");
            say(&mut socket, HI).await;
        }
    };
    let asking = async {
        for _ in 0..3 {
            assert_eq!(text(ask(&origin).await.unwrap()).await, "hi");
        }
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn what_hung_up_while_it_rested_is_not_used_again() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let serve = async || {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(&mut socket, HI).await;
    };
    for _ in 0..2 {
        let (_, answer) = tokio::join!(serve(), ask(&origin));
        assert_eq!(text(answer.unwrap()).await, "hi");
    }
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(&mut socket, "HTTP/1.1 200 OK\r\n\r\none ").await;
        say(&mut socket, "two").await;
    };
    let (answer, ()) = tokio::join!(ask(&origin), serving);
    assert_eq!(text(answer.unwrap()).await, "one two");
}

#[tokio::test]
async fn an_answer_that_is_dropped_ends_its_connection() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let (answer, mut socket) = tokio::join!(ask(&origin), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(
            &mut socket,
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhi",
        )
        .await;
        socket
    });
    let mut body = answer.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "hi");

    drop(body);

    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn who_leaves_before_the_head_ends_the_connection() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let mut asking = Box::pin(ask(&origin));
    let mut socket = tokio::select! {
        _ = &mut asking => panic!("nobody answered"),
        socket = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            hear(&mut socket).await;
            socket
        } => socket,
    };

    drop(asking);

    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_cut_or_no_http_is_an_error() {
    for (said, of_body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhi", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
            true,
        ),
        ("HTTP/1.1 200", false),
        ("SSH-2.0-x\r\n", false),
        ("", false),
    ] {
        let (address, listener) = listen().await;
        let origin = origin(address, Http2::Auto, 100);
        let serving = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            hear(&mut socket).await;
            say(&mut socket, said).await;
        };
        let (answer, ()) = tokio::join!(ask(&origin), serving);
        assert_eq!(answer.is_ok(), of_body, "{said:?}");
        if let Ok(answer) = answer {
            let body = BodyExt::collect(answer.into_body()).await;
            assert!(body.is_err(), "{said:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let (address, listener) = listen().await;
    drop(listener);
    let refused = ask(&origin(address, Http2::Auto, 100)).await;
    assert!(matches!(refused, Err(Error::Connect(_))), "{refused:?}");
}

#[tokio::test]
async fn what_rested_for_long_is_closed_when_it_is_swept() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let (answer, mut socket) = tokio::join!(ask(&origin), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(&mut socket, HI).await;
        socket
    });
    assert_eq!(text(answer.unwrap()).await, "hi");

    origin.sweep();
    assert_eq!(
        socket.read(&mut [0; 8]).now_or_never().map(Result::unwrap),
        None
    );
    origin.sweep_at(Instant::now() + REST);

    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_hung_up_while_it_rested_is_closed_when_it_is_swept() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 100);
    let (answer, socket) = tokio::join!(ask(&origin), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(&mut socket, HI).await;
        socket
    });
    assert_eq!(text(answer.unwrap()).await, "hi");
    let resting = || origin.shard().idle.count();
    assert_eq!(resting(), 1);

    drop(socket);
    while resting() > 0 {
        tokio::task::yield_now().await;
        origin.sweep();
    }
}

/// An HTTP/2 server that allows `streams` on each connection and ends its answers when it is told to.
struct Multiplexer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// One for each answer whose head went out.
    answers: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Bytes>>,
    _serving: JoinSet<()>,
}

impl Multiplexer {
    async fn start(streams: u32) -> Self {
        let (address, listener) = listen().await;
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, answers) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        let count = Arc::clone(&connections);
        serving.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let tell = tell.clone();
                open.spawn(async move {
                    let answer = service_fn(move |request: Request<Incoming>| {
                        let (say, said) = mpsc::unbounded_channel();
                        assert_eq!(request.uri().path(), "/v1/chat/completions");
                        assert!(!request.headers().contains_key(http::header::HOST));
                        tell.send(say).unwrap();
                        async { Ok::<_, Infallible>(Response::new(piecewise(said))) }
                    });
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(streams)
                        .serve_connection(TokioIo::new(socket), answer);
                    // It ends as the client wants it.
                    let _ = server.await;
                });
            }
        });
        Self {
            address,
            connections,
            answers,
            _serving: serving,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn piecewise(
    said: mpsc::UnboundedReceiver<Bytes>,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> {
    let pieces = futures_util::stream::unfold(said, async |mut said| {
        let piece = said.recv().await?;
        Some((Ok(http_body::Frame::data(piece)), said))
    });
    StreamBody::new(Box::pin(pieces))
}

#[tokio::test]
async fn no_stream_waits_for_anothers_place() {
    // given: a server that allows two streams a connection, where we would have four
    let mut server = Multiplexer::start(2).await;
    let origin = origin(server.address, Http2::PriorKnowledge, 4);
    let first = ask(&origin).await.unwrap();
    let mut told = vec![server.answers.recv().await.unwrap()];

    // when: five more come while none has ended
    let others = join_all((0..5).map(|_| ask(&origin))).await;

    // then: all have begun, and end as they are told
    for answer in &others {
        assert_eq!(answer.as_ref().unwrap().status(), 200);
        told.push(server.answers.recv().await.unwrap());
    }
    assert!(
        (3..=4).contains(&server.connections()),
        "{}",
        server.connections()
    );
    for say in told.drain(..) {
        say.send(Bytes::from_static(b"hi")).unwrap();
    }
    for answer in others.into_iter().chain([Ok(first)]) {
        assert_eq!(text(answer.unwrap()).await, "hi");
    }
}

#[tokio::test]
async fn a_place_that_is_given_back_is_taken_again() {
    let mut server = Multiplexer::start(100).await;
    let origin = origin(server.address, Http2::PriorKnowledge, 1);
    for _ in 0..3 {
        let answer = ask(&origin).await.unwrap();
        drop(server.answers.recv().await.unwrap());
        assert_eq!(text(answer).await, "");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn who_comes_while_a_connection_is_made_gets_a_place_on_it() {
    let mut server = Multiplexer::start(100).await;
    let origin = origin(server.address, Http2::PriorKnowledge, 100);

    let answers = join_all((0..50).map(|_| ask(&origin))).await;

    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 1);
    assert!(server.answers.recv().await.is_some());
}

#[tokio::test]
async fn who_leaves_while_it_makes_a_connection_leaves_that_to_another() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::PriorKnowledge, 100);
    let mut leaving = Box::pin(ask(&origin));
    let mut staying = Box::pin(ask(&origin));
    assert!(leaving.as_mut().now_or_never().is_none());
    assert!(staying.as_mut().now_or_never().is_none());

    drop(leaving);

    // The other one's preface comes, on a connection of its own.
    let heard = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut preface = [0; 24];
            if socket.read_exact(&mut preface).await.is_ok() {
                return preface;
            }
        }
    };
    tokio::select! {
        preface = heard => assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        _ = staying => panic!("nobody answers"),
    }
}

#[tokio::test]
async fn a_dropped_answer_resets_its_stream_alone() {
    let mut server = Multiplexer::start(100).await;
    let origin = origin(server.address, Http2::PriorKnowledge, 100);
    let (leaving, staying) = (ask(&origin).await.unwrap(), ask(&origin).await.unwrap());
    let first = server.answers.recv().await.unwrap();
    let second = server.answers.recv().await.unwrap();

    drop(leaving);
    first.closed().await;

    second.send(Bytes::from_static(b"hi")).unwrap();
    drop(second);
    assert_eq!(text(staying).await, "hi");
    assert_eq!(server.connections(), 1);
}

#[test]
fn paths_follow_the_path_of_the_address() {
    for (base, expected) in [
        ("http://h/v1", "/v1/models"),
        ("http://h/v1/", "/v1/models"),
        ("http://h", "/models"),
        ("https://h:8443/a/b", "/a/b/models"),
    ] {
        let origin = Origin::new(&Url::parse(base).unwrap(), Http2::Auto, 1).unwrap();
        assert_eq!(origin.path("/models").unwrap(), expected);
    }
}
