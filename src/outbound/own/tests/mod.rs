mod hyper_alike;
mod tls;

use std::{fmt::Write as _, net::Shutdown};

use futures_util::{FutureExt, StreamExt};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use proptest::{prelude::*, sample};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::either::Either;

use super::*;
use crate::{
    config::Http2,
    outbound::{
        Origin,
        tests::{ask, hear, listen, origin, say, text},
    },
};

/// Asks for an answer that is `said` in one piece before the neighbour hangs up.
async fn answer_to(said: &str) -> Result<Response<Body>, Error> {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(&mut socket, said).await;
    };
    let (answer, ()) = tokio::join!(ask(&origin), serving);
    answer
}

/// Whether a connection is used again after it has said `said`, and what came as the body.
async fn rests_after(said: &str) -> (String, bool) {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        say(&mut socket, said).await;
        socket
    };
    let (answer, _socket) = tokio::join!(ask(&origin), serving);
    let body = text(answer.unwrap()).await;
    (body, origin.shard().idle.count() == 1)
}

#[tokio::test]
async fn a_connection_rests_only_where_both_sides_agree_on_the_answers_end() {
    for (said, is_kept) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n01 ;a=\"b\"\r\nh\r\n1\r\ni\r\n0\r\nx: y\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x, Close\r\n\r\nhi",
            false,
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", false),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi",
            true,
        ),
        // Which of the two lengths somebody on the way went by is not known.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
        ),
        // Somebody on the way may have taken only one of them off.
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
        ),
        // What cannot be read may say that it closes.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, \u{e9}\r\n\r\nhi",
            false,
        ),
        // What nobody asked for would be taken for the next answer.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nx",
            false,
        ),
        // Provisional answers are passed over.
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            true,
        ),
    ] {
        assert_eq!(
            rests_after(said).await,
            ("hi".to_owned(), is_kept),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_connection_rests_when_its_answers_end_came_with_the_last_data() {
    for said in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let (address, listener) = listen().await;
        let origin = origin(address, Http2::Auto, 1);
        let (answer, _socket) = tokio::join!(ask(&origin), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            hear(&mut socket).await;
            say(&mut socket, said).await;
            socket
        });
        let mut body = answer.unwrap().into_body();

        assert_eq!(body.next().await.unwrap().unwrap(), "hi");

        assert_eq!(origin.shard().idle.count(), 1, "{said}");
        assert!(http_body::Body::is_end_stream(&body));
        assert!(body.next().await.is_none());
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for status in ["204 No Content", "304 Not Modified"] {
        let said = format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\n");
        assert_eq!(rests_after(&said).await, (String::new(), true));
    }
}

#[tokio::test]
async fn what_cannot_be_an_answer_says_why() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(head::LARGEST));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    for (said, expected) in [
        ("", "the neighbour hung up before it answered"),
        ("HTTP/1.1 200 OK\r\n", "in the middle of its answer"),
        (
            "HTTP/1.1 200 OK\nx y\n\n",
            "head cannot be read: invalid header name",
        ),
        (
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "head cannot be read: invalid response status",
        ),
        (
            "HTTP/2.0 200 OK\r\n\r\n",
            "head cannot be read: invalid HTTP version",
        ),
        (
            "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
            "head cannot be read",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "another protocol",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi",
            "`Content-Length`",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2,3\r\n\r\nhi",
            "`Content-Length`",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
            "`Content-Length`",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n",
            "`Content-Length`",
        ),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "`Transfer-Encoding`",
        ),
        (&long, "larger than 64 KiB"),
        (&format!("{long}\r\n\r\n"), "larger than 64 KiB"),
        (&many, "head cannot be read: too many headers"),
    ] {
        let error = answer_to(said).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(expected), "{said:.40}: {cause}");
    }
}

