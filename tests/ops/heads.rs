//! Heads of requests: bounded in size and number, whatever they hold.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Program;

const OFF: &str = "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n";

/// The first line of the answer to a request with these headers.
async fn answered(program: &Program, headers: &str) -> String {
    let mut socket = TcpStream::connect(program.authority()).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    // The gateway may have answered and hung up before all of it was read.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_head_is_bounded_in_size_and_number() {
    let program = Program::serve(OFF).await;
    let long = |length: usize| format!("x-long: {}\r\n", "a".repeat(length));
    let many = |count: usize| "x-many: a\r\n".repeat(count);

    assert!(answered(&program, &long(30_000)).await.contains(" 200 "));
    assert!(answered(&program, &many(90)).await.contains(" 200 "));
    for refused in [long(200_000), many(1_000)] {
        let first = answered(&program, &refused).await;
        assert!(!first.contains(" 200 "), "{first}");
    }
    assert_eq!(program.get("/healthz").await.status(), 200);
}
