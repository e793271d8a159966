//! Streams as they happen: what goes out when, how they end, and who learns of a client that left.

use std::{io::Write, net::TcpStream};

use serde_json::{Value, json};

use crate::{
    question,
    support::{
        answer::Live,
        gateway::Gateway,
        lighton::{FakeLightOn, found, result},
        reply::{Gate, Reply, sse, sse_unfinished},
        server::Server,
        upstream::{chunk, chunk_of, finish, refuses, speaks, usage},
    },
};

const OFF: &str = "rag.mode = \"off\"\n";

/// As long as a test runs: the status is held back until the first event, and no heartbeat comes.
const QUIET: &str = "[stream]\nheartbeat = \"0s\"\ncommit_after = \"60s\"\n";

/// The status goes out almost at once, and heartbeats come often.
const HASTY: &str = "[stream]\nheartbeat = \"20ms\"\ncommit_after = \"20ms\"\n";

fn asked() -> Value {
    question(json!({"stream": true}))
}

#[tokio::test]
async fn a_piece_is_out_before_the_upstream_has_the_next() {
    for (settings, found) in [(OFF, vec![]), ("", vec![result("x")])] {
        let gate = Gate::new();
        let lighton = FakeLightOn::new();
        let lighton = if settings == OFF {
            lighton
        } else {
            lighton.finds(found)
        };
        let stream = sse_unfinished([chunk("a"), chunk("b")]).wait(&gate);
        let upstream = Server::new()
            .then(stream.piece(format!("data: {}\n\ndata: [DONE]\n\n", finish("stop"))));
        let gateway = Gateway::start(&lighton, &upstream, &format!("{settings}{QUIET}")).await;

        let mut live = gateway.open(&asked()).await;
        live.until("\"b\"").await;
        gate.open();
        let answer = live.rest().await;

        assert_eq!(answer.content(), "ab");
        assert!(answer.is_done());
    }
}

#[tokio::test]
async fn the_status_is_held_back_until_the_first_event() {
    let lighton = FakeLightOn::new();
    // A comment is no event: the refusal behind it is still an HTTP status.
    let early = Reply::stream("text/event-stream")
        .piece(": ping\n\n")
        .piece("data: {\"error\":{\"message\":\"no\",\"type\":\"t\",\"code\":422}}\n\n");
    let upstream = Server::new().then(refuses(400, "too long")).then(early);
    let settings = format!("{OFF}{QUIET}\n[retry]\nattempts = 1\n");
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;

    gateway
        .ask(&asked())
        .await
        .error(400, "invalid_request_error", "context_length_exceeded");
    gateway.ask(&asked()).await.error(422, "t", "422");
}

#[tokio::test]
async fn a_status_that_cannot_wait_goes_out_and_the_failure_behind_it_closes_the_stream() {
    for settings in [OFF, ""] {
        let gate = Gate::new();
        let lighton = FakeLightOn::new();
        let lighton = if settings == OFF {
            lighton
        } else {
            lighton.finds([])
        };
        let upstream = Server::new().then(refuses(400, "too long").head_after(&gate));
        let gateway = Gateway::start(&lighton, &upstream, &format!("{settings}{HASTY}")).await;

        let live = gateway.open(&asked()).await;
        assert_eq!(live.header("x-groundwire-upstream"), Some("model"));
        gate.open();
        let answer = live.rest().await;

        let error = answer.closing_error("invalid_request_error", "context_length_exceeded");
        assert_eq!(error["message"], "too long");
        assert_eq!(answer.chunks().len(), 1);
    }
}

#[tokio::test]
async fn a_long_search_is_covered_by_heartbeats_and_its_answer_follows() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(found([result("Five years.")]).head_after(&gate));
    let upstream = Server::new().then(speaks(["Five", " years."]));
    let gateway = Gateway::start(&lighton, &upstream, HASTY).await;

    let mut live = gateway.open(&asked()).await;
    live.until(": ").await;
    live.until(": ").await;
    gate.open();
    let answer = live.rest().await;

    assert_eq!(answer.content(), "Five years.");
    assert!(answer.comments().len() >= 2 && answer.is_done());
    let chunks = answer.chunks();
    assert_eq!(chunks[0]["rag"]["sources"][0]["index"], 1);
    let late = &chunks.last().unwrap()["rag"];
    assert_eq!(
        (&late["upstream"], &late["model"]),
        (&json!("model"), &json!("m")),
        "the head went out before they were known"
    );
}

#[tokio::test]
async fn a_search_that_fails_late_closes_the_stream() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(
        Reply::json(json!({"code": 401, "error": "unauthorized", "detail": "x"}))
            .with_status(401)
            .head_after(&gate),
    );
    let upstream = Server::new();
    let gateway = Gateway::start(&lighton, &upstream, HASTY).await;

    let mut live = gateway.open(&asked()).await;
    live.until(": ").await;
    gate.open();

    live.rest()
        .await
        .closing_error("search_error", "search_authentication");
}

#[tokio::test]
async fn heartbeats_come_between_events_of_every_mode() {
    for settings in [OFF, ""] {
        let gate = Gate::new();
        let lighton = FakeLightOn::new();
        let lighton = if settings == OFF {
            lighton
        } else {
            lighton.finds([])
        };
        // The first event stops in its middle: a heartbeat there would break it.
        let (half, rest) = (
            r#"data: {"id":"up","choices":[{"index":0,"del"#,
            "ta\":{\"content\":\"a\"}}]}\n\n",
        );
        let stream = sse_unfinished([chunk("0")])
            .piece(half)
            .wait(&gate)
            .piece(rest)
            .piece(format!("data: {}\n\n", finish("stop")));
        let upstream = Server::new().then(stream.piece("data: [DONE]\n\n"));
        let gateway = Gateway::start(&lighton, &upstream, &format!("{settings}{HASTY}")).await;

        let mut live = gateway.open(&asked()).await;
        live.until("\"0\"").await;
        live.until(": heartbeat").await;
        gate.open();
        let answer = live.rest().await;

        assert_eq!(answer.content(), "0a");
        assert!(
            answer
                .comments()
                .iter()
                .all(|comment| *comment == " heartbeat")
        );
    }
}

