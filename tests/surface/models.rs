//! `/v1/models` and what stands behind the names: lists of several upstreams as one, and a fallback when an upstream dies.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Reply as Answer, sha256},
    support::{
        reply::{Gate, Reply},
        server::Server,
    },
};

fn list(models: Value) -> Reply {
    Reply::json(json!({"object": "list", "data": models}))
}

fn ids(list: &Value) -> Vec<&str> {
    let models = list["data"].as_array().unwrap();
    models
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_lists_of_all_upstreams_become_one() {
    let answered = Gate::new();
    let feed = Server::new().then(
        Reply::status(200)
            .header("content-type", "application/json")
            .wait(&answered)
            .piece(
                r#"{"data":[{"id":"moonshotai/Kimi-K2.6","context_length":262144,"pricing":{"prompt":"0.00000066"}},{"id":"same"}]}"#,
            ),
    );
    let paradigm = Server::new().then(list(json!([
        {"name": "Alfred 4.2", "technical_name": "alfred-4.2", "model_type": "Large Language Model", "enabled": true},
        {"id": "", "name": "alfred-ft5", "model_type": "Vision Language Model"},
        {"id": "same"},
        {"owned_by": "nobody"}
    ])));
    let broken = Server::new().then(Reply::body("text/html", "<html>down</html>").with_status(503));
    let gateway = Gateway::start(&format!(
        r#"
        allow_overrides = false
        [rag]
        mode = "off"
        [upstreams.inceptron]
        base_url = "{}/v1"
        api_key = "client"
        headers = {{ "X-Team" = "search" }}
        [upstreams.paradigm]
        base_url = "{}/api/v2"
        api_key = "paradigm-secret"
        [upstreams.broken]
        base_url = "{}/v1"
        [models.handbook]
        upstream = "paradigm"
        model = "alfred-4.2"
        "#,
        feed.url(),
        paradigm.url(),
        broken.url()
    ))
    .await;

    // The first is held back until the last was asked: they are asked at the same time.
    let (listed, ()) = tokio::join!(gateway.get("/v1/models"), async {
        paradigm.received(1).await;
        broken.received(1).await;
        answered.open();
    });

    let listed = listed.ok();
    assert_eq!(
        ids(&listed),
        [
            "handbook",
            "moonshotai/Kimi-K2.6",
            "same",
            "alfred-4.2",
            "alfred-ft5",
            "paradigm/same"
        ]
    );
    assert_eq!(listed["data"][1]["pricing"]["prompt"], "0.00000066");
    assert_eq!(listed["data"][3]["name"], "Alfred 4.2");
    assert_eq!(listed["data"][3]["model_type"], "Large Language Model");
    assert_eq!(
        feed.request().header("authorization"),
        None,
        "it lists without a key"
    );
    assert_eq!(feed.request().header("x-team"), Some("search"));
    assert_eq!(paradigm.request().path, "/api/v2/models");

    // A second list comes from memory, the failed one included for a while.
    gateway.get("/v1/models").await.ok();
    let one = gateway.get("/v1/models/moonshotai/Kimi-K2.6").await.ok();
    assert_eq!(
        (&one["object"], &one["context_length"]),
        (&json!("model"), &json!(262_144))
    );
    assert_eq!(paradigm.requests().len(), 1);
    gateway
        .get("/v1/models/alfred-4.3")
        .await
        .refused(404, "model_not_found", "model");
}

// In the field: models of a provider that lists nothing without a key were found only with the provider's name before them.
#[tokio::test]
async fn an_upstream_with_the_callers_keys_lists_to_each_what_it_may_see() {
    let refused = || Reply::json(json!({"error": {"message": "no key"}})).with_status(401);
    let answer = Reply::json(
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]}),
    );
    let strict = Server::new()
        .then(refused())
        .then(list(json!([{"id": "for-ann"}])))
        .then(answer)
        .then(list(json!([{"id": "for-bob"}])));
    let other = Server::new().then(list(json!([{"id": "m"}])));
    let gateway = Gateway::start(&format!(
        r#"
        allow_overrides = false
        [rag]
        mode = "off"
        [upstreams.strict]
        base_url = "{}/v1"
        api_key = "client"
        [upstreams.other]
        base_url = "{}/v1"
        [[keys]]
        name = "acme"
        sha256 = "{}"
        workspace_id = "*"
        "#,
        strict.url(),
        other.url(),
        sha256("gateway-key")
    ))
    .await;
    let listed = async |authorization: Option<&str>| {
        let mut request = gateway.request(Method::GET, "/v1/models");
        request = request.header("api-key", "gateway-key");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        Answer::of(request).await.ok()
    };

    // The first look finds out that a key is wanted; then each caller's is used, once for a while.
    assert_eq!(ids(&listed(None).await), ["m"]);
    assert_eq!(ids(&listed(Some("Bearer ann")).await), ["for-ann", "m"]);
    assert_eq!(ids(&listed(Some("Bearer ann")).await), ["for-ann", "m"]);
    let asked = gateway
        .request(Method::POST, "/v1/chat/completions")
        .header("api-key", "gateway-key")
        .header("authorization", "Bearer ann")
        .json(&json!({"model": "for-ann", "messages": [{"role": "user", "content": "q"}]}));
    Answer::of(asked).await.ok();
    assert_eq!(ids(&listed(Some("Bearer bob")).await), ["for-bob", "m"]);
    // A key of the gateway's goes nowhere, and nobody sees what others may.
    assert_eq!(ids(&listed(Some("Bearer gateway-key")).await), ["m"]);
    assert_eq!(ids(&listed(None).await), ["m"]);

    let sent: Vec<_> = strict
        .requests()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    let ann = Some("Bearer ann".to_owned());
    assert_eq!(
        sent,
        [None, ann.clone(), ann, Some("Bearer bob".to_owned())]
    );
}

