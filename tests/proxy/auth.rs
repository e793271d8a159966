//! Who may ask: keys, what each may name, and what is never passed on.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    key, question,
    support::{
        answer::Answer, gateway::Gateway, lighton::FakeLightOn, reply::Reply, server::Server,
        upstream::says,
    },
};

/// The answer to a chat request of the key `acme`, which has these settings.
async fn with_key(settings: &str, more: &str, body: &Value, reply: Option<Reply>) -> Answer {
    let lighton = FakeLightOn::new();
    let upstream = reply.into_iter().fold(Server::new(), Server::then);
    let text = format!("rag.mode = \"off\"\n{settings}\n{}", key("acme", more));
    let gateway = Gateway::start(&lighton, &upstream, &text).await;
    Answer::of(gateway.chat(body).bearer_auth("acme")).await
}

#[tokio::test]
async fn a_key_is_taken_as_a_bearer_and_in_api_key() {
    let upstream = Server::new().always("/v1/chat/completions", says("a"));
    let text = format!(
        "rag.mode = \"off\"\n{}",
        key("acme", "workspace_id = \"*\"")
    );
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, &text).await;

    for (name, value) in [
        ("authorization", "Bearer acme"),
        ("authorization", "bearer  acme "),
        ("api-key", "acme"),
    ] {
        let answer = Answer::of(gateway.chat(&question(json!({}))).header(name, value)).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
    }
    for request in upstream.requests() {
        assert_eq!(
            request.header("authorization"),
            Some("Bearer md-secret-93ab")
        );
        assert_eq!(request.header("api-key"), None);
    }
}

