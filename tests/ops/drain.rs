//! What happens between SIGTERM and the end of the process.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Program, question,
    support::{
        reply::{Gate, sse_unfinished},
        server::Server,
        upstream::{chunk, finish, says},
    },
};

const STOPPING: &str = "stopping: ";

fn relaying(upstream: &Server, timeouts: &str) -> String {
    format!(
        "rag.mode = \"off\"\nallow_overrides = false\ntimeouts = {timeouts}\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    )
}

fn streamed() -> Value {
    let mut body = question("Who are you?");
    body["stream"] = json!(true);
    body
}

#[tokio::test]
async fn a_terminated_gateway_says_so_at_once_and_still_answers_for_a_moment() {
    let upstream = Server::new().always("/v1/chat/completions", says("x"));
    let text = relaying(&upstream, "{ drain_delay = \"1h\" }");
    let mut program = Program::serve(&text).await;
    assert_eq!(program.get("/readyz").await.status(), 200);

    program.terminate();
    program.says(STOPPING).await;
    let ready = program.get("/readyz").await;
    let answer = program.chat(&question("x")).await;

    assert_eq!(ready.status(), 503);
    assert_eq!(answer.status(), 200);
    for response in [&ready, &answer] {
        assert_eq!(response.headers()["connection"], "close");
    }
    assert_eq!(program.get("/healthz").await.status(), 200);
    program.terminate();
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test]
async fn after_the_delay_nobody_is_accepted_and_an_open_stream_finishes() {
    let gate = Gate::new();
    let reply = sse_unfinished([chunk("a")])
        .wait(&gate)
        .piece(format!("data: {}\n\ndata: [DONE]\n\n", finish("stop")));
    let upstream = Server::new().then(reply);
    let text = relaying(&upstream, "{ drain_delay = \"0s\", shutdown = \"1h\" }");
    let mut program = Program::serve(&text).await;
    let mut stream = program.chat(&streamed()).await;
    stream.chunk().await.unwrap();

    program.terminate();
    program.says("no longer accepting").await;
    let refused = TcpStream::connect(program.authority());
    gate.open();
    let rest = stream.text().await.unwrap();

    assert!(refused.is_err());
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test]
async fn a_stream_that_does_not_finish_in_time_ends_in_an_error_that_says_why() {
    let upstream = Server::new().then(sse_unfinished([chunk("a")]).hang());
    let text = relaying(&upstream, "{ drain_delay = \"0s\", shutdown = \"300ms\" }");
    let mut program = Program::serve(&text).await;
    let mut stream = program.chat(&streamed()).await;
    stream.chunk().await.unwrap();

    program.terminate();
    let rest = stream.text().await.unwrap();

    assert!(!rest.contains("[DONE]"), "{rest}");
    let last = rest.trim_end().strip_prefix("data: ").unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["code"], "shutting_down");
    assert_eq!(last["choices"][0]["finish_reason"], "error");
    upstream.closed().await;
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test]
async fn a_whole_answer_that_does_not_come_in_time_is_refused_as_shutting_down() {
    let gate = Gate::new();
    let upstream = Server::new().then(says("x").head_after(&gate));
    let text = relaying(&upstream, "{ drain_delay = \"0s\", shutdown = \"300ms\" }");
    let mut program = Program::serve(&text).await;

    let body = question("x");
    let asking = program.chat(&body);
    let terminating = async {
        upstream.received(1).await;
        program.terminate();
    };
    let (answer, ()) = tokio::join!(asking, terminating);

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "shutting_down");
    upstream.closed().await;
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test]
async fn a_connection_that_is_idle_does_not_hold_the_process() {
    let upstream = Server::new();
    let text = relaying(&upstream, "{ drain_delay = \"0s\", shutdown = \"1h\" }");
    let mut program = Program::serve(&text).await;
    let mut idle = TcpStream::connect(program.authority()).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).unwrap();
    // One that never sent a byte, one that stopped in the middle of a head, and one before it was clear that it speaks HTTP/2.
    let fresh = TcpStream::connect(program.authority()).unwrap();
    let mut slow = TcpStream::connect(program.authority()).unwrap();
    slow.write_all(b"GET /healthz HT").unwrap();
    let mut unclear = TcpStream::connect(program.authority()).unwrap();
    unclear.write_all(b"PRI * HT").unwrap();
    // All of them are served: they were accepted before this one.
    assert_eq!(program.get("/healthz").await.status(), 200);

    program.terminate();
    let ended = tokio::time::timeout(Duration::from_secs(10), program.end()).await;

    assert_eq!(ended.expect("something held it").0, Some(0));
    drop((idle, fresh, slow, unclear));
}

#[tokio::test]
async fn a_second_signal_ends_an_open_stream_at_once() {
    let upstream = Server::new().then(sse_unfinished([chunk("a")]).hang());
    let text = relaying(&upstream, "{ drain_delay = \"0s\", shutdown = \"1h\" }");
    let mut program = Program::serve(&text).await;
    let mut stream = program.chat(&streamed()).await;
    stream.chunk().await.unwrap();

    program.terminate();
    program.says("no longer accepting").await;
    program.terminate();

    let patience = Duration::from_secs(5);
    let ended = tokio::time::timeout(patience, program.end()).await;
    assert_eq!(ended.expect("it waited for the stream").0, Some(0));
    upstream.closed().await;
}
