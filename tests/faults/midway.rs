//! Faults of an upstream in the middle of a stream: what came stays, nothing is repeated, and one closing error says what happened.

use serde_json::json;

use crate::{
    kind::Kind,
    stage::{Stage, TWICE, each},
    support::reply::Reply,
};

/// The stream ends in this error, after one call.
fn closes(settings: &str, fault: impl Fn(Reply) -> Reply + Sync, error: &str, code: &str) {
    let settings = format!("{TWICE}{settings}\n");
    each(&Kind::those(Kind::streams), async |kind| {
        let stage = Stage::new(kind, &settings).await;

        let heard = stage.suffers([fault(kind.begun())]).await;

        heard.closed(error, code);
        stage.nothing_is_left().await;
    });
}

#[test]
fn idle_stream() {
    let idle = "timeouts.idle = \"300ms\"";
    for fault in [
        |begun: Reply| begun.hang(),
        // A watchdog that counted bytes would never end this one.
        |begun: Reply| begun.repeat(": ping\n\n"),
    ] {
        closes(idle, fault, "upstream_error", "upstream_timeout");
    }
}

#[test]
fn stream_that_never_ends() {
    let total = "timeouts.total = \"1s\"";
    each(&Kind::those(Kind::streams), async |kind| {
        let stage = Stage::new(kind, &format!("{TWICE}{total}\n")).await;

        let event = format!("data: {}\n\n", kind.chunk(""));
        let heard = stage.suffers([kind.begun().repeat(event)]).await;

        heard.closed("upstream_error", "upstream_timeout");
        stage.upstream.closed().await;
        stage.nothing_is_left().await;
    });
}

#[test]
fn cut_in_the_middle_of_an_event() {
    let half = "data: {\"id\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"nev";
    for fault in [
        |begun: Reply, half: &str| begun.piece(half),
        |begun: Reply, half: &str| begun.piece(half).cut(),
        |begun: Reply, half: &str| begun.piece(half).reset(),
        |begun: Reply, half: &str| begun.half_chunk(half).cut(),
    ] {
        let fault = |begun| fault(begun, half);
        closes("", fault, "upstream_error", "upstream_truncated");
    }
}

#[test]
fn cut_in_the_middle_of_an_event_behind_the_finish() {
    let half = "data: {\"id\":\"up\",\"choices\":[],\"usage\":{\"prompt_tok";
    let grounded = |kind: Kind| kind.streams() && kind.searches();
    each(&Kind::those(grounded), async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let heard = stage.suffers([kind.finished().piece(half)]).await;

        // Nothing of the answer is missing.
        heard.answered();
        stage.nothing_is_left().await;
    });
}

#[test]
fn cut_without_done() {
    for fault in [
        |begun: Reply| begun,
        |begun: Reply| begun.cut(),
        |begun: Reply| begun.reset(),
    ] {
        closes("", fault, "upstream_error", "upstream_truncated");
    }
}

#[test]
fn json_error_in_mid_stream() {
    let error = json!({"error": {"message": "overloaded", "type": "server_error", "code": 503}});
    let fault = |begun: Reply| begun.piece(format!("data: {error}\n\ndata: [DONE]\n\n"));
    closes("", fault, "server_error", "503");
}

#[test]
fn two_objects_on_a_line() {
    let lines = "data: {\"a\":1}{\"b\":2}\n\n";
    let grounded = |kind: Kind| kind.streams() && kind.searches();
    each(&Kind::those(grounded), async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let heard = stage.suffers([kind.begun().piece(lines).hang()]).await;

        heard.closed("upstream_error", "upstream_invalid_response");
        stage.upstream.closed().await;
        stage.nothing_is_left().await;
    });
    // With retrieval off, whole events pass byte for byte, these as well.
    each(&[Kind::RelayedStream], async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let heard = stage.suffers([kind.begun().piece(lines)]).await;

        let text = heard.answer.text();
        assert!(text.contains(lines) && text.contains("upstream_truncated"));
        stage.nothing_is_left().await;
    });
}

#[test]
fn endless_line() {
    let limit = "limits.event = \"4KB\"";
    for fault in [
        |begun: Reply| begun.repeat("x".repeat(1000)),
        |begun: Reply| begun.piece("data: {").repeat("x".repeat(1000)),
    ] {
        closes(limit, fault, "upstream_error", "upstream_invalid_response");
    }
}

#[test]
fn invalid_utf8() {
    let event =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xFF\"}}]}\n\n".to_vec();
    let fault = |begun: Reply| begun.piece(event.clone()).hang();
    closes("", fault, "upstream_error", "upstream_invalid_response");
}