#[tokio::test]
async fn heartbeats_can_be_empty_deltas_of_the_same_stream() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(found([]).head_after(&gate));
    let upstream = Server::new().then(speaks(["a"]));
    let gateway = Gateway::start(
        &lighton,
        &upstream,
        &format!("{HASTY}heartbeat_kind = \"delta\"\n"),
    )
    .await;

    let mut live = gateway.open(&asked()).await;
    live.until("data: ").await;
    gate.open();
    let answer = live.rest().await;

    let chunks = answer.chunks();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({}));
    assert_eq!(chunks[0].get("rag"), None);
    assert_eq!(answer.comments(), Vec::<&str>::new());
    for key in ["id", "created", "model", "object"] {
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk[key] == chunks[0][key] && !chunk[key].is_null()),
            "one {key} for the whole stream"
        );
    }
    assert_eq!(answer.content(), "a");
}

#[tokio::test]
async fn outside_off_a_finish_without_done_gets_done() {
    for (events, count) in [
        (vec![chunk("a"), finish("length")], 2),
        (vec![chunk("a"), finish("stop"), usage()], 3),
    ] {
        let lighton = FakeLightOn::new().finds([]);
        let upstream = Server::new().then(sse_unfinished(events));
        let gateway = Gateway::start(&lighton, &upstream, "").await;

        let answer = gateway
            .stream(&question(
                json!({"stream": true, "stream_options": {"include_usage": true}}),
            ))
            .await;

        assert!(answer.is_done());
        assert_eq!(answer.chunks().len(), count);
    }
}

#[tokio::test]
async fn outside_off_done_without_a_finish_gets_one() {
    let call = json!({"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}});
    for (events, reason) in [
        (vec![chunk("a")], "stop"),
        (vec![chunk("a"), chunk_of(call)], "tool_calls"),
    ] {
        let lighton = FakeLightOn::new().finds([result("x")]);
        let upstream = Server::new().then(sse(events.clone()));
        let gateway = Gateway::start(&lighton, &upstream, "").await;

        let answer = gateway.stream(&asked()).await;

        let chunks = answer.chunks();
        assert_eq!(chunks.len(), events.len() + 1);
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], reason);
        assert!(last["rag"]["timings"].is_object() && answer.is_done());
        assert_eq!(last["id"], chunks[0]["id"]);
    }
}

/// A place where a client leaves.
struct Departure {
    settings: &'static str,
    search: Option<Reply>,
    upstream: Option<Reply>,
    /// What the client saw before it left; empty: no head.
    seen: &'static str,
}

/// Before the head, behind an early one and in mid-stream; while the search, the upstream's head and its stream are waited for.
fn departures() -> Vec<Departure> {
    let speaking = || Some(sse_unfinished([chunk("a")]).hang());
    let silent = || Some(Reply::silence());
    let of = |settings, search, upstream, seen| Departure {
        settings,
        search,
        upstream,
        seen,
    };
    vec![
        of(OFF, None, silent(), ""),
        of(OFF, None, silent(), ": "),
        of(OFF, None, speaking(), "\"a\""),
        of("", silent(), None, ""),
        of("", silent(), None, ": "),
        of("", Some(found([])), silent(), ": "),
        of("", Some(found([])), speaking(), "\"a\""),
    ]
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_request_and_the_search() {
    for departure in departures() {
        let asking = departure.upstream.is_some();
        let lighton = departure
            .search
            .into_iter()
            .fold(FakeLightOn::new(), FakeLightOn::then);
        let upstream = departure
            .upstream
            .into_iter()
            .fold(Server::new(), Server::then);
        let last: &Server = if asking { &upstream } else { &lighton };
        let early = departure.seen.is_empty();
        let settings = format!(
            "{}{}",
            departure.settings,
            if early { QUIET } else { HASTY }
        );
        let gateway = Gateway::start(&lighton, &upstream, &settings).await;

        if early {
            tokio::select! {
                answer = gateway.chat(&asked()).send() => panic!("{answer:?}"),
                _ = last.received(1) => {}
            }
        } else {
            let mut live = gateway.open(&asked()).await;
            live.until(departure.seen).await;
            last.received(1).await;
            drop(live);
        }

        last.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_has_left() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(sse_unfinished([chunk("a")]).hang());
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;
    let body = asked().to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );

    let mut socket = TcpStream::connect(gateway.address()).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    upstream.received(1).await;
    socket.shutdown(std::net::Shutdown::Write).unwrap();

    upstream.closed().await;
}

#[tokio::test]
async fn a_whole_answer_nobody_waits_for_is_not_waited_for_either() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(Reply::silence());
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;

    let request = gateway.chat(&question(json!({}))).send();
    tokio::select! {
        answer = request => panic!("{answer:?}"),
        _ = upstream.received(1) => {}
    }

    upstream.closed().await;
}

#[tokio::test]
async fn a_drain_that_is_over_ends_open_streams_with_an_error() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(sse_unfinished([chunk("a")]).hang());
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;

    let mut live: Live = gateway.open(&asked()).await;
    live.until("\"a\"").await;
    gateway.app().stop.cancel();

    live.rest()
        .await
        .closing_error("overloaded_error", "shutting_down");
    upstream.closed().await;
}
