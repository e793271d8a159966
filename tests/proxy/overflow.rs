//! A model that has no room for the passages.

use serde_json::json;

use crate::{
    passage, question,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::Reply,
        server::Server,
        upstream::{completion, says},
    },
};

/// How vLLM says it.
fn too_long() -> Reply {
    let message = "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.";
    Reply::json(json!({"error": {"message": message, "type": "BadRequestError", "param": null, "code": 400}})).with_status(400)
}

#[tokio::test]
async fn it_is_asked_once_more_with_half_of_them() {
    let found =
        (1..=4).map(|number| passage(&format!("p{number}"), &format!("Fact number {number}.")));
    let lighton = FakeLightOn::new().finds(found);
    let upstream = Server::new()
        .then(too_long())
        .then(Reply::json(completion("Yes [1].")));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    let sent = upstream.requests();
    let context = |at: usize| {
        sent[at].json()["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(context(0).contains("Fact number 4."));
    assert!(context(1).contains("Fact number 2.") && !context(1).contains("Fact number 3."));
    assert_eq!(
        sent[1].json()["messages"].as_array().unwrap().len(),
        2,
        "the grounding stands once"
    );
    assert_eq!(answer["rag"]["sources"].as_array().unwrap().len(), 2);
    assert_eq!(answer["rag"]["dropped"][0]["reason"], "budget");
    assert!(
        answer["rag"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("no room")
    );
}

#[tokio::test]
async fn a_second_refusal_is_the_answer() {
    let lighton = FakeLightOn::new().finds([passage("a", "Fact."), passage("b", "Other.")]);
    let upstream = Server::new().then(too_long()).then(too_long());
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await;

    let error = answer.error(400, "BadRequestError", "400");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("maximum context length")
    );
}

#[tokio::test]
async fn a_window_that_only_the_upstreams_list_tells_bounds_the_passages() {
    for (mode, first) in [("inject", vec![]), ("tool", vec![calls_search()])] {
        let results = (0..10).map(|n| passage(&format!("p{n}"), &format!("{n} word ").repeat(250)));
        let lighton = FakeLightOn::new().finds(results);
        let upstream = Server::new().always(
            "GET /v1/models",
            Reply::json(json!({"data": [{"id": "m", "max_model_len": 3000}]})),
        );
        let turns = first.into_iter().chain([says("Five.")]);
        let upstream = turns.fold(upstream, |upstream, turn| {
            upstream.on("POST /v1/chat/completions", turn)
        });
        let settings =
            format!("rag.mode = \"{mode}\"\nupstreams.model.base_url = \"${{MODEL}}/v1\"");
        let neighbours = [("SEARCH", &*lighton), ("MODEL", &upstream)];
        let gateway = Gateway::of(&settings, &neighbours).await;

        let answer = gateway
            .ask(&question(json!({"rag": {"max_results": 10}})))
            .await
            .json();

        let tokens = answer["rag"]["usage"]["passage_tokens"].as_u64().unwrap();
        assert!((1..2000).contains(&tokens), "{mode}: {tokens}");
        let dropped = answer["rag"]["dropped"].as_array().unwrap();
        assert!(
            dropped.iter().any(|left| left["reason"] == "budget"),
            "{mode}"
        );
    }
}

fn calls_search() -> Reply {
    let mut turn = completion("");
    turn["choices"][0] = json!({"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "lighton_search", "arguments": "{\"query\":\"x\",\"max_results\":10}"}}]}});
    Reply::json(turn)
}
