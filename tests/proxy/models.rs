//! What a client can name as `model`, and where it goes.

use serde_json::{Value, json};

use crate::{
    QUESTION,
    support::{
        gateway::Gateway, lighton::FakeLightOn, reply::Reply, server::Server, upstream::says,
    },
};

/// Two upstreams that list their models, in this order, and a name of the operator's.
const TWO: &str = r#"
    rag.mode = "off"
    retry.attempts = 1
    [upstreams.one]
    base_url = "${ONE}/v1"
    api_key = "one-secret-key"
    [upstreams.two]
    base_url = "${TWO}/api/v2/"
    api_key = "two-secret-key"
    [models.handbook]
    upstream = "two"
    model = "org/large"
"#;

fn list(data: Value) -> Reply {
    Reply::json(json!({"object": "list", "data": data}))
}

async fn gateway(more: &str, one: &Server, two: &Server) -> Gateway {
    Gateway::of(&format!("{more}\n{TWO}"), &[("ONE", one), ("TWO", two)]).await
}

/// Asks for `model`; gives the status, and which upstream got which name.
async fn placed(gateway: &Gateway, model: &str) -> (u16, Option<String>, Option<String>) {
    let body = json!({"model": model, "messages": [{"role": "user", "content": QUESTION}]});
    let answer = gateway.ask(&body).await;
    let header = |name: &str| answer.header(name).map(str::to_owned);
    (
        answer.status,
        header("x-groundwire-upstream"),
        header("x-groundwire-model"),
    )
}

#[tokio::test]
async fn the_list_holds_the_operators_names_and_then_each_upstreams_own() {
    let extra = json!({"id": "nvidia/llama-3.3-70b-instruct-fp8", "object": "model", "created": 7, "owned_by": "nvidia", "max_model_len": 8192, "permission": [{"x": 1.5}]});
    // Paradigm's own shape: no `id`.
    let paradigm = json!({"object": "model", "name": "Alfred 4.2", "technical_name": "alfred-ft5", "model_type": "Large language model", "deployment_type": "Sagemaker", "enabled": true});
    let one = Server::new().on(
        "GET /v1/models",
        list(json!([extra, {"id": "same"}, "nonsense", {"id": ""}])),
    );
    let two = Server::new().on(
        "GET /api/v2/models",
        list(json!([paradigm, {"id": "same", "object": "model"}])),
    );
    let gateway = gateway("", &one, &two).await;

    let listed = gateway.get("/v1/models").await.json();

    assert_eq!(listed["object"], "list");
    let data = listed["data"].as_array().unwrap();
    let ids: Vec<&str> = data
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "handbook",
            "nvidia/llama-3.3-70b-instruct-fp8",
            "same",
            "alfred-ft5",
            "two/same"
        ]
    );
    for entry in data {
        assert_eq!(entry["object"], "model");
        assert!(
            entry["created"].is_u64() && entry["owned_by"].is_string(),
            "{entry}"
        );
    }
    assert_eq!(data[1], extra);
    for key in [
        "name",
        "technical_name",
        "model_type",
        "deployment_type",
        "enabled",
    ] {
        assert_eq!(data[3][key], paradigm[key]);
    }
    assert_eq!(
        (
            one.request().header("authorization"),
            two.request().header("authorization")
        ),
        (Some("Bearer one-secret-key"), Some("Bearer two-secret-key"))
    );

    // The lists are remembered: a second request to either would find no line in its script.
    for entry in data {
        let id = entry["id"].as_str().unwrap();
        assert_eq!(
            &gateway.get(&format!("/v1/models/{id}")).await.json(),
            entry
        );
    }
    assert_eq!(
        gateway
            .get("/v1/models/nvidia%2Fllama-3.3-70b-instruct-fp8")
            .await
            .json(),
        extra
    );
    let unknown = gateway
        .get("/v1/models/nvidia/llama-3.3-70b-instruct")
        .await;
    let error = unknown.error(404, "invalid_request_error", "model_not_found");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("`nvidia/llama-3.3-70b-instruct-fp8`")
    );
}

