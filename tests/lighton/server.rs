//! The scripted server itself: the other tests lean on it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::json;

use crate::support::{
    reply::{Gate, Reply, sse, sse_unfinished},
    server::{Server, nobody},
};

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

#[tokio::test]
async fn a_script_is_played_in_order_on_one_connection() {
    let server = Server::new()
        .then(Reply::json(json!({"n": 1})))
        .then(Reply::status(204));
    let client = client();

    let first = client
        .post(format!("{}/a?b=c", server.url()))
        .body("hello")
        .send()
        .await
        .unwrap();
    let first = first.json::<serde_json::Value>().await.unwrap();
    let second = client.get(server.url()).send().await.unwrap();

    assert_eq!(first, json!({"n": 1}));
    assert_eq!(second.status(), 204);
    let requests = server.received(2).await;
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("POST", "/a")
    );
    assert_eq!(
        (requests[0].query.as_str(), requests[0].body.as_slice()),
        ("b=c", b"hello".as_slice())
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_named_route_is_answered_before_the_next_line() {
    let server = Server::new()
        .always("GET /v1/models", Reply::body("text/plain", "models"))
        .then(Reply::body("text/plain", "next"))
        .on("POST /late", Reply::body("text/plain", "late"));
    let client = client();
    let get = async |path: &str| {
        let answer = client
            .get(format!("{}{path}", server.url()))
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    };

    let late = client
        .post(format!("{}/late", server.url()))
        .send()
        .await
        .unwrap();

    assert_eq!(late.text().await.unwrap(), "late");
    assert_eq!(get("/v1/models").await, "models");
    assert_eq!(get("/v1/models").await, "models");
    assert_eq!(get("/anything").await, "next");
}

#[tokio::test]
async fn a_gate_holds_the_second_piece_until_the_first_was_read() {
    let gate = Gate::new();
    let stream = Reply::stream("text/event-stream")
        .piece("data: 1\n\n")
        .wait(&gate)
        .piece("data: 2\n\n");
    let server = Server::new().then(stream);

    let mut answer = client().get(server.url()).send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    gate.open();
    let second = answer.chunk().await.unwrap().unwrap();

    assert_eq!(
        (&first[..], &second[..]),
        (&b"data: 1\n\n"[..], &b"data: 2\n\n"[..])
    );
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn an_event_stream_ends_with_done_unless_it_is_left_unfinished() {
    let server = Server::new().then(sse(["{}"])).then(sse_unfinished(["{}"]));
    let client = client();

    let done = client.get(server.url()).send().await.unwrap();
    let unfinished = client.get(server.url()).send().await.unwrap();

    assert_eq!(done.text().await.unwrap(), "data: {}\n\ndata: [DONE]\n\n");
    assert_eq!(unfinished.text().await.unwrap(), "data: {}\n\n");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_in_mid_answer_and_before_the_head() {
    for reply in [
        sse_unfinished(["{}"]).hang(),
        Reply::silence(),
        Reply::status(200).head_after(&Gate::new()),
    ] {
        let server = Server::new().then(reply);
        let request = client().get(server.url()).send();
        let leaving = async {
            server.received(1).await;
        };
        tokio::select! {
            _ = async { let _answer = request.await; std::future::pending::<()>().await } => {}
            () = leaving => {}
        }

        server.closed().await;
        server.all_closed().await;
    }
}

#[tokio::test]
async fn broken_answers_break_the_client_and_nothing_else() {
    let broken = [
        Reply::garbage("not http at all\r\n\r\n"),
        Reply::closed(),
        Reply::refused(),
        Reply::json(json!({})).header("content-length", 100).cut(),
        Reply::stream("text/plain").half_chunk("half").cut(),
        Reply::stream("text/plain").piece("one").reset(),
    ];
    for reply in broken {
        let server = Server::new().then(reply.clone());
        let answer = match client().get(server.url()).send().await {
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        assert!(answer.is_err(), "{reply:?} gave {answer:?}");
        server.all_closed().await;
    }
}

#[tokio::test]
async fn a_chunked_request_is_counted_while_it_comes_and_recorded_whole() {
    let server = Server::new().then(Reply::status(200));
    let address = server.address();
    let mut socket = TcpStream::connect(address).unwrap();

    socket
        .write_all(b"PUT /up HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .unwrap();
    assert_eq!(server.body_bytes(3).await, 3);
    socket.write_all(b"2\r\nde\r\n0\r\n\r\n").unwrap();

    assert_eq!(server.received(1).await[0].body, b"abcde");
    let mut answer = [0; 15];
    tokio::task::spawn_blocking(move || socket.read_exact(&mut answer).map(|()| answer))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_script_that_was_not_played_fails_the_test() {
    let server = Server::new().then(Reply::status(200));
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(server)));
    assert!(dropped.is_err());

    let server = Server::new();
    let answer = client().get(server.url()).send().await.unwrap();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(server)));
    assert_eq!(answer.status(), 418);
    assert!(dropped.is_err());
}

#[tokio::test]
async fn nobody_listens_where_nobody_is() {
    let answer = client().get(format!("http://{}", nobody())).send().await;
    assert!(answer.unwrap_err().is_connect());
}
