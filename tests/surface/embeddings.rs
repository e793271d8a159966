//! `/v1/embeddings`: routed, forwarded and answered byte for byte.

use serde_json::json;

use crate::{
    gateway::Gateway,
    support::{reply::Reply, server::Server},
};

/// A gateway over the upstreams `one` and `two`, with a named model that falls back from one to the other.
async fn gateway(one: &Server, two: &Server) -> Gateway {
    Gateway::start(&format!(
        r#"
        allow_overrides = false
        default_upstream = "one"
        [rag]
        mode = "off"
        [retry]
        attempts = 2
        max_wait = "1ms"
        [upstreams.one]
        base_url = "{}/v1"
        api_key = "secret-one"
        [upstreams.two]
        base_url = "{}/v1"
        api_key = "secret-two"
        [models.vectors]
        upstream = "one"
        model = "embed-one"
        fallback = ["two/embed-two"]
        "#,
        one.url(),
        two.url()
    ))
    .await
}

#[tokio::test]
async fn every_form_of_input_goes_out_as_it_came_in() {
    let answer = r#"{ "object":"list","data":[{"object":"embedding","index":0,"embedding":"AAAAPwAA0L8=" }],"model":"e","usage":{"prompt_tokens":1.0e0,"total_tokens":1}} "#;
    let one = Server::new().always("/v1/embeddings", Reply::body("application/json", answer));
    let two = Server::new();
    let gateway = gateway(&one, &two).await;

    for input in [r#""a\u0062""#, r#"["a" , "b"]"#, "[1,2 , 3]", "[[1],[2e0]]"] {
        let body = format!(
            r#"{{ "input":{input}, "model": "one/e", "encoding_format":"base64","dimensions": 2.560e2 }}"#
        );

        let reply = gateway.post_text("/v1/embeddings", &body).await;

        assert_eq!((reply.status, reply.body.as_str()), (200, answer));
        let sent = one.requests().pop().unwrap();
        let expected = body.replace(r#""one/e""#, r#""e""#);
        assert_eq!(String::from_utf8(sent.body.clone()).unwrap(), expected);
        assert_eq!(sent.header("authorization"), Some("Bearer secret-one"));
        assert_eq!(reply.headers["x-groundwire-upstream"], "one");
        assert_eq!(reply.headers["x-groundwire-mode"], "off");
    }
}

#[tokio::test]
async fn a_failing_upstream_is_asked_again_and_then_the_fallback() {
    let one = Server::new()
        .then(Reply::status(503))
        .then(Reply::status(503));
    let two = Server::new().then(Reply::json(json!({"object": "list", "data": []})));
    let gateway = gateway(&one, &two).await;

    let reply = gateway
        .post("/v1/embeddings", json!({"model": "vectors", "input": "a"}))
        .await;

    assert_eq!(reply.ok()["object"], "list");
    assert_eq!(one.requests().len(), 2);
    assert_eq!(two.request().json()["model"], "embed-two");
    assert_eq!(reply.headers["x-groundwire-model"], "embed-two");
}

#[tokio::test]
async fn faults_have_openais_shape() {
    let paradigms = json!({"code": 404, "error": "not_found", "detail": "Model not found."});
    let one = Server::new()
        .then(Reply::json(paradigms).with_status(404))
        .then(Reply::body("text/html", "<html>no</html>"))
        .then(Reply::body("text/html", "<html>no</html>"));
    let two = Server::new();
    let gateway = gateway(&one, &two).await;
    let ask = json!({"model": "one/e", "input": "a"});

    let unknown = gateway.post("/v1/embeddings", ask.clone()).await;
    unknown.refused(404, "not_found", "");
    assert_eq!(unknown.json()["error"]["message"], "Model not found.");
    gateway
        .post("/v1/embeddings", ask)
        .await
        .refused(502, "upstream_invalid_response", "");
    for (body, code, param) in [
        ("{", "invalid_json", ""),
        (r#"{"input":"a"}"#, "missing_field", "model"),
        (r#"{"model":"one/e"}"#, "missing_field", "input"),
    ] {
        gateway
            .post_text("/v1/embeddings", body)
            .await
            .refused(400, code, param);
    }
    gateway
        .get("/v1/embeddings")
        .await
        .refused(405, "method_not_allowed", "");
}
