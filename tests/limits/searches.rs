//! Searches a minute, in every place where something searches.

use serde_json::{Value, json};

use crate::{
    ask, key, metric, question, refused, send,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::Reply,
        server::Server,
        upstream::{completion, says},
    },
};

const LIMIT: &str = "1 searches a minute (`searches_per_minute`)";

async fn gateway(lighton: &FakeLightOn, upstream: &Server, mode: &str) -> Gateway {
    let settings = format!(
        "rag = {{ mode = \"{mode}\", on_search_error = \"answer\" }}\n{}",
        key("acme", "searches_per_minute = 1")
    );
    Gateway::start(lighton, upstream, &settings).await
}

/// A turn that searches for `query`.
fn searching(query: &str) -> Reply {
    let arguments = json!({ "query": query }).to_string();
    let call = json!({"id": "c", "type": "function", "function": {"name": "lighton_search", "arguments": arguments}});
    let mut turn = completion("");
    turn["choices"][0] = json!({"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"});
    Reply::json(turn)
}

#[tokio::test]
async fn a_search_too_many_refuses_the_request_whatever_happens_to_failed_searches() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new().then(says("Seven.")).then(says("Hello."));
    let gateway = gateway(&lighton, &upstream, "inject").await;

    assert_eq!(
        ask(&gateway, "acme", &question(json!({}))).await.status,
        200
    );
    let second = ask(&gateway, "acme", &question(json!({}))).await;
    let off = ask(&gateway, "acme", &question(json!({"rag": {"mode": "off"}}))).await;

    assert!(refused(&second, LIMIT) <= 60);
    assert_eq!(off.status, 200, "what is not searched for is not held up");
    assert_eq!(
        (lighton.requests().len(), upstream.requests().len()),
        (1, 2)
    );
    let counted = "groundwire_limited_total{key=\"acme\",limit=\"searches\"}";
    assert_eq!(metric(&gateway, counted).await, Some(1.0));
}

#[tokio::test]
async fn a_stream_that_tells_of_its_search_is_refused_by_its_status() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new().then(says("Seven."));
    let gateway = gateway(&lighton, &upstream, "inject").await;
    ask(&gateway, "acme", &question(json!({}))).await.json();

    let body = question(json!({"stream": true, "rag": {"events": true}}));

    refused(&ask(&gateway, "acme", &body).await, LIMIT);
}

#[tokio::test]
async fn a_model_that_searches_too_often_is_told_and_answers() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new()
        .then(searching("one"))
        .then(searching("two"))
        .then(says("Seven [1]."));
    let gateway = gateway(&lighton, &upstream, "tool").await;

    let answer = ask(&gateway, "acme", &question(json!({}))).await.json();

    assert_eq!(answer["choices"][0]["message"]["content"], "Seven [1].");
    assert_eq!(answer["rag"]["queries"], json!(["one"]));
    assert_eq!(answer["rag"]["usage"]["searches"], 1);
    let warning = answer["rag"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("searches_per_minute"), "{warning}");
    assert_eq!(lighton.requests().len(), 1);
    let last: Value = upstream.requests()[2].json();
    let told = last["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(told["role"], "tool");
    let told = told["content"].as_str().unwrap();
    assert!(told.contains("limit of searches is used up"), "{told}");
    let counted = "groundwire_limited_total{key=\"acme\",limit=\"searches\"}";
    assert_eq!(metric(&gateway, counted).await, Some(1.0));
}

#[tokio::test]
async fn each_query_of_a_vector_store_is_a_search() {
    let lighton = FakeLightOn::new();
    let found = crate::support::lighton::found([result("Seven years.")]);
    let lighton = lighton.always("POST /api/v3/search", found);
    let settings = key("acme", "searches_per_minute = 3");
    let gateway = Gateway::start(&lighton, &Server::new(), &settings).await;
    let path = "/v1/vector_stores/vs_42/search";
    let two = json!({"query": ["one", "two"]});

    send(&gateway, "acme", path, &two).await.json();
    let refusal = send(&gateway, "acme", path, &two).await;
    let one = send(&gateway, "acme", path, &json!({"query": "one"})).await;

    refused(&refusal, "3 searches a minute");
    assert_eq!(one.status, 200);
    assert_eq!(lighton.requests().len(), 3);
}
