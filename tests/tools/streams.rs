//! Streams in time: what is said goes out when it is said, and what fails late fails in the stream.

use std::time::Duration;

use reqwest::Response;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    edge::{Edge, SEARCH, Way, finds_policy, passage, question},
    heard::Heard,
    support::{
        lighton::{FakeLightOn, found},
        reply::{Gate, Reply, sse_unfinished},
        server::Server,
    },
    turns::{chunk, ending, search, searches},
};

/// How long a piece may take that must be there already; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads until `text` came.
async fn until(response: &mut Response, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let piece = timeout(PATIENCE, response.chunk()).await;
        let piece = piece.unwrap_or_else(|_| panic!("`{text}` was held back after {read}"));
        let piece = piece
            .unwrap()
            .unwrap_or_else(|| panic!("`{text}` never came: {read}"));
        read += std::str::from_utf8(&piece).unwrap();
    }
    read
}

fn event(value: &serde_json::Value) -> String {
    format!("data: {value}\n\n")
}

#[tokio::test]
async fn text_reaches_the_client_before_the_next_event_exists() {
    let (first, second, third) = (Gate::new(), Gate::new(), Gate::new());
    let mut call = search("c1", "one");
    call["index"] = json!(0);
    let looks = Reply::stream("text/event-stream")
        .piece(event(&chunk(
            json!({"role": "assistant", "content": "Let me look. "}),
        )))
        .wait(&first)
        .piece(event(&chunk(json!({"tool_calls": [call]}))))
        .piece(event(&ending("tool_calls")))
        .piece("data: [DONE]\n\n");
    let answers = Reply::stream("text/event-stream")
        .piece(event(&chunk(json!({"role": "assistant", "content": ""}))))
        .piece(event(&chunk(json!({"reasoning": "Found it."}))))
        .wait(&second)
        .piece(event(&chunk(json!({"content": "Five"}))))
        .wait(&third)
        .piece(event(&chunk(json!({"content": " years."}))))
        .piece(event(&ending("stop")))
        .piece("data: [DONE]\n\n");
    let lighton = finds_policy();
    let model = Server::new().then(looks).then(answers);
    let edge = Edge::start(&lighton, &model).await;

    let mut response = edge.send(&question(json!({"stream": true}))).await;

    until(&mut response, "Let me look. ").await;
    first.open();
    until(&mut response, "Found it.").await;
    second.open();
    until(&mut response, "Five").await;
    third.open();
    until(&mut response, "[DONE]").await;
}

#[tokio::test]
async fn a_turn_that_only_calls_commits_nothing() {
    let lighton = finds_policy();
    let refused = Reply::json(json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}))
        .with_status(413);
    let model = Server::new()
        .then(searches(Way::Streamed, "one"))
        .then(refused);
    let edge = Edge::start(&lighton, &model).await;

    let heard = edge.hear(Way::Streamed, &question(json!({}))).await;

    assert_eq!(
        (heard.status, heard.code()),
        (413, "context_length_exceeded")
    );
}

#[tokio::test]
async fn what_fails_after_text_went_out_ends_the_stream_with_an_error() {
    let mut call = search("c1", "one");
    call["index"] = json!(0);
    let said = || chunk(json!({"role": "assistant", "content": "Let me look. "}));
    let looks = || {
        sse_unfinished([
            said(),
            chunk(json!({"tool_calls": [call]})),
            ending("tool_calls"),
        ])
        .piece("data: [DONE]\n\n")
    };
    let failing = || {
        Reply::json(
            json!({"error": {"message": "boom", "type": "server_error", "param": null, "code": "boom"}}),
        )
    };
    for (what, second, code) in [
        (
            "an error for the second turn",
            Some(failing().with_status(400)),
            "boom",
        ),
        (
            "a second turn that is cut",
            Some(sse_unfinished([said()])),
            "upstream_truncated",
        ),
        (
            "an error in the second turn",
            Some(sse_unfinished([
                said().to_string(),
                json!({"error": {"message": "boom", "code": "boom"}}).to_string(),
            ])),
            "boom",
        ),
        (
            "junk in the second turn",
            Some(sse_unfinished([
                said().to_string(),
                "{\"a\":1}{\"b\":2}".to_owned(),
            ])),
            "upstream_invalid_response",
        ),
        ("a search that fails", None, "search_unavailable"),
    ] {
        println!("{what}");
        let lighton = if second.is_some() {
            finds_policy()
        } else {
            FakeLightOn::new().always(SEARCH, Reply::status(500))
        };
        let mut model = Server::new().then(looks());
        if let Some(second) = second {
            model = model.then(second);
        }
        let edge = Edge::with(&lighton, &model, "[retry]\nattempts = 1").await;

        let heard = edge.hear(Way::Streamed, &question(json!({}))).await;

        assert_eq!((heard.status, heard.code()), (200, code));
        assert!(heard.said.content.starts_with("Let me look. "));
    }
}

