//! Clients that search with keys of their own: nothing of one is ever found, kept or opened by another.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::{
    key, passage, question,
    support::{
        answer::Answer,
        gateway::{Gateway, SEARCH_KEY},
        lighton::{FakeLightOn, found},
        reply::{Gate, Reply},
        server::Server,
        upstream::says,
    },
};

/// The setting that the other tests turn off.
const CACHED: &str = "[search]\ncache_ttl = \"60s\"\n";

/// The keys `acme` and `beta` with search keys of their own, and `plain` without.
fn keys() -> String {
    let own = |name: &str| {
        key(
            name,
            &format!("workspace_id = [42]\nsearch_api_key = \"lo-secret-{name}\""),
        )
    };
    let plain = key("plain", "workspace_id = [42]");
    format!("{CACHED}{}{}{plain}", own("acme"), own("beta"))
}

async fn ask(gateway: &Gateway, key: &str) -> Value {
    let request = gateway.chat(&question(json!({}))).bearer_auth(key);
    Answer::of(request).await.json()
}

/// The keys that search was asked with, in order.
fn asked_with(lighton: &Server) -> Vec<String> {
    let requests = lighton.requests();
    let key = |request: &crate::support::server::Request| {
        let header = request.header("authorization").unwrap();
        header.strip_prefix("Bearer ").unwrap().to_owned()
    };
    requests.iter().map(key).collect()
}

fn contents(answer: &Value) -> String {
    answer["rag"]["sources"][0]["content"].to_string()
}

#[tokio::test]
async fn what_one_key_found_is_not_remembered_for_another() {
    let lighton = FakeLightOn::new()
        .finds([passage("a", "Acme keeps it five years.")])
        .finds([passage("b", "Beta keeps it ten years.")])
        .finds([passage("c", "Everybody else keeps it one year.")]);
    let upstream = Server::new().always("/v1/chat/completions", says("x"));
    let gateway = Gateway::start(&lighton, &upstream, &keys()).await;

    for round in 0..2 {
        for (key, content) in [
            ("acme", "Acme keeps it five years."),
            ("beta", "Beta keeps it ten years."),
            ("plain", "Everybody else keeps it one year."),
        ] {
            let answer = ask(&gateway, key).await;
            assert_eq!(contents(&answer), format!("{content:?}"), "{key}");
            assert_eq!(answer["rag"]["usage"]["cached"], round, "{key}");
        }
    }
    assert_eq!(
        asked_with(&lighton),
        ["lo-secret-acme", "lo-secret-beta", SEARCH_KEY]
    );
}

#[tokio::test]
async fn the_same_question_at_the_same_moment_is_asked_with_each_key() {
    let gate = Gate::new();
    let held = found([passage("a", "Ten years.")]).head_after(&gate);
    let lighton = FakeLightOn::new().always("/api/v3/search", held);
    let upstream = Server::new().always("/v1/chat/completions", says("x"));
    let gateway = Gateway::start(&lighton, &upstream, &keys()).await;

    let both = async {
        tokio::join!(
            ask(&gateway, "acme"),
            ask(&gateway, "acme"),
            ask(&gateway, "beta")
        )
    };
    let opening = async {
        lighton.received(2).await;
        gate.open();
    };
    tokio::join!(both, opening);

    let mut keys = asked_with(&lighton);
    keys.sort();
    assert_eq!(
        keys,
        ["lo-secret-acme", "lo-secret-beta"],
        "one each, and none shared"
    );
}