#[tokio::test]
async fn an_upstream_that_fails_to_list_is_left_out() {
    for reply in [
        Reply::status(500),
        Reply::closed(),
        Reply::body("text/html", "<html>"),
        Reply::json(json!({"data": 7})),
        Reply::status(401),
    ] {
        let one = Server::new().then(reply);
        let two = Server::new().then(Reply::json(json!([{"id": "bare"}])));
        let gateway = gateway("", &one, &two).await;

        let listed = gateway.get("/v1/models").await.json();

        let ids: Vec<&Value> = listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["id"])
            .collect();
        assert_eq!(ids, ["handbook", "bare"]);
    }
}

#[tokio::test]
async fn a_model_is_sought_by_name_then_prefix_then_lists_then_the_default() {
    let one = Server::new()
        .on(
            "GET /v1/models",
            list(json!([{"id": "handbook"}, {"id": "shared"}, {"id": "two/odd"}])),
        )
        .always("POST /v1/chat/completions", says("a"));
    let two = Server::new()
        .on(
            "GET /api/v2/models",
            list(json!([{"id": "shared"}, {"id": "own"}])),
        )
        .always("POST /api/v2/chat/completions", says("a"));
    let gateway = gateway("default_upstream = \"two\"", &one, &two).await;

    for (model, upstream, name) in [
        ("handbook", "two", "org/large"),
        ("one/handbook", "one", "handbook"),
        ("two/odd", "two", "odd"),
        ("one/org/deep/name", "one", "org/deep/name"),
        ("shared", "one", "shared"),
        ("own", "two", "own"),
        ("unlisted", "two", "unlisted"),
        ("org/unlisted", "two", "org/unlisted"),
    ] {
        assert_eq!(
            placed(&gateway, model).await,
            (200, Some(upstream.to_owned()), Some(name.to_owned())),
            "{model}"
        );
    }
    let sent: Vec<Value> = one
        .requests()
        .iter()
        .chain(&two.requests())
        .filter(|request| request.method == "POST")
        .map(|request| request.json()["model"].clone())
        .collect();
    assert_eq!(
        sent,
        [
            "handbook",
            "org/deep/name",
            "shared",
            "org/large",
            "odd",
            "own",
            "unlisted",
            "org/unlisted"
        ]
    );
}

#[tokio::test]
async fn an_unknown_model_names_close_ones() {
    let one = Server::new().on(
        "GET /v1/models",
        list(json!([{"id": "llama-3.3-70b-instruct"}])),
    );
    let two = Server::new().on("GET /api/v2/models", list(json!([])));
    let gateway = gateway("", &one, &two).await;

    for (model, hint) in [
        ("llama-3.3-70b", "`llama-3.3-70b-instruct`"),
        ("handbok", "`handbook`"),
        ("zzz", "GET /v1/models"),
        ("two/", "GET /v1/models"),
    ] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": QUESTION}]});
        let error = gateway
            .ask(&body)
            .await
            .error(404, "invalid_request_error", "model_not_found");
        assert_eq!(error["param"], "model");
        assert!(error["message"].as_str().unwrap().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn the_only_upstream_is_the_default() {
    let upstream = Server::new().then(says("a"));
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, "rag.mode = \"off\"").await;
    assert_eq!(
        placed(&gateway, "org/anything").await,
        (
            200,
            Some("model".to_owned()),
            Some("org/anything".to_owned())
        )
    );
}

#[tokio::test]
async fn models_written_down_are_not_asked_for() {
    let upstream = Server::new();
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, "").await;

    let listed = gateway.get("/v1/models").await.json();

    assert_eq!(
        (&listed["data"][0]["id"], &listed["data"][0]["owned_by"]),
        (&json!("m"), &json!("model"))
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_headers_of_an_upstream_go_with_each_request() {
    let upstream = Server::new().then(says("a"));
    let text = "rag.mode = \"off\"\n[upstreams.gpu]\nbase_url = \"${GPU}\"\nheaders = { \"X-Team\" = \"search\" }\n";
    let gateway = Gateway::of(text, &[("GPU", &upstream)]).await;

    assert_eq!(placed(&gateway, "m").await.0, 200);

    let sent = upstream.request();
    assert_eq!(
        (sent.header("x-team"), sent.header("authorization")),
        (Some("search"), None)
    );
    assert_eq!(sent.path, "/chat/completions");
}
