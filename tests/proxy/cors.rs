//! Pages of other origins: let in where the operator names them, and never with a browser's own credentials.

use reqwest::Method;
use serde_json::json;

use crate::{
    key, question,
    support::{
        answer::Answer, gateway::Gateway, lighton::FakeLightOn, server::Server, upstream::says,
    },
};

const PAGE: &str = "https://app.example";

async fn gateway(upstream: &Server, origins: &str) -> Gateway {
    let text = format!(
        "rag.mode = \"off\"\n[cors]\norigins = {origins}\n{}",
        key("acme", "workspace_id = \"*\"")
    );
    Gateway::start(&FakeLightOn::new(), upstream, &text).await
}

/// What a browser asks before it sends a page's request.
async fn preflight(gateway: &Gateway, origin: &str) -> Answer {
    let request = gateway
        .request(Method::OPTIONS, "/v1/chat/completions")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization, content-type, x-stainless-lang",
        );
    Answer::of(request).await
}

#[tokio::test]
async fn a_named_page_may_ask_and_read_the_answer() {
    let upstream = Server::new().then(says("a"));
    let gateway = gateway(
        &upstream,
        "[\"https://app.example\", \"http://localhost:3000\"]",
    )
    .await;

    let before = preflight(&gateway, PAGE).await;
    let request = gateway.chat(&question(json!({}))).bearer_auth("acme");
    let answer = Answer::of(request.header("origin", PAGE)).await;

    assert_eq!(before.status, 200);
    let allowed = |name: &str| before.header(name).unwrap_or_default().to_lowercase();
    assert_eq!(allowed("access-control-allow-origin"), PAGE);
    for header in ["authorization", "content-type", "x-stainless-lang"] {
        assert!(allowed("access-control-allow-headers").contains(header));
    }
    for method in ["get", "post", "delete"] {
        assert!(allowed("access-control-allow-methods").contains(method));
    }
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    let readable = answer.header("access-control-expose-headers").unwrap();
    for header in [
        "x-request-id",
        "x-groundwire-model",
        "server-timing",
        "retry-after",
    ] {
        assert!(readable.contains(header), "{readable}");
    }
    for answer in [&before, &answer] {
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let varies = answer.headers.get_all("vary").iter();
        let mut varies = varies.map(|value| value.to_str().unwrap().to_lowercase());
        assert!(varies.any(|vary| vary.contains("origin")));
    }
}

#[tokio::test]
async fn a_named_page_can_read_why_it_was_refused() {
    let gateway = gateway(&Server::new(), "[\"https://app.example\"]").await;

    let request = gateway.chat(&question(json!({}))).header("origin", PAGE);
    let answer = Answer::of(request).await;

    answer.error(401, "authentication_error", "invalid_api_key");
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
}

#[tokio::test]
async fn any_other_page_learns_nothing() {
    for (origins, origin) in [
        ("[]", PAGE),
        (
            "[\"https://app.example\"]",
            "https://app.example.evil.example",
        ),
        ("[\"https://app.example\"]", "http://app.example"),
        ("[\"https://app.example\"]", "https://app.example:8443"),
        ("[\"https://app.example\"]", "null"),
    ] {
        let gateway = gateway(&Server::new(), origins).await;

        let before = preflight(&gateway, origin).await;
        let request = gateway.chat(&question(json!({}))).header("origin", origin);
        let answer = Answer::of(request).await;

        // As a request of its own it has no key.
        for answer in [before, answer] {
            answer.error(401, "authentication_error", "invalid_api_key");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                None,
                "{origin}"
            );
        }
    }
}

#[tokio::test]
async fn every_page_may_ask_where_the_operator_says_so() {
    let gateway = gateway(&Server::new(), "[\"*\"]").await;

    let before = preflight(&gateway, "https://anything.example").await;

    assert_eq!(before.status, 200);
    assert_eq!(before.header("access-control-allow-origin"), Some("*"));
    assert_eq!(before.header("access-control-allow-credentials"), None);
}