#[tokio::test]
async fn a_cut_in_the_first_turn_runs_no_call() {
    let mut call = search("c1", "one");
    call["index"] = json!(0);
    let lighton = FakeLightOn::new();
    let model = Server::new().then(sse_unfinished([
        chunk(json!({"content": "Hm. "})),
        chunk(json!({"tool_calls": [call]})),
    ]));
    let edge = Edge::start(&lighton, &model).await;

    let heard = edge.hear(Way::Streamed, &question(json!({}))).await;

    assert_eq!((heard.status, heard.code()), (200, "upstream_truncated"));
}

#[tokio::test]
async fn a_long_search_is_covered_by_heartbeats_and_the_stream_keeps_one_identity() {
    for kind in ["comment", "delta"] {
        let gate = Gate::new();
        let lighton = FakeLightOn::new().then(found([passage("a", "Alpha.")]).head_after(&gate));
        let model = Server::new()
            .then(searches(Way::Streamed, "one"))
            .then(crate::turns::says(Way::Streamed, "Alpha [1]."));
        let settings = format!(
            "[stream]\ncommit_after = \"50ms\"\nheartbeat = \"50ms\"\nheartbeat_kind = \"{kind}\""
        );
        let edge = Edge::with(&lighton, &model, &settings).await;

        let mut response = edge.send(&question(json!({"stream": true}))).await;
        let before = until(
            &mut response,
            if kind == "comment" {
                ": heartbeat"
            } else {
                "\"delta\":{}"
            },
        )
        .await;
        gate.open();
        let heard = Heard::of(response).await;

        assert_eq!(heard.status, 200);
        assert!(heard.raw.ends_with("data: [DONE]\n\n"), "{}", heard.raw);
        assert_eq!(heard.said.content, "Alpha [1].");
        assert_eq!(
            (&heard.said.rag["upstream"], &heard.said.rag["model"]),
            (&json!("model"), &json!("m"))
        );
        if kind == "delta" {
            let id = heard.chunks[0]["id"].as_str().unwrap();
            assert!(before.contains(id), "{before} {id}");
        }
    }
}

#[tokio::test]
async fn a_failure_after_an_early_commit_is_the_last_event() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(Reply::status(500).head_after(&gate));
    let model = Server::new().then(searches(Way::Streamed, "one"));
    let settings = "[stream]\ncommit_after = \"50ms\"\nheartbeat = \"50ms\"\n[retry]\nattempts = 1";
    let edge = Edge::with(&lighton, &model, settings).await;

    let mut response = edge.send(&question(json!({"stream": true}))).await;
    until(&mut response, ": heartbeat").await;
    gate.open();
    let heard = Heard::of(response).await;

    assert_eq!((heard.status, heard.code()), (200, "search_unavailable"));
}

#[tokio::test]
async fn the_next_turn_stays_with_the_model_that_answered() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new().then(Reply::status(500));
        let other = Server::new()
            .then(searches(way, "one"))
            .then(crate::turns::says(way, "Five years [1]."));
        let settings = format!(
            "[retry]\nattempts = 1\n[models.best]\nupstream = \"model\"\nmodel = \"m\"\nfallback = [\"other/second\"]\n[upstreams.other]\nbase_url = \"{}/v1\"\napi_key = \"ot-secret-key\"\nmodels = [\"second\"]\n",
            other.url()
        );
        let edge = Edge::with(&lighton, &model, &settings).await;

        let heard = edge.hear(way, &question(json!({"model": "best"}))).await;

        assert_eq!(heard.good().content, "Five years [1].");
        assert_eq!(heard.header("x-groundwire-upstream"), "other");
        assert_eq!(model.requests().len(), 1);
        assert!(
            other
                .requests()
                .iter()
                .all(|request| request.json()["model"] == "second")
        );
    }
}

#[tokio::test]
async fn text_behind_what_only_looked_like_a_call_is_not_held_back() {
    let (first, second) = (Gate::new(), Gate::new());
    let text = |text: &str| event(&chunk(json!({"content": text})));
    let explains = Reply::stream("text/event-stream")
        .piece(event(&chunk(json!({"role": "assistant", "content": ""}))))
        .piece(text("A model writes <tool_call>"))
        .piece(text(" before"))
        .piece(text(" a call"))
        .wait(&first)
        .piece(text(", then `{\"name\": ..}`"))
        .wait(&second)
        .piece(text(" and an end."))
        .piece(event(&ending("stop")))
        .piece("data: [DONE]\n\n");
    let lighton = finds_policy();
    let model = Server::new().then(explains);
    let edge = Edge::start(&lighton, &model).await;

    let mut response = edge.send(&question(json!({"stream": true}))).await;

    let mut read = until(&mut response, " a call").await;
    first.open();
    read += &until(&mut response, "{\\\"name\\\": ..}").await;
    second.open();
    read += &until(&mut response, "[DONE]").await;
    let content: String = read
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk: serde_json::Value| {
            Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(
        content,
        "A model writes <tool_call> before a call, then `{\"name\": ..}` and an end."
    );
}
