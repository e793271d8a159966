//! Clients that send their body slowly, not at all, or although nobody wants it.

#![expect(
    clippy::expect_used,
    reason = "test code: a failure here is the test's failure"
)]

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    Program,
    support::{lighton::FakeLightOn, server::nobody},
};

/// How long a test waits for an answer that must come; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that searches `search` and asks nobody; `settings` is more of the file.
async fn gateway(search: &str, settings: &str) -> Program {
    let text = format!(
        "{settings}\n[search]\nbase_url = \"{search}\"\napi_key = \"md-secret-k\"\n[upstreams.model]\nbase_url = \"http://{}/v1\"\napi_key = \"md-secret-k\"\n",
        nobody()
    );
    Program::serve(&text).await
}

async fn quiet(settings: &str) -> Program {
    gateway(&format!("http://{}", nobody()), settings).await
}

async fn connect(program: &Program) -> TcpStream {
    TcpStream::connect(program.authority()).await.unwrap()
}

/// The head of a chat request, as far as its body's length.
fn head(length: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    )
}

/// Reads an answer to the end of the connection: its head, and its error.
async fn refusal(socket: &mut TcpStream) -> (String, Value) {
    let mut answer = Vec::new();
    let reading = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    reading.expect("the connection stays open").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("no answer came");
    let body: Value = serde_json::from_str(body).unwrap();
    (head.to_owned(), body["error"].clone())
}

async fn told_to_be_quicker(socket: &mut TcpStream) {
    let (head, error) = refusal(socket).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(error["code"], "request_timeout");
    assert!(error["message"].as_str().unwrap().contains("timeouts.body"));
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_told_so_and_cut() {
    let program = quiet("timeouts.body = \"100ms\"").await;
    for length in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut socket = connect(&program).await;
        socket.write_all(head(length).as_bytes()).await.unwrap();
        socket.write_all(b"5\r\n{\"mod").await.unwrap();

        told_to_be_quicker(&mut socket).await;
    }
}

#[tokio::test]
async fn a_byte_now_and_then_is_not_enough() {
    let program = quiet("timeouts.body = \"300ms\"").await;
    let mut socket = connect(&program).await;
    let begin = head("content-length: 1000000");
    socket.write_all(begin.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();

    // Each of these silences is far shorter than the longest that is allowed.
    let drip = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = [0; 13];
    tokio::select! {
        read = timeout(PATIENCE, reading.read_exact(&mut answer)) => read.unwrap().unwrap(),
        () = drip => panic!("it was cut without a word"),
    };

    assert_eq!(&answer, b"HTTP/1.1 408 ");
}

#[tokio::test]
async fn an_upload_that_stops_is_cut_and_not_stored() {
    let lighton = FakeLightOn::new();
    let program = gateway(&lighton.url(), "timeouts.body = \"300ms\"").await;
    let mut socket = connect(&program).await;
    let form = "--b\r\ncontent-disposition: form-data; name=\"workspace_id\"\r\n\r\n42\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.md\"\r\n\r\nhalf of it";
    let head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 5000\r\n\r\n";

    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(form.as_bytes()).await.unwrap();

    told_to_be_quicker(&mut socket).await;
    lighton.all_closed().await;
    assert_eq!(lighton.requests().len(), 0, "half of a file was stored");
}

/// Sends all of a body of `size` bytes that is refused, before it reads a byte.
async fn send_all(socket: &mut TcpStream, size: usize) {
    let piece = vec![b' '; 1 << 20];
    for _ in 0..size >> 20 {
        let sent = timeout(PATIENCE, socket.write_all(&piece)).await;
        sent.expect("it stopped reading").expect("it was reset");
    }
}

#[tokio::test]
async fn a_client_that_still_sends_what_was_refused_reads_the_refusal() {
    const SIZE: usize = 30 << 20;
    let program = quiet("limits.request_body = \"1KB\"\nlimits.file = \"1KB\"").await;
    let announced = head(&format!("content-length: {SIZE}"));
    let chunked = head("transfer-encoding: chunked") + &format!("{SIZE:x}\r\n");
    let upload = announced.replace("chat/completions", "files");
    let upload = upload.replace("application/json", "multipart/form-data; boundary=b");
    let unknown = announced.replace("chat", "chats");
    for (begin, status, code) in [
        (announced, 413, "request_too_large"),
        (chunked, 413, "request_too_large"),
        (upload, 413, "request_too_large"),
        (unknown, 404, "not_found"),
    ] {
        let mut socket = connect(&program).await;
        socket.write_all(begin.as_bytes()).await.unwrap();
        send_all(&mut socket, SIZE).await;

        let (head, error) = refusal(&mut socket).await;

        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(error["code"], code, "{head}");
    }
}

#[tokio::test]
async fn one_too_many_is_refused_before_its_key_is_looked_at_and_its_body_read() {
    // The key is "test".
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let settings = format!(
        "limits.concurrent_requests = 1\ntimeouts.body = \"1h\"\n[[keys]]\nname = \"k\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n"
    );
    let mut program = quiet(&settings).await;
    let mut holder = connect(&program).await;
    let held = head("authorization: Bearer test\r\ncontent-length: 1000");
    holder.write_all(held.as_bytes()).await.unwrap();
    let is_held = async {
        let in_flight = async || program.get("/metrics").await.text().await.unwrap();
        while !in_flight()
            .await
            .contains("groundwire_requests_in_flight 1\n")
        {}
    };
    timeout(PATIENCE, is_held).await.unwrap();

    let mut second = connect(&program).await;
    let without_key_and_body = head("content-length: 1000");
    second
        .write_all(without_key_and_body.as_bytes())
        .await
        .unwrap();
    let (head, error) = refusal(&mut second).await;

    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert_eq!(error["code"], "overloaded");
    program.says("status=503").await;
}