#[tokio::test]
async fn chunks_that_cannot_be_read_end_the_answer_after_what_could() {
    let extension = format!("2;{}\r\nhi\r\n", "x".repeat(usize::from(u16::MAX)));
    let trailer = format!("0\r\n{}\r\n", "x: y\r\n".repeat(9999));
    for (chunks, expected) in [
        ("2\r\nho\r\n", "in the middle"),
        ("2\r\nho\r\n3\r\nhi", "in the middle"),
        ("2\r\nho\r\n0\r\n", "in the middle"),
        ("2\r\nho\r\n\r\n", "chunks cannot be read"),
        ("2\r\nho\r\n-1\r\n", "chunks cannot be read"),
        ("2\r\nho\r\n1x\r\n", "chunks cannot be read"),
        ("2\r\nho\r\n2\nhi\r\n", "chunks cannot be read"),
        ("2\r\nho\r\n2;x\nhi\r\n", "chunks cannot be read"),
        ("2\r\nhohi\r\n", "chunks cannot be read"),
        ("2\r\nho\r\n0\r\nx: y\n\r\n", "chunks cannot be read"),
        ("2\r\nho\r\n11111111111111111\r\n", "chunks cannot be read"),
        (&format!("2\r\nho\r\n{extension}"), "too much"),
        (&format!("2\r\nho\r\n{trailer}"), "too much"),
    ] {
        let said = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let mut body = answer_to(&said).await.unwrap().into_body();
        let (mut whole, mut ended) = (Vec::new(), None);
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => whole.extend_from_slice(&piece),
                Err(error) => ended = Some(error),
            }
        }
        let cause = std::error::Error::source(&ended.unwrap())
            .unwrap()
            .to_string();
        assert!(cause.contains(expected), "{chunks:.40}: {cause}");
        assert!(whole.starts_with(b"ho"), "{chunks:.40}");
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        hear(&mut socket).await;
        socket.set_nodelay(true).unwrap();
        for byte in "HTTP/1.1 200 OK\r\nx-empty:\r\nX-Full:  a b\t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".bytes() {
            socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        socket
    };
    let (answer, _socket) = tokio::join!(ask(&origin), serving);
    let answer = answer.unwrap();
    assert_eq!(answer.headers()["x-empty"], "");
    assert_eq!(answer.headers()["x-full"], "a b");
    assert_eq!(text(answer).await, "hi");
}

#[tokio::test]
async fn what_comes_behind_an_answer_unasked_ends_its_connection() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    for _ in 0..2 {
        let (answer, mut socket) = tokio::join!(ask(&origin), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            hear(&mut socket).await;
            say(
                &mut socket,
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            )
            .await;
            socket
        });
        assert_eq!(text(answer.unwrap()).await, "hi");
        assert_eq!(origin.shard().idle.count(), 1);

        // The next request gets another connection, and not this for an answer.
        say(
            &mut socket,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        )
        .await;
        while origin.shard().idle.count() > 0 {
            tokio::task::yield_now().await;
            origin.sweep();
        }
    }
}

#[tokio::test]
async fn dead_connections_are_known_however_many_a_task_looks_at() {
    // More than tokio lets a task do in one turn.
    const MANY: usize = 300;
    let (address, listener) = listen().await;
    let idle = Arc::new(Idle::default());
    for _ in 0..MANY {
        let (socket, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        let socket = socket.unwrap();
        drop(other);
        // The system has told of it.
        socket.readable().await.unwrap();
        idle.put(Either::Left(socket));
    }

    assert!(idle.take().is_none());
}

#[tokio::test]
async fn an_answer_to_a_question_for_its_head_has_no_body() {
    let (address, listener) = listen().await;
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    let idle = Arc::new(Idle::default());
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::HEAD;
    let host = HeaderValue::from_static("h");

    let connection = Connection::new(Either::Left(socket), &idle);
    say(&mut other, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n").await;
    let answer = connection.exchange(request, &host).await.ok().unwrap();

    assert_eq!(text(answer).await, "");
    assert_eq!(idle.count(), 1);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_looked_at_when_it_may_have_ended() {
    let mut hearing = Hearing::default();
    let mut hear = |said: &'static [u8]| hearing.hear(Bytes::from_static(said));
    assert!(hear(b"H"), "what is no HTTP is refused at once");
    for byte in b"TTP/1.1 200 OK\r\nx: y\r\n\r".chunks(1) {
        assert!(!hear(byte));
    }
    assert!(hear(b"\n"));
}

/// More than any socket holds.
const LARGE: usize = 32 << 20;

async fn send_large(origin: &Origin) -> Result<Response<Body>, Error> {
    let mut request = Request::new(Bytes::from(vec![b'x'; LARGE]));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = origin.path("/files").unwrap();
    origin.send(request, crate::outbound::REST).await
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_was_heard() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        say(
            &mut socket,
            "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nhi",
        )
        .await;
        socket
    };
    let (answer, mut socket) = tokio::join!(send_large(&origin), serving);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(answer).await, "hi");

    // The rest of the request is not sent, and so nothing can follow it.
    assert_eq!(origin.shard().idle.count(), 0);
    let mut heard = Vec::new();
    // That it ends is what counts, and not how.
    let _ = socket.read_to_end(&mut heard).await;
    assert!(heard.len() < LARGE);
}

#[tokio::test]
async fn a_neighbour_may_hear_the_request_while_it_answers() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        say(
            &mut socket,
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhi",
        )
        .await;
        let mut heard = vec![0; LARGE];
        socket.read_exact(&mut heard).await.unwrap();
        say(&mut socket, "ho").await;
        socket
    };
    let asking = async { text(send_large(&origin).await.unwrap()).await };
    let (answer, _socket) = tokio::join!(asking, serving);
    assert_eq!(answer, "hiho");
}

