//! The same over HTTP/2, frame by frame: what HTTP/1 could smuggle has no place there, and what is left is refused.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Door, body};

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// It was reset, or the connection given up.
    Broken,
    /// It was answered with this status.
    Answered(u16),
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Headers without compression: each as a literal that nobody remembers.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let text = |block: &mut Vec<u8>, text: &str| {
        assert!(text.len() < 127, "the length is one byte");
        block.push(u8::try_from(text.len()).unwrap());
        block.extend(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// Sends one request on a connection of its own.
async fn ask(door: &Door, fields: &[(&str, &str)], body: &str) -> Became {
    let mut socket = TcpStream::connect(door.program.authority()).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4, 1, &headers(fields)));
    bytes.extend(frame(0, 1, 1, body.as_bytes()));
    let _ = socket.write_all(&bytes).await;
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).await.is_err() {
            return Became::Broken;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if socket.read_exact(&mut payload).await.is_err() {
            return Became::Broken;
        }
        match head[3] {
            1 => return Became::Answered(status(&payload)),
            3 | 7 => return Became::Broken,
            4 if head[4] & 1 == 0 => {
                let _ = socket.write_all(&frame(4, 1, 0, &[])).await;
            }
            _ => {}
        }
    }
}

/// The `:status` at the head of a block: one of the static table, or a literal behind its name.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // 8 is the index of `:status`, and its value is packed.
        [0x48, length, packed @ ..] => digits(&packed[..usize::from(length & 0x7f)]),
        _ => panic!("no status: {block:x?}"),
    }
}

/// Three digits in HPACK's code (RFC 7541, appendix B): `0`, `1` and `2` have five bits, the others six.
fn digits(packed: &[u8]) -> u16 {
    let all = packed
        .iter()
        .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut bits = all << (32 - 8 * packed.len());
    let mut number = 0;
    for _ in 0..3 {
        let (digit, width) = match bits >> 27 {
            digit @ 0..3 => (digit, 5),
            _ => ((bits >> 26) - 0b01_0110, 6),
        };
        bits <<= width;
        number = number * 10 + u16::try_from(digit).unwrap();
    }
    number
}

#[tokio::test]
async fn what_http1_could_smuggle_has_no_place_in_http2() {
    let door = Door::silent().await;
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/chat/completions"),
        (":authority", "gateway.example"),
        ("authorization", "Bearer acme"),
        ("content-type", "application/json"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&usual[..], more].concat();
    let without = |name: &str| -> Vec<(&str, &str)> {
        usual
            .iter()
            .copied()
            .filter(|(key, _)| *key != name)
            .collect()
    };
    let instead = |name: &'static str, value: &'static str| -> Vec<(&str, &str)> {
        let with = |(key, old)| (key, if key == name { value } else { old });
        usual.iter().copied().map(with).collect()
    };
    for (what, fields) in [
        (
            "a coding of transfer",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("a connection's header", with(&[("connection", "close")])),
        ("an upgrade", with(&[("upgrade", "h2c")])),
        (
            "a line's end in a value",
            with(&[("x-a", "b\r\nx-rag-mode: off")]),
        ),
        ("NUL in a value", with(&[("x-a", "b\0c")])),
        ("a line's end in a name", with(&[("x-a\r\nx-b", "c")])),
        ("a capital in a name", with(&[("X-A", "b")])),
        ("a colon in a name", with(&[("x:a", "b")])),
        ("a blank in a name", with(&[("x a", "b")])),
        (
            "a length that is not true",
            with(&[("content-length", "1")]),
        ),
        (
            "two lengths",
            with(&[("content-length", "1"), ("content-length", "2")]),
        ),
        ("two paths", with(&[(":path", "/v1/models")])),
        ("a method behind headers", with(&[(":method", "GET")])),
        ("a name of HTTP/2's that is none", with(&[(":evil", "1")])),
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("an empty path", instead(":path", "")),
        (
            "a path with a blank",
            instead(":path", "/v1/chat/completions HTTP/1.1"),
        ),
        (
            "a method with a line's end",
            instead(":method", "POST\r\nx: y"),
        ),
    ] {
        assert_eq!(
            ask(&door, &fields, &body("")).await,
            Became::Broken,
            "{what}"
        );
    }
    for (what, fields, refused) in [
        ("another host", with(&[("host", "evil.example")]), 400),
        (
            "two hosts",
            with(&[("host", "gateway.example"), ("host", "evil.example")]),
            400,
        ),
        ("two keys", with(&[("authorization", "Bearer other")]), 401),
        ("no key", without("authorization"), 401),
        (
            "a path that leads up",
            instead(":path", "/v1/../v1/chat/completions"),
            404,
        ),
        ("a path of no UTF-8", instead(":path", "/v1/files/%ff"), 404),
        ("another method", instead(":method", "TRACE"), 405),
        (
            "a scope twice",
            with(&[("x-rag-workspace-id", "42"), ("x-rag-workspace-id", "7")]),
            400,
        ),
        ("a scope outside", with(&[("x-rag-workspace-id", "7")]), 403),
        ("packed", with(&[("content-encoding", "gzip")]), 415),
    ] {
        assert_eq!(
            ask(&door, &fields, &body("")).await,
            Became::Answered(refused),
            "{what}"
        );
    }
    assert_eq!(
        (door.lighton.connections(), door.model.connections()),
        (0, 0)
    );

    // The same without a forgery, so that the frames above are known to be right.
    let door = Door::answering().await;
    assert_eq!(ask(&door, &usual, &body("")).await, Became::Answered(200));
}
