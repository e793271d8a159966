//! What is searched for and how: the options of a request, the settings behind them, and what happens when search brings nothing.

use serde_json::{Value, json};

use crate::{
    QUESTION, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, maintenance, refusal, result},
        reply::Reply,
        server::Server,
        upstream::{completion, says, speaks},
    },
};

/// What search was asked for `body`.
async fn asked(settings: &str, body: &Value) -> Value {
    asked_with(settings, body, &[]).await
}

async fn asked_with(settings: &str, body: &Value, headers: &[(&str, &str)]) -> Value {
    let lighton = FakeLightOn::new().finds([]);
    let upstream = Server::new().then(says("Fine."));
    let gateway = Gateway::start(&lighton, &upstream, settings).await;
    let mut request = gateway.chat(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }

    Answer::of(request).await.json();

    lighton.request().json()
}

#[tokio::test]
async fn the_last_user_message_is_searched_for_with_the_defaults() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": QUESTION},
    ]});
    let expected = json!({"query": QUESTION, "max_results": 5, "mode": "text", "relevance_scoring": "scoring_and_filtering"});
    assert_eq!(asked("", &body).await, expected);
}

#[tokio::test]
async fn every_option_reaches_search() {
    let rag = json!({
        "query": "retention", "workspace_id": [43, 42], "max_results": 7, "tag_id": 3, "content_type": ["legal:*"],
        "attribute": "lang:fr", "search_mode": "vision", "relevance_scoring": "none",
    });
    let expected = json!({
        "query": "retention", "max_results": 7, "workspace_id": [42, 43], "tag_id": [3], "content_type": ["legal:*"],
        "attribute": ["lang:fr"], "mode": "vision", "relevance_scoring": "none",
    });
    assert_eq!(asked("", &question(json!({ "rag": rag }))).await, expected);

    let sent = asked(
        "rag.workspace_id = [42]",
        &question(json!({"rag": {"file_id": [512, 513]}})),
    )
    .await;
    assert_eq!(
        (&sent["file_id"], sent.get("workspace_id")),
        (&json!([512, 513]), None)
    );
}

#[tokio::test]
async fn the_conversation_can_be_the_query() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "Who runs support?"}, {"role": "assistant", "content": "Lyon."}, {"role": "user", "content": "And at night?"},
    ]});
    let sent = asked("rag.query_from = \"conversation\"", &body).await;
    assert_eq!(sent["query"], "And at night?\nLyon.\nWho runs support?");
}

#[tokio::test]
async fn the_query_can_be_rewritten_by_a_model() {
    let settings = "rag.query_from = \"rewrite\"\nrag.rewrite_model = \"model/small\"";
    let lighton = FakeLightOn::new().finds([]);
    let upstream = Server::new()
        .then(says("\"retention policy\""))
        .then(says("Fine."));
    let gateway = Gateway::start(&lighton, &upstream, settings).await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    assert_eq!(lighton.request().json()["query"], "retention policy");
    assert_eq!(answer["rag"]["queries"], json!(["retention policy"]));
    let sent = upstream.requests();
    assert_eq!(
        (&sent[0].json()["model"], &sent[1].json()["model"]),
        (&json!("small"), &json!("m"))
    );
}

#[tokio::test]
async fn a_query_that_cannot_be_rewritten_is_searched_for_as_it_is() {
    let settings = "rag.query_from = \"rewrite\"\nrag.rewrite_model = \"model/small\"";
    let lighton = FakeLightOn::new().finds([]);
    let upstream = Server::new().then(Reply::status(500)).then(says("Fine."));
    let gateway = Gateway::start(&lighton, &upstream, settings).await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    assert_eq!(lighton.request().json()["query"], QUESTION);
    assert_eq!(answer["rag"]["warnings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_body_wins_over_headers_over_the_model_over_the_key_over_the_file() {
    let digest = "e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8";
    let layers = [
        ("[rag]\nmax_results = 11\n", ""),
        ("rag = { max_results = 12 }\n", "key"),
        ("rag = { max_results = 13 }\n", "model"),
    ];
    for (count, expected) in [(1, 11), (2, 12), (3, 13)] {
        let part = |of: &str| {
            let given = layers.iter().take(count).find(|(_, owner)| *owner == of);
            given.map_or("", |(text, _)| *text)
        };
        let settings = format!(
            "{}[models.handbook]\nupstream = \"model\"\nmodel = \"m\"\n{}[[keys]]\nname = \"t\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n{}",
            part(""),
            part("model"),
            part("key")
        );
        let mut body = question(json!({}));
        body["model"] = json!("handbook");
        let key = ("api-key", "t");
        let sent = asked_with(&settings, &body, &[key]).await;
        assert_eq!(sent["max_results"], expected);

        let header = ("x-rag-max-results", "14");
        assert_eq!(
            asked_with(&settings, &body, &[key, header]).await["max_results"],
            14
        );
        body["rag"] = json!({"max_results": 15});
        assert_eq!(
            asked_with(&settings, &body, &[key, header]).await["max_results"],
            15
        );
    }
}

#[tokio::test]
async fn off_searches_for_nothing() {
    for (settings, body, header) in [
        ("rag.mode = \"off\"", question(json!({})), None),
        ("", question(json!({"rag": {"mode": "off"}})), None),
        ("", question(json!({})), Some(("x-rag-mode", "off"))),
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(says("Fine."));
        let gateway = Gateway::start(&lighton, &upstream, settings).await;
        let mut request = gateway.chat(&body);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }

        let answer = Answer::of(request).await;

        assert_eq!(answer.json(), completion("Fine."));
        assert_eq!(answer.header("x-groundwire-mode"), Some("off"));
        let mut sent = upstream.request().json();
        assert_eq!(sent["messages"].take(), body["messages"]);
        assert_eq!(sent.get("rag"), None);
    }
}

#[tokio::test]
async fn the_side_requests_of_chat_programs_are_not_searched_for() {
    for (text, skipped) in [
        (
            "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
            true,
        ),
        (
            "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history",
            true,
        ),
        (
            "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next",
            true,
        ),
        (
            "Provide a concise, 5-word-or-less title for the conversation, using title case conventions.",
            true,
        ),
        (
            "Generate a concise, 3-5 word title for my newsletter",
            false,
        ),
    ] {
        let lighton = FakeLightOn::new();
        let lighton = if skipped { lighton } else { lighton.finds([]) };
        let upstream = Server::new().then(says("Fine."));
        let gateway = Gateway::start(&lighton, &upstream, "").await;
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});

        let answer = gateway.ask(&body).await;

        let mode = if skipped { "off" } else { "inject" };
        assert_eq!(answer.header("x-groundwire-mode"), Some(mode), "{text}");
        assert_eq!(answer.json().get("rag").is_none(), skipped, "{text}");
    }
}

