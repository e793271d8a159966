//! Mode `inject`: what the answer gains, whole and streamed.

use serde_json::{Value, json};

use crate::{
    QUESTION, question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::{Reply, sse},
        server::Server,
        upstream::{MODEL, chunk, chunk_of, completion, finish, says, speaks, usage},
    },
};

/// The whole answer to a question when search found `results` and the upstream replies `reply`.
pub(crate) async fn whole(settings: &str, results: Vec<Value>, reply: Reply, more: Value) -> Value {
    let lighton = FakeLightOn::new().finds(results);
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&lighton, &upstream, settings).await;
    gateway.ask(&question(more)).await.json()
}

/// The chunks of the same, streamed.
pub(crate) async fn streamed(results: Vec<Value>, reply: Reply, more: Value) -> Vec<Value> {
    let lighton = FakeLightOn::new().finds(results);
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&lighton, &upstream, "").await;
    let mut body = question(more);
    body["stream"] = json!(true);
    let answer = gateway.stream(&body).await;
    assert!(answer.is_done(), "{}", answer.text());
    answer.chunks()
}

#[tokio::test]
async fn the_answer_is_the_upstreams_with_rag_beside_it() {
    let mut reply = completion("Five years [1].");
    reply["choices"][0]["message"]["reasoning_content"] = json!("hm [9]");
    reply["system_fingerprint"] = json!("fp");
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(
        Reply::json(reply.clone())
            .header("x-request-id", "up-1")
            .header("x-ratelimit-remaining-requests", 9)
            .header("set-cookie", "a=b")
            .header("server", "vllm"),
    );
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await;

    let mut body = answer.json();
    let rag = body.as_object_mut().unwrap().remove("rag").unwrap();
    let given = body["choices"][0]["message"].as_object_mut().unwrap();
    assert!(given.remove("annotations").is_some());
    assert_eq!(body, reply);
    let tokens = rag["usage"]["passage_tokens"].as_u64().unwrap();
    assert!((1..40).contains(&tokens), "{tokens}");
    assert_eq!(
        rag,
        json!({
            "mode": "inject",
            "queries": [QUESTION],
            "sources": [{
                "index": 1, "label": "[1]", "filename": "policy.pdf", "page_start": 3, "page_end": 4, "title": "Data policy",
                "file_id": 512, "chunk_id": "550e8400-e29b-41d4-a716-446655440000", "workspace_id": 42, "score": 0.95,
                "content": "Five years.",
            }],
            "dropped": [],
            "usage": {"searches": 1, "cached": 0, "passage_tokens": tokens},
            "warnings": [],
        })
    );
    assert_eq!(answer.header("x-groundwire-mode"), Some("inject"));
    assert_eq!(answer.header("x-groundwire-upstream"), Some("model"));
    assert_eq!(answer.header("x-groundwire-model"), Some("m"));
    assert_eq!(answer.header("x-upstream-request-id"), Some("up-1"));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("9"));
    assert_eq!(answer.header("set-cookie"), None);
    assert_ne!(answer.header("server"), Some("vllm"));
    let timing = answer.header("server-timing").unwrap();
    let durations: Vec<f64> = timing
        .split(", ")
        .map(|entry| entry.split_once(";dur=").unwrap().1.parse().unwrap())
        .collect();
    assert!(
        timing.starts_with("search;dur=")
            && timing.contains(", upstream;dur=")
            && durations.len() == 2,
        "{timing}"
    );
}

#[tokio::test]
async fn sources_tell_as_much_as_the_operator_wants() {
    for (mode, text, count) in [
        ("full", true, 1),
        ("reference", false, 1),
        ("none", false, 0),
    ] {
        let settings = format!("rag.sources = \"{mode}\"");
        let answer = whole(&settings, vec![result("Five years.")], says("x"), json!({})).await;
        let sources = answer["rag"]["sources"].as_array().unwrap();
        assert_eq!(sources.len(), count, "{mode}");
        assert_eq!(
            sources.iter().any(|source| source.get("content").is_some()),
            text,
            "{mode}"
        );
        assert!(
            sources
                .iter()
                .all(|source| source["filename"] == "policy.pdf"),
            "{mode}"
        );
    }
}

#[tokio::test]
async fn rag_rides_on_the_first_chunk_with_a_choice_and_on_the_finish() {
    // Azure's preamble: a chunk without a choice, and no identity to adopt.
    let preamble = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": []});
    let reply = sse([
        preamble.clone(),
        chunk("Five"),
        chunk(" years"),
        finish("stop"),
    ]);

    let chunks = streamed(vec![result("Five years.")], reply, json!({})).await;

    assert_eq!(chunks.len(), 4, "no chunk is added");
    assert_eq!(chunks[0], preamble);
    let rag = &chunks[1]["rag"];
    assert_eq!(rag["sources"][0]["content"], "Five years.");
    let keys: Vec<&String> = rag.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["mode", "queries", "sources", "dropped", "usage", "warnings"]
    );
    assert_eq!(chunks[2], chunk(" years"));
    let late: Vec<&String> = chunks[3]["rag"].as_object().unwrap().keys().collect();
    assert_eq!(late, ["timings"]);
    assert!(chunks[3]["rag"]["timings"]["search_ms"].is_number());
    assert!(
        chunks[1..]
            .iter()
            .all(|chunk| chunk["id"] == "chatcmpl-up" && chunk["model"] == MODEL)
    );
}

