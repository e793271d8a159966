//! `/v1/models` and what stands behind the names: lists of several upstreams as one, and a fallback when an upstream dies.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    gateway::Gateway,
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
        {"name": "alfred-ft5", "model_type": "Vision Language Model"},
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