#[tokio::test]
async fn without_skip_rules_every_request_is_searched_for() {
    let text =
        "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history";
    let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    assert_eq!(asked("rag.skip = []", &body).await["query"], text);
}

#[tokio::test]
async fn a_conversation_without_a_users_text_is_answered_ungrounded() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(says("Fine."));
    let gateway = Gateway::start(&lighton, &upstream, "").await;
    let messages = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);

    let answer = gateway
        .ask(&json!({"model": "m", "messages": messages}))
        .await
        .json();

    assert_eq!(upstream.request().json()["messages"], messages);
    assert_eq!(answer["rag"]["usage"]["searches"], 0);
    assert_eq!(answer["rag"]["warnings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_search_can_be_answered_without_context() {
    let settings = "rag.on_search_error = \"answer\"\n[retry]\nattempts = 1\n";
    for reply in [
        maintenance(),
        Reply::status(500),
        refusal(401, "unauthorized", "Bad key"),
        Reply::closed(),
    ] {
        let lighton = FakeLightOn::new().then(reply);
        let upstream = Server::new().then(says("Fine."));
        let gateway = Gateway::start(&lighton, &upstream, settings).await;

        let answer = gateway.ask(&question(json!({}))).await.json();

        assert_eq!(
            upstream.request().json()["messages"],
            question(json!({}))["messages"]
        );
        assert_eq!(answer["rag"]["warnings"].as_array().unwrap().len(), 1);
        assert_eq!(answer["rag"]["sources"], json!([]));
    }
}

#[tokio::test]
async fn a_search_outside_what_may_be_seen_is_never_answered_without_context() {
    let lighton = FakeLightOn::new().then(refusal(403, "forbidden", "No documents"));
    let upstream = Server::new();
    let gateway = Gateway::start(&lighton, &upstream, "rag.on_search_error = \"answer\"").await;

    let answer = gateway
        .ask(&question(json!({"rag": {"workspace_id": 42}})))
        .await;

    answer.error(403, "permission_error", "workspace_not_found");
}

#[tokio::test]
async fn nothing_found_can_be_refused_without_asking_the_model() {
    for found in [vec![], vec![result(" ")]] {
        let lighton = FakeLightOn::new().finds(found.clone()).finds(found);
        let upstream = Server::new();
        let gateway = Gateway::start(&lighton, &upstream, "rag.on_no_results = \"refuse\"").await;

        let whole = gateway.ask(&question(json!({}))).await.json();
        let body = question(json!({"stream": true, "stream_options": {"include_usage": true}}));
        let streamed = gateway.stream(&body).await;

        let said = whole["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(!said.is_empty());
        assert_eq!(
            (&whole["object"], &whole["model"]),
            (&json!("chat.completion"), &json!("m"))
        );
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        assert_eq!(whole["rag"]["usage"]["searches"], 1);
        assert_eq!(streamed.content(), said);
        assert!(streamed.is_done());
        let chunks = streamed.chunks();
        assert_eq!(chunks[0]["rag"]["sources"], json!([]));
        assert_eq!(chunks[1]["choices"][0]["finish_reason"], "stop");
        assert!(chunks[1]["rag"]["timings"]["search_ms"].is_number());
        assert_eq!(chunks[2]["usage"]["total_tokens"], 0);
        assert_eq!(streamed.header("x-groundwire-upstream"), None);
    }
}

#[tokio::test]
async fn something_found_is_not_refused() {
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(speaks(["Five years."]));
    let gateway = Gateway::start(&lighton, &upstream, "rag.on_no_results = \"refuse\"").await;

    let streamed = gateway.stream(&question(json!({"stream": true}))).await;

    assert_eq!(streamed.content(), "Five years.");
}
