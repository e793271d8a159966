//! Which of the found passages the model is given, and how many tokens are left for it.

use serde_json::{Value, json};

use crate::{
    inject::{forwarded, grounding},
    passage, question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        server::Server,
        upstream::says,
    },
};

#[tokio::test]
async fn passages_are_packed_best_first_and_what_is_left_out_is_listed_with_its_reason() {
    let mut outside = passage("outside", "Secret.");
    outside["workspace"]["id"] = json!(7);
    let mut weak = passage("weak", "Weak.");
    weak["scores"]["relevance"] = json!(0.1);
    let found = vec![
        passage("small", "five years"),
        passage("whole", "Kept for five years."),
        passage("twin", "Kept for five years."),
        outside,
        weak,
        passage("empty", ""),
        passage("long", &"word ".repeat(400)),
        passage("short", "Short."),
    ];
    let lighton = FakeLightOn::new().finds(found);
    let upstream = Server::new().then(says("Fine."));
    let settings = "rag.max_results = 10\nrag.citations = false\nrag.min_relevance = 0.3\nrag.passage_tokens = 100\nrag.workspace_id = [42]";
    let gateway = Gateway::start(&lighton, &upstream, settings).await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    let sent = upstream.request().json();
    let text = sent["messages"][0]["content"].as_str().unwrap();
    assert!(
        text.ends_with(
            "Context:\n[whole.pdf, p.3]\nKept for five years.\n\n[short.pdf, p.3]\nShort."
        ),
        "{text}"
    );
    let mut dropped: Vec<(&str, &str)> = answer["rag"]["dropped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dropped| {
            (
                dropped["chunk_id"].as_str().unwrap(),
                dropped["reason"].as_str().unwrap(),
            )
        })
        .collect();
    dropped.sort_unstable();
    let expected = [
        ("empty", "empty"),
        ("long", "budget"),
        ("outside", "scope"),
        ("small", "duplicate"),
        ("twin", "duplicate"),
        ("weak", "relevance"),
    ];
    assert_eq!(dropped, expected);
}

#[tokio::test]
async fn one_passage_always_fits_and_is_not_cut_inside_a_word() {
    let text = grounding(
        "rag.citations = false\nrag.passage_tokens = 20",
        vec![result(&format!("\n\n {}", "retention ".repeat(300)))],
    )
    .await;
    let (_, passage) = text.split_once("[policy.pdf, p.3]\n").unwrap();
    assert!(
        passage.split(' ').all(|word| word == "retention") && passage.len() < 200,
        "{passage}"
    );
}

#[tokio::test]
async fn the_context_window_of_a_model_bounds_its_passages() {
    let lighton = FakeLightOn::new().finds([
        passage("a", &"word ".repeat(200)),
        passage("b", &"other ".repeat(200)),
    ]);
    let upstream = Server::new().then(says("Fine."));
    let text = "[models.small]\nupstream = \"model\"\nmodel = \"m\"\ncontext_window = 1000\n";
    let gateway = Gateway::start(&lighton, &upstream, text).await;

    let answer = gateway
        .ask(&question(json!({"model": "small", "max_tokens": 500})))
        .await
        .json();

    assert_eq!(answer["rag"]["sources"].as_array().unwrap().len(), 1);
    assert_eq!(
        answer["rag"]["dropped"],
        json!([{"chunk_id": "b", "reason": "budget"}])
    );
    assert!(answer["rag"]["usage"]["passage_tokens"].as_u64().unwrap() < 400);
}

#[tokio::test]
async fn a_small_token_limit_is_raised_to_what_the_model_needs() {
    let text =
        "[models.thinker]\nupstream = \"model\"\nmodel = \"m\"\nmin_completion_tokens = 4000\n";
    for (more, key, expected) in [
        (json!({"max_tokens": 100}), "max_tokens", json!(4000)),
        (
            json!({"max_completion_tokens": 100}),
            "max_completion_tokens",
            json!(4000),
        ),
        (json!({"max_tokens": 9000}), "max_tokens", json!(9000)),
        (json!({}), "max_tokens", Value::Null),
    ] {
        let mut body = question(more);
        body["model"] = json!("thinker");
        let sent = forwarded(text, vec![], &body).await;
        assert_eq!(sent[key], expected);
    }
}
