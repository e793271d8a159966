//! The life of a key: replaced, ended, turned off.

use serde_json::json;

use crate::{
    question,
    support::{
        answer::Answer, gateway::Gateway, lighton::FakeLightOn, server::Server, upstream::says,
    },
};

use sha2::{Digest, Sha256};

fn digest(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A gateway with one key, whose texts are `old` and `new`, and these settings of it.
async fn gateway(upstream: &Server, more: &str) -> Gateway {
    let text = format!(
        "rag.mode = \"off\"\n[[keys]]\nname = \"acme\"\nsha256 = [\"{}\", \"{}\"]\nworkspace_id = \"*\"\n{more}\n",
        digest("old"),
        digest("new")
    );
    Gateway::start(&FakeLightOn::new(), upstream, &text).await
}

async fn ask(gateway: &Gateway, key: &str) -> Answer {
    Answer::of(gateway.chat(&question(json!({}))).bearer_auth(key)).await
}

#[tokio::test]
async fn a_key_that_is_being_replaced_opens_by_both_of_its_texts() {
    let upstream = Server::new().then(says("a")).then(says("b"));
    let gateway = gateway(&upstream, "expires = 2099-12-31\ndisabled = false").await;

    for key in ["old", "new"] {
        assert_eq!(ask(&gateway, key).await.status, 200, "{key}");
    }
    ask(&gateway, "older")
        .await
        .error(401, "authentication_error", "invalid_api_key");
}

#[tokio::test]
async fn a_key_that_has_ended_opens_nothing_and_says_so() {
    for end in [
        "2020-12-31",
        "\"2020-12-31\"",
        "2020-12-31T23:59:59Z",
        "\"2020-12-31T23:59:59+02:00\"",
    ] {
        let gateway = gateway(&Server::new(), &format!("expires = {end}")).await;
        for key in ["old", "new"] {
            let answer = ask(&gateway, key).await;
            let error = answer.error(401, "authentication_error", "invalid_api_key");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("expired"), "{end}: {message}");
        }
        let source = gateway
            .request(reqwest::Method::GET, "/sources/512")
            .header("api-key", "new");
        let answer = Answer::of(source).await;
        answer.error(401, "authentication_error", "invalid_api_key");
    }
}

#[tokio::test]
async fn a_key_works_to_the_end_of_its_last_day() {
    // The day is over when the next one begins in UTC, so a key that ends today still opens, at whatever time this runs.
    let today = groundwire::openai::unix_seconds() / 86_400;
    let upstream = Server::new().always("/v1/chat/completions", says("a"));
    let on = |day: u64| {
        let second = i64::try_from(day * 86_400).unwrap();
        let moment = jiff::Timestamp::from_second(second).unwrap();
        format!("expires = \"{}\"", moment.strftime("%Y-%m-%d"))
    };

    let tomorrow = gateway(&upstream, &on(today + 1)).await;
    let yesterday = gateway(&upstream, &on(today - 1)).await;

    assert_eq!(ask(&tomorrow, "new").await.status, 200);
    assert_eq!(ask(&yesterday, "new").await.status, 401);
}

#[tokio::test]
async fn a_disabled_key_opens_nothing_and_says_so() {
    let gateway = gateway(&Server::new(), "disabled = true").await;

    let answer = ask(&gateway, "new").await;

    let error = answer.error(401, "authentication_error", "invalid_api_key");
    assert!(error["message"].as_str().unwrap().contains("disabled"));
}

#[tokio::test]
async fn a_disabled_key_is_still_never_passed_on() {
    let text = format!(
        "rag.mode = \"off\"\n[upstreams.theirs]\nbase_url = \"${{MODEL}}/v1\"\napi_key = \"client\"\nmodels = [\"m\"]\n{}\n[[keys]]\nname = \"off\"\nsha256 = \"{}\"\nworkspace_id = \"*\"\ndisabled = true\n",
        crate::key("acme", "workspace_id = \"*\""),
        digest("off")
    );
    let upstream = Server::new();
    let gateway = Gateway::of(&text, &[("MODEL", &upstream)]).await;
    let request = gateway.chat(&question(json!({}))).header("api-key", "acme");

    let answer = Answer::of(request.bearer_auth("off")).await;

    answer.error(401, "authentication_error", "invalid_api_key");
    assert_eq!(upstream.connections(), 0);
}
