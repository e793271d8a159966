//! Servers that know no streaming answer whole where a stream was asked for: the client gets its stream all the same.

use serde_json::{Value, json};

use crate::{
    QUESTION, question,
    support::{
        answer::Streamed,
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::Reply,
        server::Server,
        upstream::{MODEL, completion},
    },
};

async fn streamed(mode: &str, answer: Value, more: Value) -> Streamed {
    let lighton = FakeLightOn::new();
    let lighton = if mode == "off" {
        lighton
    } else {
        lighton.finds([result("Five years.")])
    };
    let upstream = Server::new().then(Reply::json(answer));
    let settings = format!("rag.mode = \"{mode}\"");
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;
    let mut body = question(more);
    body["stream"] = json!(true);
    gateway.stream(&body).await
}

#[tokio::test]
async fn a_whole_answer_becomes_a_chunk_and_a_done() {
    let mut answer = completion("Five years [1].");
    answer["system_fingerprint"] = json!("fp");
    answer["choices"][0]["message"]["reasoning"] = json!("hm");

    let heard = streamed("off", answer, json!({})).await;

    assert!(heard.is_done(), "{}", heard.text());
    assert_eq!(
        heard.chunks(),
        [
            json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL,
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop",
                "delta": {"role": "assistant", "content": "Five years [1].", "reasoning": "hm"}}],
            "system_fingerprint": "fp"})
        ]
    );
}

#[tokio::test]
async fn its_usage_comes_where_the_client_asked_for_it() {
    let more = json!({"stream_options": {"include_usage": true}});

    let heard = streamed("off", completion("Five."), more).await;

    let chunks = heard.chunks();
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[0].get("usage"), None);
    assert_eq!(chunks[1]["choices"], json!([]));
    assert_eq!(chunks[1]["usage"]["total_tokens"], 10);
}

#[tokio::test]
async fn it_is_grounded_and_cited_like_any_other() {
    let heard = streamed("inject", completion("Five years [1]."), json!({})).await;

    assert!(heard.is_done(), "{}", heard.text());
    let chunks = heard.chunks();
    assert_eq!(chunks[0]["rag"]["queries"], json!([QUESTION]));
    let delta = &chunks[0]["choices"][0]["delta"];
    assert_eq!(delta["annotations"][0]["url_citation"]["source"], 1);
}

#[tokio::test]
async fn its_tool_calls_are_numbered() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let mut answer = completion("");
    answer["choices"][0]["message"] =
        json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
    answer["choices"][0]["finish_reason"] = json!("tool_calls");

    let heard = streamed("off", answer, json!({})).await;

    let chunks = heard.chunks();
    let calls = &chunks[0]["choices"][0]["delta"]["tool_calls"];
    assert_eq!(
        (&calls[0]["index"], &calls[1]["index"], &calls[1]["id"]),
        (&json!(0), &json!(1), &json!("b"))
    );
}

#[tokio::test]
async fn json_that_is_no_answer_is_nonsense() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(Reply::json(json!({"status": "ok"})));
    let settings = "rag.mode = \"off\"\nretry.attempts = 1";
    let gateway = Gateway::start(&lighton, &upstream, settings).await;

    let answer = gateway.ask(&question(json!({"stream": true}))).await;

    answer.error(502, "upstream_error", "upstream_invalid_response");
}
