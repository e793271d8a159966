//! `/v1/completions`: whole and streamed, grounded where the prompt is text.

use serde_json::{Value, json};

use crate::{
    gateway::Gateway,
    support::{
        lighton::{FakeLightOn, result},
        reply::{Reply, sse, sse_unfinished},
        server::Server,
    },
};

const GROUNDING: &str = "You are a helpful assistant. Answer the user's question using only the provided context. If the context does not contain \
                         enough information, say so.\n\nContext:\n[policy.pdf, p.3]\nFive years.\n\n";

async fn gateway(search: &FakeLightOn, upstream: &Server, mode: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [search]
        base_url = "{}"
        api_key = "search-key"
        [rag]
        mode = "{mode}"
        [retry]
        attempts = 1
        [upstreams.gpu]
        base_url = "{}/v1"
        "#,
        search.url(),
        upstream.url()
    ))
    .await
}

fn whole() -> Reply {
    Reply::json(json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": " Five years [1].", "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    }))
}

fn chunk(text: &str, finish_reason: Value) -> Value {
    json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason}]})
}

#[tokio::test]
async fn a_text_prompt_is_grounded_before_itself() {
    let search = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(whole());
    let gateway = gateway(&search, &upstream, "inject").await;

    let reply = gateway
        .post(
            "/v1/completions",
            json!({"model": "m", "prompt": "How long?", "max_tokens": 9, "rag": {"max_results": 3}}),
        )
        .await
        .ok();

    assert_eq!(search.request().json()["query"], "How long?");
    assert_eq!(search.request().json()["max_results"], 3);
    let sent = upstream.request();
    assert_eq!(sent.path, "/v1/completions");
    assert_eq!(
        sent.json(),
        json!({"model": "m", "prompt": format!("{GROUNDING}How long?"), "max_tokens": 9})
    );
    assert_eq!(reply["choices"][0]["text"], " Five years [1].");
    assert_eq!(reply["rag"]["mode"], "inject");
    assert_eq!(reply["rag"]["sources"][0]["filename"], "policy.pdf");
    assert_eq!(reply["rag"]["warnings"], json!([]));
}

#[tokio::test]
async fn every_text_of_a_list_gets_the_same_grounding() {
    let search = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(whole());
    let gateway = gateway(&search, &upstream, "inject").await;

    gateway
        .post(
            "/v1/completions",
            json!({"model": "m", "prompt": ["a", "b"]}),
        )
        .await
        .ok();

    assert_eq!(search.request().json()["query"], "a");
    assert_eq!(
        upstream.request().json()["prompt"],
        json!([format!("{GROUNDING}a"), format!("{GROUNDING}b")])
    );
}

#[tokio::test]
async fn a_prompt_of_tokens_passes_with_a_warning_and_without_search() {
    let search = FakeLightOn::new();
    let upstream = Server::new().always("/v1/completions", whole());
    let gateway = gateway(&search, &upstream, "inject").await;

    for prompt in [json!([1, 2]), json!([[1], [2, 3]])] {
        let reply = gateway
            .post("/v1/completions", json!({"model": "m", "prompt": prompt}))
            .await
            .ok();

        assert_eq!(upstream.requests().pop().unwrap().json()["prompt"], prompt);
        let warning = reply["rag"]["warnings"][0].as_str().unwrap();
        assert!(warning.contains("tokens"), "{warning}");
    }
}

#[tokio::test]
async fn a_stream_tells_its_sources_on_the_first_chunk_and_its_times_on_the_last() {
    let search = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(sse([
        chunk(" Five", Value::Null),
        chunk(" years [1].", Value::Null),
        chunk("", json!("stop")),
    ]));
    let gateway = gateway(&search, &upstream, "inject").await;

    let reply = gateway
        .post(
            "/v1/completions",
            json!({"model": "m", "prompt": "How long?", "stream": true}),
        )
        .await;

    let chunks = reply.chunks();
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[0]["rag"]["sources"][0]["index"], 1);
    assert_eq!(chunks[1], chunk(" years [1].", Value::Null));
    assert!(chunks[2]["rag"]["timings"].is_object(), "{}", chunks[2]);
    assert_eq!(chunks[2]["choices"][0].get("delta"), None);
    assert_eq!(upstream.request().json()["stream"], true);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_of_its_own_kind() {
    let search = FakeLightOn::new();
    let upstream = Server::new().then(sse_unfinished([chunk(" Five", Value::Null)]));
    let gateway = gateway(&search, &upstream, "off").await;

    let reply = gateway
        .post(
            "/v1/completions",
            json!({"model": "m", "prompt": "How long?", "stream": true}),
        )
        .await;

    let last: Value = serde_json::from_str(reply.data().last().unwrap()).unwrap();
    assert_eq!(last["object"], "text_completion");
    assert_eq!(last["choices"][0]["finish_reason"], "error");
    assert_eq!(last["choices"][0]["text"], "");
    assert_eq!(last["error"]["code"], "upstream_truncated");
}

#[tokio::test]
async fn with_retrieval_off_the_bytes_are_the_clients() {
    let search = FakeLightOn::new();
    let upstream = Server::new().then(whole());
    let gateway = gateway(&search, &upstream, "off").await;
    let body =
        r#"{ "model":"m", "prompt" : "a\u0062", "temperature":0.70, "logit_bias":{"1":-1e2} }"#;

    let reply = gateway.post_text("/v1/completions", body).await;

    assert_eq!(reply.ok().get("rag"), None);
    assert_eq!(upstream.request().body, body.as_bytes());
}

#[tokio::test]
async fn a_prompt_has_no_tool_mode() {
    let search = FakeLightOn::new();
    let upstream = Server::new();
    let gateway = gateway(&search, &upstream, "inject").await;

    gateway
        .post(
            "/v1/completions",
            json!({"model": "m", "prompt": "a", "rag": {"mode": "tool"}}),
        )
        .await
        .refused(400, "invalid_value", "rag.mode");
}

#[tokio::test]
async fn where_chat_has_the_tool_a_prompt_is_searched_for_beforehand() {
    let search = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(whole());
    let gateway = gateway(&search, &upstream, "tool").await;

    let reply = gateway
        .post(
            "/v1/completions",
            json!({"model": "m", "prompt": "How long?"}),
        )
        .await
        .ok();

    assert_eq!(
        upstream.request().json()["prompt"],
        format!("{GROUNDING}How long?")
    );
    assert_eq!(reply["rag"]["mode"], "inject");
}

#[tokio::test]
async fn what_is_wrong_with_a_prompt_is_told_by_its_name() {
    let search = FakeLightOn::new();
    let upstream = Server::new();
    let gateway = gateway(&search, &upstream, "inject").await;

    for (body, code, param) in [
        (r#"{"prompt":"a"}"#, "missing_field", "model"),
        (r#"{"model":"m"}"#, "missing_field", "prompt"),
        (r#"{"model":"m","prompt":{}}"#, "invalid_value", "prompt"),
        (
            r#"{"model":"m","prompt":"a","rag":{"max_results":0}}"#,
            "invalid_value",
            "rag.max_results",
        ),
    ] {
        gateway
            .post_text("/v1/completions", body)
            .await
            .refused(400, code, param);
    }
}