#[tokio::test]
async fn a_request_of_which_nothing_was_sent_comes_back() {
    let (address, listener) = listen().await;
    let socket = TcpStream::connect(address).await.unwrap();
    let (_other, _) = listener.accept().await.unwrap();
    let socket = socket.into_std().unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let io = Either::Left(TcpStream::from_std(socket).unwrap());

    let connection = Connection::new(io, &Arc::default());
    let request = Request::new(Bytes::from_static(b"{}"));
    let host = HeaderValue::from_static("h");
    let unsent = connection.exchange(request, &host).await.err().unwrap();

    assert_eq!(unsent.request.unwrap().body(), "{}");
    let cause = std::error::Error::source(&unsent.error)
        .unwrap()
        .to_string();
    assert!(cause.contains("Broken pipe"), "{cause}");
}

#[tokio::test]
async fn streams_that_wait_hold_nothing_of_what_is_read_into() {
    let (address, listener) = listen().await;
    let origin = origin(address, Http2::Auto, 1);
    let mut waiting = Vec::new();
    let block = |room| {
        let mut io = &b"x"[..];
        let mut nobody = Context::from_waker(Waker::noop());
        match poll_read(&mut io, room, &mut nobody) {
            Poll::Ready(Ok(said)) => said.as_ptr().addr(),
            polled => panic!("{polled:?}"),
        }
    };
    let blocks = || [Room::Little, Room::Much].map(block);
    let before = blocks();
    for _ in 0..50 {
        let (answer, socket) = tokio::join!(ask(&origin), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            hear(&mut socket).await;
            say(
                &mut socket,
                "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
            )
            .await;
            socket
        });
        let (mut answer, mut socket) = (answer.unwrap(), socket);
        assert_eq!(answer.body_mut().next().await.unwrap().unwrap(), "hi");
        assert!(answer.body_mut().next().now_or_never().is_none());
        say(&mut socket, "2\r\nho\r\n").await;
        assert_eq!(answer.body_mut().next().await.unwrap().unwrap(), "ho");
        assert!(answer.body_mut().next().now_or_never().is_none());
        waiting.push((answer, socket));
    }
    assert_eq!(blocks(), before, "a block is held");
}

#[test]
fn events_that_come_one_by_one_are_read_into_little() {
    let little = Room::Little.bytes();
    for (framing, read, room) in [
        (Framing::chunked(), 300, Room::Little),
        (Framing::UntilClose, 300, Room::Little),
        (Framing::chunked(), little, Room::Much),
        (Framing::Length(7000), 300, Room::Much),
    ] {
        assert_eq!(framing.room(read), room, "{framing:?}");
    }
    assert!(
        little <= 1 << 10,
        "a queue of such events holds as much for each"
    );
}

#[test]
fn a_head_says_the_length_where_there_is_a_body_or_could_be() {
    let host = HeaderValue::from_static("h:8");
    let written = |method: Method, body: &'static str| {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = "/v1/x?y=z".parse().unwrap();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        // Nobody else says how it is framed.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("77"));
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
        String::from_utf8(head::write(&request, &host).to_vec()).unwrap()
    };
    assert_eq!(
        written(Method::POST, "{}"),
        "POST /v1/x?y=z HTTP/1.1\r\nhost: h:8\r\naccept: */*\r\ncontent-length: 2\r\n\r\n"
    );
    assert_eq!(
        written(Method::POST, ""),
        "POST /v1/x?y=z HTTP/1.1\r\nhost: h:8\r\naccept: */*\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(
        written(Method::GET, ""),
        "GET /v1/x?y=z HTTP/1.1\r\nhost: h:8\r\naccept: */*\r\n\r\n"
    );
}

#[test]
fn chunks_hold_the_same_however_they_are_cut() {
    let chunks = proptest::collection::vec("[ -~]{1,40}", 0..8);
    let cuts = proptest::collection::vec(1..20_usize, 1..40);
    proptest!(|(chunks in chunks, cuts in cuts)| {
        let mut said = String::new();
        for chunk in &chunks {
            let _ = write!(said, "{:x};n\r\n{chunk}\r\n", chunk.len());
        }
        said.push_str("0\r\nlast: one\r\n\r\nand more");
        let (mut framing, mut data) = (Framing::chunked(), Vec::new());
        let (mut rest, mut left) = (Bytes::from(said), Bytes::new());
        for cut in cuts.iter().cycle() {
            prop_assert!(!framing.is_over());
            let mut piece = rest.split_to(rest.len().min(*cut));
            while let Some(cut) = framing.cut(&mut piece).unwrap() {
                data.extend_from_slice(&cut);
            }
            if framing.is_over() {
                left = piece;
                break;
            }
            prop_assert!(piece.is_empty());
        }
        prop_assert_eq!(data, chunks.concat().into_bytes());
        let rest = [&left[..], &rest[..]].concat();
        prop_assert_eq!(rest, b"and more");
    });
}
