//! How bytes leave the program.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    Program, question,
    support::{server::Server, upstream::says},
};

/// Two writes would make the second wait for the acknowledgement of the first, 40 ms of most systems, wherever `TCP_NODELAY` is not set or
/// does not help. What was written at once is read at once, so a good program never fails here.
#[tokio::test]
async fn head_and_body_of_a_small_answer_leave_in_one_write() {
    let upstream = Server::new().always("/v1/chat/completions", says("Five years."));
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    );
    let program = Program::serve(&text).await;
    let address = program.authority().to_owned();
    let body = question("How long?").to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );

    // The upstream of the test needs the runtime while this waits.
    let reading = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut reads = Vec::new();
        for _ in 0..50 {
            socket.write_all(request.as_bytes()).unwrap();
            let count = socket.read(&mut buffer).unwrap();
            reads.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
        reads
    });

    for read in reading.await.unwrap() {
        let (head, body) = read.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let told = format!("content-length: {}", body.len());
        assert!(head.contains(&told), "the body came later: {read}");
        assert!(body.contains("Five years."), "{body}");
    }
}