#[tokio::test]
async fn no_provider_is_shown_the_key_for_another() {
    let refused = || Reply::json(json!({"error": {"message": "no key"}})).with_status(401);
    let (one, two) = (Server::new().then(refused()), Server::new().then(refused()));
    let gateway = Gateway::start(&format!(
        r#"
        allow_overrides = false
        [rag]
        mode = "off"
        [upstreams.one]
        base_url = "{}/v1"
        api_key = "client"
        [upstreams.two]
        base_url = "{}/v1"
        api_key = "client"
        "#,
        one.url(),
        two.url()
    ))
    .await;

    let listed = gateway
        .request(Method::GET, "/v1/models")
        .header("authorization", "Bearer key-for-one");
    let listed = Answer::of(listed).await.ok();

    assert_eq!(ids(&listed), [""; 0]);
    for upstream in [&one, &two] {
        assert_eq!(upstream.request().header("authorization"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_dies_takes_no_request_with_it_that_had_no_answer_yet() {
    const REQUESTS: usize = 200;
    let path = "/v1/chat/completions";
    let one = Server::new().always(path, Reply::silence());
    let two = Server::new().always(
        path,
        Reply::json(json!({
            "id": "x", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "from two"}, "finish_reason": "stop"}]
        })),
    );
    let gateway = Gateway::start(&format!(
        r#"
        allow_overrides = false
        [rag]
        mode = "off"
        [retry]
        attempts = 2
        max_wait = "10ms"
        [upstreams.one]
        base_url = "{}/v1"
        [upstreams.two]
        base_url = "{}/v1"
        [models.safe]
        upstream = "one"
        model = "m"
        fallback = ["two/m"]
        "#,
        one.url(),
        two.url()
    ))
    .await;
    let ask = json!({"model": "safe", "messages": [{"role": "user", "content": "q"}]});

    let answers = join_all((0..REQUESTS).map(|_| gateway.post(path, ask.clone())));
    let killing = async {
        one.received(REQUESTS).await;
        drop(one);
    };
    let (answers, ()) = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(answers, killing)
    })
    .await
    .unwrap();

    for answer in &answers {
        assert_eq!(answer.ok()["choices"][0]["message"]["content"], "from two");
    }
    assert_eq!(two.requests().len(), REQUESTS);
}