#[tokio::test]
async fn files_and_workspaces_are_asked_for_with_the_callers_search_key() {
    let file = json!({"id": 512, "filename": "a.pdf", "status": "embedded", "workspace": {"id": 42, "name": "w"}});
    let bytes = Reply::body("application/pdf", "%PDF");
    let list = Reply::json(json!({"count": 0, "next": null, "results": []}));
    let lighton = FakeLightOn::new()
        .always("/api/v3/files/512", Reply::json(file))
        .always("/api/v3/files/512/download", bytes)
        .always("/api/v3/files", list.clone())
        .always("/api/v3/workspaces", list)
        .always(
            "/api/v3/workspaces/42",
            Reply::json(json!({"id": 42, "name": "w"})),
        )
        .always("/api/v3/search", found([]));
    let gateway = Gateway::start(&lighton, &Server::new(), &keys()).await;

    for (method, path) in [
        (Method::GET, "/v1/files/512"),
        (Method::GET, "/v1/files/512/content"),
        (Method::GET, "/v1/files"),
        (Method::DELETE, "/v1/files/512"),
        (Method::GET, "/v1/vector_stores"),
        (Method::GET, "/v1/vector_stores/42"),
        (Method::POST, "/v1/vector_stores/42/search"),
        (Method::GET, "/sources/512"),
    ] {
        let request = gateway.request(method, path).bearer_auth("beta");
        let request = request.header("content-type", "application/json");
        let answer = Answer::of(request.body(r#"{"query": "x"}"#)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let form = reqwest::multipart::Form::new().part(
        "file",
        reqwest::multipart::Part::text("x").file_name("a.md"),
    );
    let upload = gateway
        .request(Method::POST, "/v1/files")
        .bearer_auth("beta");
    // The list's answer is no file, which is all the same here.
    Answer::of(upload.multipart(form)).await;

    let asked = asked_with(&lighton);
    assert!(asked.len() >= 12, "{asked:?}");
    assert!(asked.iter().all(|key| key == "lo-secret-beta"), "{asked:?}");
}

#[tokio::test]
async fn the_link_of_a_citation_opens_with_the_search_key_that_found_it() {
    let lighton = FakeLightOn::new().finds([passage("a", "Ten years.")]).on(
        "/api/v3/files/512/download",
        Reply::body("application/pdf", "%PDF of beta")
            .header("content-disposition", "attachment; filename=\"a.pdf\""),
    );
    let upstream = Server::new().then(says("Ten years [1]."));
    let gateway = Gateway::start(&lighton, &upstream, &keys()).await;
    let answer = ask(&gateway, "beta").await;
    let link = &answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"];
    let link = Url::parse(link.as_str().unwrap()).unwrap();

    let path = format!("{}?{}", link.path(), link.query().unwrap());
    let opened = gateway.get(&path).await;

    assert_eq!(opened.text(), "%PDF of beta");
    assert_eq!(asked_with(&lighton), ["lo-secret-beta", "lo-secret-beta"]);
}

#[tokio::test]
async fn the_gateway_needs_no_search_key_where_every_client_has_one() {
    let lighton = FakeLightOn::new().finds([passage("a", "Ten years.")]);
    let upstream = Server::new().then(says("x"));
    let text = format!(
        "search.api_key = \"${{NONE:-}}\"\n[upstreams.model]\nbase_url = \"${{MODEL}}/v1\"\nmodels = [\"m\"]\n{}",
        key(
            "acme",
            "workspace_id = [42]\nsearch_api_key = \"lo-secret-acme\""
        )
    );
    let neighbours = [("SEARCH", &*lighton), ("MODEL", &upstream)];
    let gateway = Gateway::of(&text, &neighbours).await;

    ask(&gateway, "acme").await;

    assert_eq!(asked_with(&lighton), ["lo-secret-acme"]);
}

#[tokio::test]
async fn what_a_model_searches_for_is_asked_with_the_callers_search_key() {
    let lighton = FakeLightOn::new().finds([passage("a", "Ten years.")]);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "lighton_search", "arguments": "{\"query\": \"retention\"}"}});
    let turn = json!({
        "id": "t", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}],
    });
    let upstream = Server::new().then(Reply::json(turn)).then(says("Ten."));
    let gateway = Gateway::start(&lighton, &upstream, &keys()).await;
    let body = question(json!({"rag": {"mode": "tool"}}));

    let answer = Answer::of(gateway.chat(&body).bearer_auth("beta"))
        .await
        .json();

    assert_eq!(contents(&answer), "\"Ten years.\"");
    assert_eq!(asked_with(&lighton), ["lo-secret-beta"]);
}

#[tokio::test]
async fn each_search_key_has_a_pace_of_its_own() {
    let lighton = FakeLightOn::new().always("/api/v3/search", found([]));
    let upstream = Server::new().always("/v1/chat/completions", says("x"));
    let slow = keys().replace(
        CACHED,
        "[search]\nrequests_per_minute = 1\ntimeout = \"1s\"\n",
    );
    let gateway = Gateway::start(&lighton, &upstream, &slow).await;

    for key in ["acme", "beta", "plain"] {
        ask(&gateway, key).await;
    }
    let again = gateway.chat(&question(json!({}))).bearer_auth("acme");
    let again = Answer::of(again).await;

    again.error(429, "search_error", "search_rate_limited");
    assert_eq!(
        asked_with(&lighton),
        ["lo-secret-acme", "lo-secret-beta", SEARCH_KEY]
    );
}

#[tokio::test]
async fn a_search_key_that_is_refused_is_told_to_nobody() {
    let refused = crate::support::lighton::refusal(401, "unauthorized", "lo-secret-beta is no key");
    let lighton = FakeLightOn::new().then(refused);
    let gateway = Gateway::start(&lighton, &Server::new(), &keys()).await;

    let request = gateway.chat(&question(json!({}))).bearer_auth("beta");
    let answer = Answer::of(request).await;

    answer.error(502, "search_error", "search_authentication");
    assert!(!answer.text().contains("lo-"), "{}", answer.text());
}