#[tokio::test]
async fn no_key_and_a_wrong_one_are_refused_everywhere() {
    let text = key("acme", "workspace_id = \"*\"");
    let gateway = Gateway::start(&FakeLightOn::new(), &Server::new(), &text).await;
    let headers = [
        None,
        Some(("authorization", "Bearer wrong")),
        Some(("authorization", "Basic acme")),
        Some(("authorization", "acme")),
        Some(("api-key", "wrong")),
        Some(("api-key", "")),
    ];

    for (method, path) in [
        (Method::POST, "/v1/chat/completions"),
        (Method::GET, "/v1/models"),
        (Method::GET, "/v1/models/m"),
        (Method::GET, "/sources/512"),
        (Method::GET, "/v1/nothing"),
    ] {
        for header in headers {
            let mut request = gateway.request(method.clone(), path);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let answer = Answer::of(request).await;
            answer.error(401, "authentication_error", "invalid_api_key");
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer"),
                "{path} {header:?}"
            );
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_api_key_is_not_mended_by_a_good_bearer() {
    let text = key("acme", "workspace_id = \"*\"");
    let gateway = Gateway::start(&FakeLightOn::new(), &Server::new(), &text).await;
    let request = gateway
        .chat(&question(json!({})))
        .bearer_auth("acme")
        .header("api-key", "wrong");
    Answer::of(request)
        .await
        .error(401, "authentication_error", "invalid_api_key");
}

#[tokio::test]
async fn a_key_names_only_its_models() {
    let settings = "[models.handbook]\nupstream = \"model\"\nmodel = \"large\"\n[models.other]\nupstream = \"model\"\nmodel = \"small\"\n";
    let more = "workspace_id = \"*\"\nmodels = [\"handbook\", \"model/m\"]";
    for (model, allowed) in [
        ("handbook", true),
        ("m", true),
        ("model/m", true),
        ("other", false),
        ("large", false),
        ("model/large", false),
        ("model/small", false),
    ] {
        let mut body = question(json!({}));
        body["model"] = json!(model);
        let answer = with_key(settings, more, &body, allowed.then(|| says("a"))).await;
        if allowed {
            assert_eq!(answer.status, 200, "{model}");
        } else {
            assert_eq!(
                answer.error(403, "permission_error", "model_not_allowed")["param"],
                "model",
                "{model}"
            );
        }
    }
}

#[tokio::test]
async fn lists_and_close_matches_show_only_what_the_key_may_use() {
    let text = format!(
        "[models.handbook]\nupstream = \"model\"\nmodel = \"large\"\n[models.handbooks-of-others]\nupstream = \"hidden\"\nmodel = \"m\"\n[upstreams.hidden]\nbase_url = \"${{MODEL}}/hidden\"\nmodels = [\"secret-m\"]\n{}{}",
        key("acme", "workspace_id = \"*\"\nupstreams = [\"model\"]"),
        key("one", "workspace_id = \"*\"\nmodels = [\"m\"]"),
    );
    let gateway = Gateway::start(&FakeLightOn::new(), &Server::new(), &text).await;
    let list = async |who: &str| {
        let listed = Answer::of(gateway.request(Method::GET, "/v1/models").bearer_auth(who))
            .await
            .json();
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };

    assert_eq!(list("acme").await, ["handbook", "m"]);
    assert_eq!(list("one").await, ["m"]);
    let hidden = Answer::of(
        gateway
            .request(Method::GET, "/v1/models/secret-m")
            .bearer_auth("acme"),
    )
    .await;
    let error = hidden.error(404, "invalid_request_error", "model_not_found");
    assert!(
        !error["message"].as_str().unwrap().contains("secret-m`?"),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_reaches_only_its_upstreams_fallbacks_included() {
    let text = format!(
        r#"
        rag.mode = "off"
        retry.attempts = 1
        [upstreams.one]
        base_url = "${{ONE}}"
        models = ["a"]
        [upstreams.two]
        base_url = "${{TWO}}"
        models = ["b"]
        [models.handbook]
        upstream = "one"
        model = "a"
        fallback = ["two/b"]
        {}"#,
        key("acme", "workspace_id = \"*\"\nupstreams = [\"one\"]")
    );
    let (one, two) = (Server::new().then(Reply::status(500)), Server::new());
    let gateway = Gateway::of(&text, &[("ONE", &one), ("TWO", &two)]).await;
    let ask = async |model: &str| {
        let mut body = question(json!({}));
        body["model"] = json!(model);
        Answer::of(gateway.chat(&body).bearer_auth("acme")).await
    };

    assert_eq!(ask("handbook").await.status, 500);
    ask("two/b")
        .await
        .error(403, "permission_error", "model_not_allowed");
    ask("b")
        .await
        .error(403, "permission_error", "model_not_allowed");
    ask("c")
        .await
        .error(404, "invalid_request_error", "model_not_found");
}

#[tokio::test]
async fn overrides_are_the_operators_to_allow() {
    let star = "workspace_id = \"*\"\n";
    for (settings, more, rag, refused) in [
        ("", "", json!({"max_results": 3, "mode": "off"}), None),
        (
            "allow_overrides = false",
            "",
            json!({"max_results": 3}),
            Some("rag.max_results"),
        ),
        ("allow_overrides = false", "", json!({}), None),
        (
            "allow_overrides = [\"mode\"]",
            "",
            json!({"mode": "off"}),
            None,
        ),
        (
            "allow_overrides = [\"mode\"]",
            "",
            json!({"mode": "off", "query": "x"}),
            Some("rag.query"),
        ),
        (
            "allow_overrides = false",
            "allow_overrides = [\"query\"]",
            json!({"query": "x"}),
            None,
        ),
        (
            "",
            "allow_overrides = [\"query\"]",
            json!({"mode": "off"}),
            Some("rag.mode"),
        ),
    ] {
        let settings = format!("{settings}\n");
        let body = question(json!({"rag": rag}));
        let answer = with_key(
            &settings,
            &format!("{star}{more}"),
            &body,
            refused.is_none().then(|| says("a")),
        )
        .await;
        match refused {
            None => assert_eq!(
                answer.status,
                200,
                "{settings}{more} {rag}: {}",
                answer.text()
            ),
            Some(param) => assert_eq!(
                answer.error(403, "permission_error", "overrides_not_allowed")["param"],
                param
            ),
        }
    }
}

#[tokio::test]
async fn an_override_by_header_is_one_too() {
    let text = format!(
        "allow_overrides = false\n{}",
        key("acme", "workspace_id = \"*\"")
    );
    let gateway = Gateway::start(&FakeLightOn::new(), &Server::new(), &text).await;
    let request = gateway
        .chat(&question(json!({})))
        .bearer_auth("acme")
        .header("x-rag-mode", "off");
    let error = Answer::of(request)
        .await
        .error(403, "permission_error", "overrides_not_allowed");
    assert_eq!(error["param"], "rag.mode");
}
