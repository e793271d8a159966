//! The unhappy road: every way in which an upstream fails, what is tried again, and how a stream ends that cannot go on.

use serde_json::{Value, json};

use crate::{
    question,
    support::{
        answer::Streamed,
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::{Gate, Reply, sse, sse_unfinished},
        server::{Server, nobody},
        upstream::{chunk, finish, says},
    },
};

const ONCE: &str = "rag.mode = \"off\"\n[retry]\nattempts = 1\n";
const THRICE: &str = "rag.mode = \"off\"\n[retry]\nmax_wait = \"5ms\"\n";

fn asked() -> Value {
    question(json!({"stream": true}))
}

/// What a client gets of a stream that begins well, in mode off and grounded.
pub(crate) async fn broken(reply: Reply, settings: &str) -> Vec<Streamed> {
    let mut answers = Vec::new();
    for mode in ["off", "inject"] {
        let lighton = FakeLightOn::new();
        let lighton = if mode == "off" {
            lighton
        } else {
            lighton.finds([])
        };
        let upstream = Server::new().then(reply.clone());
        let gateway = Gateway::start(
            &lighton,
            &upstream,
            &format!("rag.mode = \"{mode}\"\n{settings}"),
        )
        .await;
        answers.push(gateway.stream(&asked()).await);
    }
    answers
}