#[tokio::test]
async fn an_answer_of_one_chunk_carries_all_of_rag() {
    let reply = sse([chunk_of(
        json!({"index": 0, "delta": {"content": "Five [1] [3]"}, "finish_reason": "stop"}),
    )]);

    let chunks = streamed(vec![result("Five years.")], reply, json!({})).await;

    assert_eq!(chunks.len(), 1);
    let rag = &chunks[0]["rag"];
    assert_eq!(rag["sources"][0]["index"], 1);
    assert!(rag["warnings"][0].as_str().unwrap().contains("[3]"));
    assert!(rag["timings"]["upstream_ms"].is_number());
}

#[tokio::test]
async fn the_usage_chunk_passes_exactly_when_it_was_asked_for() {
    for (more, passes) in [
        (json!({"stream_options": {"include_usage": true}}), true),
        (json!({"stream_options": {"include_usage": false}}), false),
        (json!({}), false),
    ] {
        let reply = sse([chunk("Five"), finish("stop"), usage()]);
        let chunks = streamed(vec![result("x")], reply, more.clone()).await;
        assert_eq!(chunks.last() == Some(&usage()), passes, "{more}");
        assert_eq!(chunks.len(), if passes { 3 } else { 2 }, "{more}");
    }
}

#[tokio::test]
async fn the_gateway_asks_for_no_usage_of_its_own() {
    let lighton = FakeLightOn::new().finds([]);
    let upstream = Server::new().then(speaks(["x"]));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    gateway.stream(&question(json!({"stream": true}))).await;

    assert_eq!(upstream.request().json().get("stream_options"), None);
}

#[tokio::test]
async fn an_answer_that_ran_out_of_tokens_while_thinking_is_explained() {
    let mut reply = completion("");
    reply["choices"][0]["message"] =
        json!({"role": "assistant", "content": null, "reasoning": "hm"});
    reply["choices"][0]["finish_reason"] = json!("length");
    let answer = whole("", vec![result("x")], Reply::json(reply), json!({})).await;
    assert!(
        answer["rag"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("max_tokens")
    );
    assert_eq!(answer["choices"][0]["message"]["reasoning"], "hm");

    let thinks = || {
        chunk_of(json!({"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": null}))
    };
    let chunks = streamed(
        vec![result("x")],
        sse([thinks(), finish("length")]),
        json!({}),
    )
    .await;
    assert_eq!(chunks[0]["choices"], thinks()["choices"]);
    assert!(
        chunks[1]["rag"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("max_tokens")
    );

    let chunks = streamed(
        vec![result("x")],
        sse([thinks(), chunk("Five"), finish("length")]),
        json!({}),
    )
    .await;
    assert_eq!(chunks[2]["rag"].get("warnings"), None);
}

#[tokio::test]
async fn events_tell_of_the_search_in_chunks_with_a_choice() {
    let reply = sse([chunk("Five"), finish("stop")]);

    let chunks = streamed(
        vec![result("Five years.")],
        reply,
        json!({"rag": {"events": true}}),
    )
    .await;

    let events: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["rag"].get("event"))
        .collect();
    assert_eq!(
        events[0],
        &json!({"type": "search.started", "query": QUESTION})
    );
    assert_eq!(
        (&events[1]["type"], &events[1]["results"]),
        (&json!("search.completed"), &json!(1))
    );
    assert!(events[1]["duration_ms"].is_u64());
    assert_eq!(events.len(), 2);
    for chunk in &chunks[..2] {
        assert_eq!(chunk["choices"][0]["delta"], json!({}));
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
    assert_eq!(chunks[2]["rag"]["sources"][0]["index"], 1);
    for key in ["id", "created", "model", "object"] {
        assert!(
            chunks.iter().all(|chunk| chunk[key] == chunks[0][key]),
            "one {key} for the whole stream"
        );
    }
    let late = &chunks[3]["rag"];
    assert_eq!(
        (&late["upstream"], &late["model"]),
        (&json!("model"), &json!("m"))
    );
}

#[tokio::test]
async fn events_tell_of_the_search_that_is_made_and_of_no_other() {
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(speaks(["Five"])).then(speaks(["Hello"]));
    let settings = "rag.query_from = \"conversation\"";
    let gateway = Gateway::start(&lighton, &upstream, settings).await;
    let started = async |messages: Value| -> Vec<Value> {
        let body =
            json!({"model": "m", "stream": true, "messages": messages, "rag": {"events": true}});
        let chunks = gateway.stream(&body).await.chunks();
        chunks
            .iter()
            .filter(|chunk| chunk["rag"]["event"]["type"] == "search.started")
            .map(|chunk| chunk["rag"]["event"]["query"].clone())
            .collect()
    };

    let told = started(json!([
        {"role": "user", "content": "Who runs support?"},
        {"role": "assistant", "content": "The desk in Lyon."},
        {"role": "user", "content": "And at night?"},
    ]))
    .await;
    assert_eq!(
        told,
        ["And at night?\nThe desk in Lyon.\nWho runs support?"]
    );
    assert_eq!(lighton.request().json()["query"], told[0]);

    let nothing_to_search_for = started(json!([{"role": "system", "content": "Greet."}])).await;
    assert_eq!(nothing_to_search_for, Vec::<Value>::new());
}

#[tokio::test]
async fn warnings_of_search_reach_the_client() {
    let reply = Reply::json(
        json!({"results": [], "warnings": [{"code": "reranking_unavailable", "reason": "timeout"}]}),
    );
    let lighton = FakeLightOn::new().then(reply);
    let upstream = Server::new().then(says("x"));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    assert_eq!(
        answer["rag"]["warnings"],
        json!(["reranking_unavailable: timeout"])
    );
}
