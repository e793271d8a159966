//! What is small on the wire and large behind it: nothing is ever unpacked here, in either direction.

use serde_json::json;

use super::{Door, Plain, Refused::As, body};
use crate::support::{
    lighton::{FakeLightOn, found, result},
    reply::Reply,
    server::{Request, Server},
    upstream::{completion, says},
};

/// `bytes` as gzip, in one block that is stored as it is: whoever unpacks it gets what he asked for.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut packed = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(bytes);
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    });
    packed.extend((!sum).to_le_bytes());
    packed.extend(u32::from(length).to_le_bytes());
    packed
}

/// Whether an answer to `request` may come packed.
fn may_be_packed(request: &Request) -> bool {
    let takes = request.header("accept-encoding");
    takes.is_some_and(|codings| codings != "identity")
}

/// A JSON answer that comes packed although nobody said that it may.
fn packed(json: &serde_json::Value) -> Reply {
    let body = gzip(json.to_string().as_bytes());
    Reply::body("application/json", body).header("content-encoding", "gzip")
}

#[tokio::test]
async fn a_request_that_is_packed_is_refused() {
    let door = Door::silent().await;
    let refused = As(415, "unsupported_media_type", "");
    let packed = |codings: &str| Plain::chat(gzip(body("").as_bytes())).with(codings);
    let table = vec![
        packed("content-encoding: gzip\r\n").is("gzip", refused),
        packed("content-encoding: GZIP\r\n").is("in capitals", refused),
        packed("content-encoding: x-gzip\r\n").is("its older name", refused),
        packed("content-encoding: deflate\r\n").is("deflate", refused),
        packed("content-encoding: br\r\n").is("brotli", refused),
        packed("content-encoding: zstd\r\n").is("zstandard", refused),
        packed("content-encoding: gzip, gzip\r\n").is("twice", refused),
        packed("content-encoding: identity\r\ncontent-encoding: gzip\r\n")
            .is("in a second header", refused),
        packed("content-encoding: identity, gzip\r\n").is("in a list", refused),
        packed("").is("without a word", As(400, "invalid_json", "")),
        Plain::post("/v1/embeddings", "x")
            .with("content-encoding: gzip\r\n")
            .is("for embeddings", refused),
        Plain::post("/v1/completions", "x")
            .with("content-encoding: br\r\n")
            .is("for completions", refused),
        Plain::post("/v1/vector_stores/42/search", "x")
            .with("content-encoding: gzip\r\n")
            .is("for a search", refused),
    ];
    door.refuses(table).await;

    // In chunks, where hyper unpacks what it knows: nothing.
    let coded = "transfer-encoding: gzip, chunked\r\n";
    let request =
        Plain::chat(format!("{:x}\r\n{}\r\n0\r\n\r\n", body("").len(), body(""))).framed(coded);
    let door = Door::answering().await;
    assert_eq!(
        door.hear(&request.bytes()).await.status,
        200,
        "the chunks were plain"
    );
}

#[tokio::test]
async fn an_answer_that_is_packed_is_no_answer() {
    for stream in [false, true] {
        let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Five years.")]));
        let model = Server::new().always("/v1/chat/completions", packed(&completion("Five.")));
        let door = Door::start(lighton, model).await;

        let heard = door
            .hear(&Plain::chat(body(&format!("\"stream\":{stream}"))).bytes())
            .await;

        assert_eq!(heard.status, 502, "{}", heard.body);
        assert!(
            heard.body.contains("upstream_invalid_response"),
            "{}",
            heard.body
        );
        let sent = door.model.requests();
        assert!(sent.iter().all(|request| !may_be_packed(request)));
    }
}

#[tokio::test]
async fn passages_that_are_packed_are_none() {
    let lighton = FakeLightOn::new().always(
        "/api/v3/search",
        packed(&json!({"results": [result("Five years.")]})),
    );
    let model = Server::new().always("/v1/chat/completions", says("Five."));
    let door = Door::start(lighton, model).await;

    let heard = door.hear(&Plain::chat(body("")).bytes()).await;

    assert_eq!(heard.status, 502, "{}", heard.body);
    assert!(heard.body.contains("search_unavailable"), "{}", heard.body);
    assert_eq!(door.model.connections(), 0);
    let asked = door.lighton.requests();
    assert!(asked.iter().all(|request| !may_be_packed(request)));
}
