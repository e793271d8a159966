//! Heads: what two servers in a row could take in two ways.

use super::{Door, Plain, Refused::As, Refused::Bare, body};

/// The chat request in one chunk.
fn chunked() -> String {
    let body = body("");
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn ask() -> Plain {
    Plain::chat(body(""))
}

fn in_chunks(chunks: impl Into<Vec<u8>>) -> Plain {
    Plain::chat(chunks).framed("transfer-encoding: chunked\r\n")
}

#[tokio::test]
async fn a_body_whose_length_is_told_in_two_ways_is_refused() {
    let door = Door::silent().await;
    let long = ask().body.len();
    let framed = |framing: &str| ask().framed(framing);
    let half = |framing: &str| Plain::chat(chunked()).framed(framing);
    let table = vec![
        framed(&format!("content-length: {long}\r\ncontent-length: 5\r\n"))
            .is("two lengths", Bare(400)),
        framed(&format!("content-length: {long}, {long}\r\n")).is("a list of lengths", Bare(400)),
        framed(&format!("content-length: +{long}\r\n")).is("a length with a sign", Bare(400)),
        framed("content-length: -1\r\n").is("a negative length", Bare(400)),
        framed("content-length: 0x20\r\n").is("a length in hexadecimal", Bare(400)),
        framed("content-length: 99999999999999999999999\r\n")
            .is("a length beyond 64 bits", Bare(400)),
        framed(&format!("content-length : {long}\r\n")).is("a blank before the colon", Bare(400)),
        half("transfer-encoding : chunked\r\n")
            .is("a blank before the colon of the coding", Bare(400)),
        half("transfer-encoding: xchunked\r\n").is("an unknown coding", Bare(400)),
        half("transfer-encoding: chunked, identity\r\n")
            .is("a coding around the chunks", Bare(400)),
        half("transfer-encoding:\u{b}chunked\r\n").is("a vertical tab", Bare(400)),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn chunks_that_do_not_add_up_are_refused() {
    let door = Door::silent().await;
    let (body, refused) = (body(""), As(400, "invalid_json", ""));
    let long = body.len();
    let table = vec![
        in_chunks(format!("-1\r\n{body}\r\n0\r\n\r\n")).is("a negative size", refused),
        in_chunks(format!("0x{long:x}\r\n{body}\r\n0\r\n\r\n")).is("a size with a prefix", refused),
        in_chunks(format!("ffffffffffffffffff\r\n{body}\r\n0\r\n\r\n"))
            .is("a size beyond 64 bits", refused),
        in_chunks(format!("{long:x}\n{body}\r\n0\r\n\r\n"))
            .is("a size that ends in a bare LF", refused),
        in_chunks(format!("{long:x};a\n{body}\r\n0\r\n\r\n"))
            .is("an extension that ends in a bare LF", refused),
        in_chunks(format!("{long:x}\r\n{body}XX0\r\n\r\n")).is("a chunk without its end", refused),
        in_chunks(format!(
            "{long:x};{}\r\n{body}\r\n0\r\n\r\n",
            "a".repeat(100_000)
        ))
        .is("an endless extension", refused),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn a_request_that_tells_both_a_length_and_chunks_has_nothing_behind_it() {
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: gateway.example\r\n\r\n";
    let body = format!("{}{smuggled}", chunked());
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n".to_owned(),
        format!(
            "transfer-encoding: chunked\r\ncontent-length: {}\r\n",
            body.len()
        ),
    ] {
        let door = Door::answering().await;
        let request = Plain::chat(body.as_str()).framed(&framing);
        let request = String::from_utf8(request.bytes()).unwrap();

        // Its own word is not needed: the program closes by itself.
        let heard = door
            .hear(request.replace("connection: close\r\n", "").as_bytes())
            .await;

        // RFC 9112, 6.3: the chunks count, and the connection ends behind the answer.
        assert_eq!((heard.status, heard.answers), (200, 1), "{}", heard.head);
        assert_eq!(door.model.request().json()["messages"][0]["role"], "system");
    }
}

#[tokio::test]
async fn lines_that_are_none_are_refused() {
    let door = Door::silent().await;
    let table = vec![
        ask()
            .with("x-a: b\r\n c: d\r\n")
            .is("a folded line", Bare(400)),
        ask()
            .with("x-a: b\rx-rag-mode: off\r\n")
            .is("a bare CR", Bare(400)),
        ask().with("x-a: b\0c\r\n").is("NUL", Bare(400)),
        ask().with("x-a\r\n").is("no colon", Bare(400)),
        ask().with(": b\r\n").is("no name", Bare(400)),
        ask().with("x a: b\r\n").is("a blank in a name", Bare(400)),
        ask()
            .with(":path: /v1/models\r\n")
            .is("a name of HTTP/2's", Bare(400)),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn a_bare_lf_ends_a_line_for_every_reader_here() {
    // RFC 9112, 2.2, allows it, and hyper has no other way. What follows is a header of its own, with all that is asked of headers.
    let door = Door::silent().await;
    let request = ask().with("x-a: b\nx-rag-workspace-id: 7\r\n");
    door.refuses(vec![request.is(
        "a header behind a bare LF",
        As(403, "workspace_not_allowed", "rag.workspace_id"),
    )])
    .await;
}

#[tokio::test]
async fn the_first_line_names_one_thing_that_is_there() {
    let door = Door::silent().await;
    let line = |line: &str| Plain {
        line: line.to_owned(),
        ..ask()
    };
    let (nothing, no_method) = (As(404, "not_found", ""), As(405, "method_not_allowed", ""));
    let hosts = As(400, "invalid_value", "Host");
    let long = format!("{} /v1/chat/completions HTTP/1.1", "A".repeat(5000));
    let table = vec![
        line("POST http://evil.example/v1/chat/completions HTTP/1.1").is("another host", hosts),
        line("POST http://gateway.example:81/v1/chat/completions HTTP/1.1")
            .is("another port", hosts),
        line("POST http://u:p@gateway.example/v1/chat/completions HTTP/1.1")
            .is("credentials", hosts),
        line("POST evil.example:443 HTTP/1.1").is("an authority alone", hosts),
        line("CONNECT gateway.example:80 HTTP/1.1").is("a tunnel", nothing),
        line("CONNECT evil.example:443 HTTP/1.1").is("a tunnel elsewhere", hosts),
        line("CONNECT /v1/models HTTP/1.1").is("a tunnel to a path", no_method),
        line("OPTIONS * HTTP/1.1").is("a star", nothing),
        line("TRACE /v1/models HTTP/1.1").is("an echo", no_method),
        line("post /v1/chat/completions HTTP/1.1").is("a method in small letters", no_method),
        line(&long).is("an endless method", no_method),
        line("PO/ST /v1/chat/completions HTTP/1.1").is("no method", Bare(400)),
        line("POST /v1/chat/completions HTTP/2.0").is("HTTP/2 in words", Bare(400)),
        line("POST /v1/chat/completions HTTP/1.1 HTTP/1.1").is("two versions", Bare(400)),
        line("POST  /v1/chat/completions HTTP/1.1").is("two blanks", Bare(400)),
        line("POST /v1/chat/completions").is("no version", Bare(400)),
        line("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nPOST /v1/chat/completions HTTP/1.1")
            .is("half a preface", Bare(400)),
        line("POST /v1/../v1/chat/completions HTTP/1.1").is("dots", nothing),
        line("POST /v1/chat%2fcompletions HTTP/1.1").is("an encoded slash", nothing),
        line("POST //v1/chat/completions HTTP/1.1").is("two slashes", nothing),
        line("POST /v1/chat/completions; HTTP/1.1").is("a semicolon", nothing),
        line("POST /v1/chat/completions%00 HTTP/1.1").is("an encoded NUL", nothing),
        line("POST /v1/chat/completions/ HTTP/1.1").is("a slash at the end", nothing),
        line("POST /V1/chat/completions HTTP/1.1").is("a capital", nothing),
        line("POST /v1/%ff HTTP/1.1").is("no UTF-8", nothing),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn one_host_and_a_sane_one() {
    let door = Door::silent().await;
    let host = |host: &str| Plain {
        host: host.to_owned(),
        ..ask()
    };
    let refused = As(400, "invalid_value", "Host");
    let table = vec![
        host("host: gateway.example\r\nhost: evil.example\r\n").is("two hosts", refused),
        host("host: gateway.example\r\nHOST: gateway.example\r\n").is("one host twice", refused),
        host("host: gateway.example evil.example\r\n").is("a blank", refused),
        host("host: gateway.example, evil.example\r\n").is("a list", refused),
        host("host: user@evil.example\r\n").is("a user", refused),
        host("host: gateway.example/evil\r\n").is("a path", refused),
        host("host: gateway.example:port\r\n").is("a port in words", refused),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn the_same_host_in_both_places_is_no_forgery() {
    let door = Door::answering().await;
    for line in [
        "POST http://gateway.example/v1/chat/completions HTTP/1.1",
        "POST http://GATEWAY.example:80/v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions HTTP/1.1",
    ] {
        let line = line.to_owned();
        let heard = door.hear(&Plain { line, ..ask() }.bytes()).await;
        assert_eq!(heard.status, 200, "{}", heard.body);
    }
}

#[tokio::test]
async fn one_key_and_the_right_one() {
    let door = Door::silent().await;
    let key = |key: &str| Plain {
        key: key.to_owned(),
        ..ask()
    };
    let refused = As(401, "invalid_api_key", "");
    let table = vec![
        key("").is("none", refused),
        key("authorization: Bearer acme\r\nauthorization: Bearer other\r\n").is("two", refused),
        key("authorization: Bearer other\r\nAuthorization: Bearer acme\r\n")
            .is("two, the other way round", refused),
        key("api-key: acme\r\nAPI-Key: acme\r\n").is("one twice", refused),
        key("api-key: acme\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n")
            .is("two for the upstream", refused),
        key("api-key: other\r\nauthorization: Bearer acme\r\n")
            .is("a wrong one before a right one", refused),
        key("authorization: Bearer acme, Bearer other\r\n").is("a list", refused),
        key("authorization: acme\r\n").is("no scheme", refused),
        key("authorization: Basic acme\r\n").is("another scheme", refused),
        key("authorization: Bearer\u{a0}acme\r\n").is("a hard blank", refused),
        key("authorization: Bearer acme acme\r\n").is("two words", refused),
        key("authorization: Bearer ACME\r\n").is("capitals", refused),
        key("x-authorization: Bearer acme\r\n").is("another header", refused),
        key("authorization_: Bearer acme\r\n").is("an underscore", refused),
        key("cookie: authorization=Bearer acme\r\n").is("a cookie", refused),
        Plain {
            line: "POST /v1/chat/completions?api-key=acme&authorization=Bearer%20acme HTTP/1.1"
                .to_owned(),
            ..key("")
        }
        .is("in the address", refused),
        key("")
            .framed("transfer-encoding: chunked\r\ntrailer: authorization\r\n")
            .is("in the trailer", refused),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn what_a_scope_is_made_of_stands_once_and_is_plain() {
    let door = Door::silent().await;
    let refused = As(400, "invalid_value", "rag.workspace_id");
    let outside = As(403, "workspace_not_allowed", "rag.workspace_id");
    let with = |value: &str| ask().with(&format!("x-rag-workspace-id: {value}\r\n"));
    let table = vec![
        with("42\r\nX-RAG-WORKSPACE-ID: 7").is("twice", refused),
        with("42,").is("an open list", refused),
        with("42;7").is("a semicolon", refused),
        with("*").is("a star", refused),
        with("").is("nothing", refused),
        with("0x2a").is("hexadecimal", refused),
        with("4.2e1").is("an exponent", refused),
        with("99999999999999999999999999").is("beyond 64 bits", refused),
        with("\u{ff14}\u{ff12}").is("wide digits", refused),
        with("42,7").is("one outside", outside),
        with("-42").is("a negative one", refused),
        ask()
            .with("x-rag-mode: tool\r\nx-rag-mode: off\r\n")
            .is("two modes", As(400, "invalid_value", "rag.mode")),
        ask().with("x-rag-max-results: 1e2\r\n").is(
            "an exponent of results",
            As(400, "invalid_value", "rag.max_results"),
        ),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn headers_that_are_not_ours_change_nothing() {
    let door = Door::answering().await;
    let trailer = format!(
        "{}x-rag-mode: off\r\n\r\n",
        chunked().trim_end_matches("\r\n").to_owned() + "\r\n"
    );
    let requests = [
        ask().with("x_rag_mode: off\r\nx-rag-mode-: off\r\n-x-rag-mode: off\r\n"),
        ask().with("connection: authorization, x-request-id\r\n"),
        ask().with("upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
        ask().with("upgrade: websocket\r\n"),
        ask().with("x-forwarded-host: evil.example\r\nforwarded: host=evil.example\r\nx-forwarded-proto: javascript\r\n"),
        ask().with("x-original-url: /metrics\r\nx-rewrite-url: /metrics\r\nx-http-method-override: DELETE\r\n"),
        in_chunks(trailer).with("trailer: x-rag-mode\r\n"),
    ];
    for request in requests {
        let heard = door.hear(&request.bytes()).await;
        assert_eq!((heard.status, heard.answers), (200, 1), "{}", heard.body);
        assert_eq!(heard.header("x-groundwire-mode"), Some("inject"));
        assert!(!heard.body.contains("evil") && !heard.body.contains("javascript"));
    }
    for sent in door.model.requests() {
        let known = [
            "host",
            "authorization",
            "content-type",
            "content-length",
            "accept",
            "accept-encoding",
            "user-agent",
        ];
        let strangers: Vec<_> = sent
            .headers
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }
}
