//! What is refused, what is taken, what is listed.

use super::*;

#[tokio::test]
async fn bad_requests_are_refused_with_the_field_at_fault() {
    let service = Service::start().await;
    let good = ask("sandbox-extractive", "What?");
    let tool_message = json!([{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "a", "content": "x"}]);
    let unanswered = json!([{"role": "assistant", "content": null, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "user", "content": "x"}]);
    for (change, param) in [
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "robot", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "poem"}]}]}),
            "messages[0].content[0].type",
        ),
        (json!({"messages": tool_message}), "messages[1]"),
        (json!({"messages": unanswered}), "messages[1]"),
        (json!({"model": null}), "model"),
        (json!({"tools": []}), "tools"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}),
            "tools[0].function.name",
        ),
        (json!({"tool_choice": "auto"}), "tool_choice"),
        (
            json!({"tools": [search_tool()], "tool_choice": {"type": "function", "function": {"name": "other"}}}),
            "tool_choice",
        ),
        (
            json!({"stream_options": {"include_usage": true}}),
            "stream_options",
        ),
        (json!({"stream": "yes"}), "stream"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (
            json!({"max_completion_tokens": -1}),
            "max_completion_tokens",
        ),
        (json!({"n": 129}), "n"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stop": ""}), "stop"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"seed": "x"}), "seed"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
            "response_format",
        ),
    ] {
        let (status, _, at) = service.refusal(&with(good.clone(), &change)).await;
        assert_eq!(
            (status, at),
            (StatusCode::BAD_REQUEST, json!(param)),
            "{change}"
        );
    }
    let long = service
        .refusal(&with(
            good,
            &json!({"messages": [{"role": "user", "content": "word ".repeat(140_000)}]}),
        ))
        .await;
    assert_eq!(
        (long.0, long.1.as_str()),
        (StatusCode::BAD_REQUEST, "context_length_exceeded")
    );
}

#[tokio::test]
async fn what_is_odd_but_allowed_is_answered() {
    let service = Service::start().await;
    for change in [
        json!({"messages": [{"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "x"}]}),
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": null}, {"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
        json!({"seed": -4, "logit_bias": {}, "unheard_of": true, "tools": null, "tool_choice": "none", "stop": null, "max_tokens": u64::MAX}),
    ] {
        let body = service
            .chat(&with(ask("sandbox-extractive", "What?"), &change))
            .await;
        assert!(
            body["choices"][0]["message"]["content"].is_string(),
            "{change}"
        );
    }
}

#[tokio::test]
async fn bodies_that_are_no_object_and_unknown_models_and_paths_are_refused() {
    let service = Service::start().await;

    assert_eq!(service.refusal(&json!([1])).await.1, "invalid_json");
    assert_eq!(
        service.refusal(&ask("gpt-4o", "x")).await.0,
        StatusCode::NOT_FOUND
    );
    for (path, status) in [
        ("/v1/nothing", StatusCode::NOT_FOUND),
        ("/v1/models", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let response = service.post(path, &json!({})).await;
        assert_eq!(response.status(), status);
        assert!(parse(&response.text().await.expect("a body"))["error"]["code"].is_string());
    }
}

#[tokio::test]
async fn models_are_listed_with_what_they_do_and_found_by_id() {
    let service = Service::start().await;
    let get = async |path: &str| {
        service
            .client
            .get(format!("{}{path}", service.base))
            .send()
            .await
            .expect("an answer")
    };

    let list = parse(&get("/v1/models").await.text().await.expect("a body"));

    let models = list["data"].as_array().expect("models");
    assert_eq!(models[0]["id"], "sandbox-extractive");
    assert_eq!(models.len(), Model::ALL.len());
    for model in models {
        assert!(
            model["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.'))
        );
        let one = get(&format!(
            "/v1/models/{}",
            model["id"].as_str().expect("an id")
        ))
        .await;
        assert_eq!(&parse(&one.text().await.expect("a body")), model);
    }
    assert_eq!(
        get("/v1/models/not/there").await.status(),
        StatusCode::NOT_FOUND
    );
}
