//! One table: cause, status, type, code, and what stands beside them.

use reqwest::Method;
use serde_json::json;

use crate::{
    question,
    support::{
        answer::Answer, gateway::Gateway, lighton::FakeLightOn, reply::Gate, server::Server,
        upstream::says,
    },
};

/// A gateway whose neighbours must not be asked.
async fn lonely(settings: &str) -> Gateway {
    Gateway::start(&FakeLightOn::new(), &Server::new(), settings).await
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let gateway = lonely("").await;
    for body in [
        "",
        "{",
        "nul",
        "[]",
        "\"x\"",
        "1",
        "{}{}",
        "{\"model\":\"m\",}",
        "{\"model\":\u{1}}",
    ] {
        let answer = Answer::of(gateway.post(body)).await;
        answer.error(400, "invalid_request_error", "invalid_json");
    }
    let answer = Answer::of(gateway.post(b"{\"model\":\"\xFF\"}".to_vec())).await;
    answer.error(400, "invalid_request_error", "invalid_json");
    let deep = format!(
        "{{\"model\":\"m\",\"messages\":[],\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(Answer::of(gateway.post(deep)).await.status, 400);
}

#[tokio::test]
async fn each_field_at_fault_is_named() {
    let gateway = lonely("").await;
    let user = r#""messages":[{"role":"user","content":"a"}]"#;
    for (body, code, param) in [
        (format!("{{{user}}}"), "missing_field", "model"),
        (
            format!("{{\"model\":null,{user}}}"),
            "missing_field",
            "model",
        ),
        (r#"{"model":"m"}"#.to_owned(), "missing_field", "messages"),
        (
            r#"{"model":"m","messages":null}"#.to_owned(),
            "missing_field",
            "messages",
        ),
        (format!("{{\"model\":7,{user}}}"), "invalid_value", "model"),
        (
            format!("{{\"model\":\"\",{user}}}"),
            "invalid_value",
            "model",
        ),
        (
            r#"{"model":"m","messages":"hi"}"#.to_owned(),
            "invalid_value",
            "messages",
        ),
        (
            r#"{"model":"m","messages":[]}"#.to_owned(),
            "invalid_value",
            "messages",
        ),
        (
            r#"{"model":"m","messages":[1]}"#.to_owned(),
            "invalid_value",
            "messages[0]",
        ),
        (
            r#"{"model":"m","messages":[{"content":"a"}]}"#.to_owned(),
            "missing_field",
            "messages[0].role",
        ),
        (
            format!("{{\"model\":\"m\",{user},\"stream\":\"yes\"}}"),
            "invalid_value",
            "stream",
        ),
        (
            format!("{{\"model\":\"m\",{user},\"stream_options\":7}}"),
            "invalid_value",
            "stream_options",
        ),
        (
            format!("{{\"model\":\"m\",{user},\"n\":0}}"),
            "invalid_value",
            "n",
        ),
        (
            format!("{{\"model\":\"m\",{user},\"model\":\"n\"}}"),
            "invalid_value",
            "model",
        ),
        (
            format!("{{\"model\":\"m\",{user},\"x\":1,\"\\u0078\":2}}"),
            "invalid_value",
            "x",
        ),
    ] {
        let answer = Answer::of(gateway.post(body.clone())).await;
        assert_eq!(
            answer.error(400, "invalid_request_error", code)["param"],
            param,
            "{body}"
        );
    }
}

#[tokio::test]
async fn each_option_of_rag_at_fault_is_named() {
    let gateway = lonely("").await;
    for (rag, param) in [
        (json!([]), "rag"),
        (json!("off"), "rag"),
        (json!({"mode": "on"}), "rag.mode"),
        (json!({"max_results": 0}), "rag.max_results"),
        (json!({"max_results": 101}), "rag.max_results"),
        (json!({"max_results": "5"}), "rag.max_results"),
        (json!({"max_results": 1.5}), "rag.max_results"),
        (json!({"workspace_id": []}), "rag.workspace_id"),
        (json!({"workspace_id": "42"}), "rag.workspace_id"),
        (json!({"workspace_id": [42.5]}), "rag.workspace_id"),
        (json!({"workspace_id": -42}), "rag.workspace_id"),
        (json!({"workspace_id": [42, 0]}), "rag.workspace_id"),
        (json!({"tag_id": []}), "rag.tag_id"),
        (json!({"file_id": ["x"]}), "rag.file_id"),
        (json!({"file_id": 1, "workspace_id": 42}), "rag.file_id"),
        (json!({"content_type": []}), "rag.content_type"),
        (json!({"attribute": 7}), "rag.attribute"),
        (json!({"search_mode": "audio"}), "rag.search_mode"),
        (
            json!({"relevance_scoring": "much"}),
            "rag.relevance_scoring",
        ),
        (json!({"query": ""}), "rag.query"),
        (json!({"query": 7}), "rag.query"),
        (json!({"citations": "yes"}), "rag.citations"),
        (json!({"min_relevance": 2}), "rag.min_relevance"),
        (json!({"events": 1}), "rag.events"),
        (json!({"max_result": 5}), "rag.max_result"),
        (json!({"template": "x"}), "rag.template"),
    ] {
        let answer = gateway.ask(&question(json!({"rag": rag}))).await;
        assert_eq!(
            answer.error(400, "invalid_request_error", "invalid_value")["param"],
            param,
            "{rag}"
        );
    }
    let close = gateway
        .ask(&question(json!({"rag": {"max_result": 5}})))
        .await;
    assert!(close.text().contains("rag.max_results"), "{}", close.text());
}

#[tokio::test]
async fn a_header_at_fault_is_named_by_the_option_it_stands_for() {
    let gateway = lonely("").await;
    for (name, value, param) in [
        ("x-rag-mode", "on", "rag.mode"),
        ("x-rag-mode", "", "rag.mode"),
        ("x-rag-workspace-id", "42,x", "rag.workspace_id"),
        ("x-rag-workspace-id", "", "rag.workspace_id"),
        ("x-rag-workspace-id", "42,-1", "rag.workspace_id"),
        ("x-rag-workspace-id", "0", "rag.workspace_id"),
        ("x-rag-max-results", "0", "rag.max_results"),
        ("x-rag-max-results", "many", "rag.max_results"),
    ] {
        let answer = Answer::of(gateway.chat(&question(json!({}))).header(name, value)).await;
        let error = answer.error(400, "invalid_request_error", "invalid_value");
        assert_eq!(error["param"], param, "{name}: {value}");
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
    }
    let twice = gateway
        .chat(&question(json!({})))
        .header("x-rag-mode", "off")
        .header("x-rag-mode", "inject");
    Answer::of(twice)
        .await
        .error(400, "invalid_request_error", "invalid_value");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let gateway = lonely("[limits]\nrequest_body = \"2KB\"\n").await;
    let body = question(json!({"x": "y".repeat(4000)})).to_string();
    let announced = Answer::of(gateway.post(body.clone())).await;
    announced.error(413, "invalid_request_error", "request_too_large");

    let pieces: Vec<Result<String, std::io::Error>> = body
        .as_bytes()
        .chunks(500)
        .map(|piece| Ok(String::from_utf8_lossy(piece).into_owned()))
        .collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let answer = Answer::of(gateway.post(chunked)).await;
    answer.error(413, "invalid_request_error", "request_too_large");
}

#[tokio::test]
async fn what_is_not_json_by_its_own_words_is_refused() {
    let gateway = lonely("").await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
    ] {
        let request = gateway
            .request(Method::POST, "/v1/chat/completions")
            .header("content-type", kind)
            .body(question(json!({})).to_string());
        Answer::of(request)
            .await
            .error(415, "invalid_request_error", "unsupported_media_type");
    }
    let packed = gateway.post("x").header("content-encoding", "gzip");
    Answer::of(packed)
        .await
        .error(415, "invalid_request_error", "unsupported_media_type");
}

#[tokio::test]
async fn json_is_known_with_its_parameters_and_in_any_case() {
    let upstream = Server::new().then(says("a")).then(says("b"));
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, "rag.mode = \"off\"").await;
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let request = gateway
            .request(Method::POST, "/v1/chat/completions")
            .header("content-type", kind)
            .body(question(json!({})).to_string());
        assert_eq!(Answer::of(request).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn an_unknown_path_says_where_to_look() {
    let gateway = lonely("").await;
    for (method, path, hint) in [
        (Method::GET, "/", "/v1"),
        (Method::POST, "/chat/completions", "/v1"),
        (Method::GET, "/v1/nothing", "README"),
        (Method::POST, "/v1/responses", "/v1/chat/completions"),
        (Method::GET, "/v1/responses", "/v1/chat/completions"),
        (Method::GET, "/v1/responses/resp_1", "/v1/chat/completions"),
    ] {
        let answer = Answer::of(gateway.request(method.clone(), path)).await;
        let error = answer.error(404, "invalid_request_error", "not_found");
        assert!(
            error["message"].as_str().unwrap().contains(hint),
            "{method} {path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let gateway = lonely("").await;
    for (method, path, allowed) in [
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::DELETE, "/v1/chat/completions", "POST"),
        (Method::POST, "/v1/models", "GET,HEAD"),
        (Method::PUT, "/v1/models/a/b", "GET,HEAD"),
        (Method::POST, "/healthz", "GET,HEAD"),
        (Method::POST, "/sources/512", "GET,HEAD"),
    ] {
        let answer = Answer::of(gateway.request(method.clone(), path)).await;
        answer.error(405, "invalid_request_error", "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn beyond_the_places_there_are_requests_are_turned_away() {
    let gate = Gate::new();
    let upstream = Server::new().then(says("a").head_after(&gate));
    let gateway = Gateway::start(
        &FakeLightOn::new(),
        &upstream,
        "rag.mode = \"off\"\n[limits]\nconcurrent_requests = 1\n",
    )
    .await;

    let body = question(json!({}));
    let (first, ()) = tokio::join!(gateway.ask(&body), async {
        upstream.received(1).await;
        let second = gateway.ask(&body).await;
        second.error(503, "overloaded_error", "overloaded");
        assert!(second.header("retry-after").is_some());
        assert_eq!(
            gateway.get("/healthz").await.status,
            200,
            "probes need no place"
        );
        gate.open();
    });

    assert_eq!(first.status, 200);
}