#[tokio::test]
async fn nobody_there_is_an_upstream_that_cannot_be_reached() {
    let lighton = FakeLightOn::new();
    let text = format!(
        "{ONCE}[upstreams.model]\nbase_url = \"http://{}/v1\"\napi_key = \"md-secret-k\"\n",
        nobody()
    );
    let gateway = Gateway::of(&text, &[("SEARCH", &lighton)]).await;

    for stream in [false, true] {
        let answer = gateway.ask(&question(json!({"stream": stream}))).await;
        answer.error(502, "upstream_error", "upstream_unreachable");
        assert_eq!(
            answer.header("x-should-retry"),
            Some("false"),
            "retries were used up"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_first_event_is_an_http_error() {
    for (reply, code) in [
        (Reply::closed(), "upstream_unreachable"),
        (Reply::refused(), "upstream_unreachable"),
        (
            Reply::garbage("not http at all\r\n\r\n"),
            "upstream_unreachable",
        ),
        (
            Reply::stream("text/event-stream")
                .piece(": ping\n\n")
                .reset(),
            "upstream_unreachable",
        ),
        (
            Reply::stream("text/event-stream")
                .half_chunk("data: {\"choi")
                .cut(),
            "upstream_unreachable",
        ),
        (
            Reply::stream("text/event-stream"),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece(": ping\n\n"),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece("data: [DONE]\n\n"),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece("data: {\"choices\":[{\"del"),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece("data: \u{feff}\n\n"),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece(b"data: {\"a\":\"\xFF\"}\n\n".to_vec()),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece("data: {\"a\":1}{\"b\":2}\n\n"),
            "upstream_invalid_response",
        ),
        (
            Reply::stream("text/event-stream").piece("Internal Server Error"),
            "upstream_invalid_response",
        ),
        (
            Reply::body("text/html", "<html>hello</html>"),
            "upstream_invalid_response",
        ),
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(reply.clone());
        let gateway = Gateway::start(&lighton, &upstream, ONCE).await;

        let answer = gateway.ask(&asked()).await;

        assert!(answer.text().contains(code), "{reply:?}: {}", answer.text());
        answer.error(502, "upstream_error", code);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_none_is_an_http_error() {
    for (reply, code) in [
        (Reply::closed(), "upstream_unreachable"),
        (
            Reply::json(json!({})).header("content-length", 100).cut(),
            "upstream_unreachable",
        ),
        (
            Reply::stream("application/json").half_chunk("{").cut(),
            "upstream_unreachable",
        ),
        (Reply::status(200), "upstream_invalid_response"),
        (Reply::status(204), "upstream_invalid_response"),
        (
            Reply::body("application/json", " \n"),
            "upstream_invalid_response",
        ),
        (
            Reply::body("application/json", "{\"choices\": [\"cut"),
            "upstream_invalid_response",
        ),
        (
            Reply::body("application/json", b"{\"a\": \"\xFF\"}".to_vec()),
            "upstream_invalid_response",
        ),
        (Reply::json(json!([])), "upstream_invalid_response"),
        (Reply::json(json!(null)), "upstream_invalid_response"),
        (
            Reply::body("text/html", "<html>hello</html>"),
            "upstream_invalid_response",
        ),
        (sse([chunk("a")]), "upstream_invalid_response"),
        (
            Reply::status(302).header("location", "http://elsewhere.example/"),
            "upstream_invalid_response",
        ),
        (Reply::status(304), "upstream_invalid_response"),
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(reply.clone());
        let gateway = Gateway::start(&lighton, &upstream, ONCE).await;

        let answer = gateway.ask(&question(json!({}))).await;

        assert!(answer.text().contains(code), "{reply:?}: {}", answer.text());
        answer.error(502, "upstream_error", code);
    }
}

#[tokio::test]
async fn deadlines_are_told_and_not_tried_again() {
    let slow = Gate::new();
    let pinging = Reply::stream("text/event-stream")
        .piece(": ping\n\n")
        .hang();
    for (stream, reply, settings) in [
        (false, Reply::silence(), "answer = \"50ms\""),
        (
            false,
            Reply::stream("application/json").piece("{").hang(),
            "answer = \"50ms\"",
        ),
        (true, Reply::silence(), "first_event = \"50ms\""),
        (true, says("x").head_after(&slow), "first_event = \"50ms\""),
        (true, pinging, "first_event = \"50ms\""),
        (true, Reply::silence(), "total = \"50ms\""),
        (false, Reply::silence(), "first_byte = \"50ms\""),
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(reply);
        let gateway = Gateway::start(
            &lighton,
            &upstream,
            &format!("{THRICE}[timeouts]\n{settings}\n"),
        )
        .await;

        let answer = gateway.ask(&question(json!({"stream": stream}))).await;

        answer.error(504, "upstream_error", "upstream_timeout");
        upstream.closed().await;
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_closed_with_an_error() {
    let mut pings = sse_unfinished([chunk("a")]);
    for _ in 0..3 {
        pings = pings.piece(": ping\n\n");
    }
    for reply in [sse_unfinished([chunk("a")]).hang(), pings.hang()] {
        for answer in broken(reply, "[timeouts]\nidle = \"50ms\"\n").await {
            answer.closing_error("upstream_error", "upstream_timeout");
            assert_eq!(answer.content(), "a");
        }
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_all_in_all_is_closed_with_an_error() {
    let endless = sse_unfinished([chunk("a")]).repeat(format!("data: {}\n\n", chunk("b")));
    for answer in broken(endless, "[timeouts]\ntotal = \"1s\"\n").await {
        answer.closing_error("upstream_error", "upstream_timeout");
        assert!(answer.content().starts_with("ab"));
    }
}

#[tokio::test]
async fn comments_alone_do_not_keep_a_stream_alive() {
    let reply = sse_unfinished([chunk("a")]).repeat(": ping\n\n");
    for answer in broken(reply, "[timeouts]\nidle = \"100ms\"\n").await {
        answer.closing_error("upstream_error", "upstream_timeout");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_told_as_truncated() {
    let start = || sse_unfinished([chunk("a")]);
    let half = r#"data: {"id":"chatcmpl-up","choices":[{"index":0,"delta":{"content":"never"#;
    for reply in [
        start(),
        start().cut(),
        start().reset(),
        start().piece(half),
        start().piece(half).cut(),
        start().piece(half).reset(),
        start().half_chunk(half).cut(),
        start().piece(format!("{half}\n")),
        start().piece(half).until_close(),
    ] {
        for answer in broken(reply.clone(), "").await {
            answer.closing_error("upstream_error", "upstream_truncated");
            assert_eq!(answer.content(), "a", "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_finish_is_an_end_even_where_the_connection_breaks_behind_it() {
    for reply in [
        sse_unfinished([chunk("a"), finish("stop")]).cut(),
        sse_unfinished([chunk("a"), finish("stop")]).reset(),
    ] {
        let [off, grounded] = <[Streamed; 2]>::try_from(broken(reply, "").await).unwrap();
        assert!(
            off.chunks()
                .iter()
                .all(|chunk| chunk.get("error").is_none()),
            "{}",
            off.text()
        );
        assert!(grounded.is_done(), "{}", grounded.text());
    }
}

#[tokio::test]
async fn what_follows_done_is_nobodys_business() {
    for reply in [
        sse([chunk("a"), finish("stop")]).reset(),
        sse([chunk("a"), finish("stop")]).hang(),
        sse([chunk("a"), finish("stop")]).piece("data: {\"error\":\"late\"}\n\n"),
    ] {
        for answer in broken(reply, "").await {
            assert!(answer.is_done(), "{}", answer.text());
            assert_eq!(answer.content(), "a");
        }
    }
}

#[tokio::test]
async fn an_event_beyond_the_limit_ends_the_stream() {
    let endless = format!("data: {{\"choices\":[],\"x\":\"{}", "x".repeat(10_000));
    for answer in broken(
        sse_unfinished([chunk("a")]).piece(endless.clone()).hang(),
        "[limits]\nevent = \"4KB\"\n",
    )
    .await
    {
        answer.closing_error("upstream_error", "upstream_invalid_response");
    }

    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(Reply::stream("text/event-stream").piece(endless).hang());
    let gateway = Gateway::start(
        &lighton,
        &upstream,
        &format!("{ONCE}[limits]\nevent = \"4KB\"\n"),
    )
    .await;
    gateway
        .ask(&asked())
        .await
        .error(502, "upstream_error", "upstream_invalid_response");
    upstream.closed().await;
}

#[tokio::test]
async fn invalid_utf8_ends_the_stream() {
    let bytes =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xFF\"}}]}\n\n".to_vec();
    for answer in broken(sse_unfinished([chunk("a")]).piece(bytes).hang(), "").await {
        answer.closing_error("upstream_error", "upstream_invalid_response");
        assert_eq!(answer.content(), "a");
    }
}

#[tokio::test]
async fn what_is_not_one_object_is_no_chunk_of_a_grounded_answer() {
    for data in ["{\"a\":1}{\"b\":2}", "[1]", "[null]", "\"a\"", "1"] {
        let lighton = FakeLightOn::new().finds([]);
        let upstream = Server::new().then(
            sse_unfinished([chunk("a")])
                .piece(format!("data: {data}\n\n"))
                .hang(),
        );
        let gateway = Gateway::start(&lighton, &upstream, "").await;

        gateway
            .stream(&asked())
            .await
            .closing_error("upstream_error", "upstream_invalid_response");
    }
}

#[tokio::test]
async fn raw_json_in_the_middle_of_a_stream_is_its_error() {
    for stray in [
        "{\n \"error\": {\n  \"message\": \"quota\", \"type\": \"t\", \"code\": \"q\"\n }\n}\n\n",
        "error: {\"message\": \"quota\", \"type\": \"t\", \"code\": \"q\"}\n\n",
    ] {
        for answer in broken(sse_unfinished([chunk("a")]).piece(stray).hang(), "").await {
            let error = answer.closing_error("t", "q");
            assert_eq!(error["message"], "quota");
        }
    }
}
