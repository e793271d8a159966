//! The service over real sockets.

use std::collections::HashSet;

use futures_util::StreamExt;
use reqwest::StatusCode;

use super::*;

/// The service on a free port; it ends with the test's runtime.
struct Service {
    base: String,
    client: reqwest::Client,
}

impl Service {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        #[expect(
            clippy::disallowed_methods,
            reason = "the server runs beside the test and ends with its runtime"
        )]
        tokio::spawn(async move { axum::serve(listener, router()).await });
        // Without a provider of cryptography no client can be built, though none of these addresses uses any.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            base,
            client: reqwest::Client::new(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.client
            .post(format!("{}{path}", self.base))
            .body(body.to_string())
            .send()
            .await
            .expect("an answer")
    }

    async fn chat(&self, body: &Value) -> Value {
        let response = self.post("/v1/chat/completions", body).await;
        assert_eq!(response.status(), StatusCode::OK);
        parse(&response.text().await.expect("a body"))
    }

    async fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = self.post(path, &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.headers()["content-type"]
                .to_str()
                .expect("text")
                .starts_with("text/event-stream")
        );
        events(&response.text().await.expect("a body"))
    }

    async fn refusal(&self, body: &Value) -> (StatusCode, String, Value) {
        let response = self.post("/v1/chat/completions", body).await;
        let status = response.status();
        let error = parse(&response.text().await.expect("a body"))["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{error}");
        assert!(
            error["message"].is_string() && error.get("param").is_some(),
            "{error}"
        );
        (
            status,
            error["code"].as_str().unwrap_or_default().to_owned(),
            error["param"].clone(),
        )
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The chunks of a stream, which must end in `[DONE]`.
fn events(text: &str) -> Vec<Value> {
    let mut events: Vec<&str> = text
        .split_terminator("\n\n")
        .map(|event| {
            event
                .strip_prefix("data: ")
                .expect("an event is one data line")
        })
        .collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    events.into_iter().map(parse).collect()
}

/// Puts the chunks of choice `index` together: content, reasoning, calls, finish reason.
fn gathered(chunks: &[Value], index: u64) -> Value {
    let (mut content, mut reasoning, mut calls, mut finish) = (
        String::new(),
        String::new(),
        Vec::<Value>::new(),
        Value::Null,
    );
    for choice in chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().expect("choices"))
        .filter(|choice| choice["index"] == index)
    {
        assert!(
            finish.is_null(),
            "nothing comes after the finish reason: {choice}"
        );
        let delta = &choice["delta"];
        content.push_str(delta["content"].as_str().unwrap_or_default());
        reasoning.push_str(delta["reasoning"].as_str().unwrap_or_default());
        for fragment in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = usize::try_from(fragment["index"].as_u64().expect("an index")).expect("small");
            if at == calls.len() {
                assert!(fragment["id"].is_string(), "{fragment}");
                calls.push(json!([
                    fragment["function"]["name"],
                    fragment["function"]["arguments"]
                ]));
            } else {
                let so_far = calls[at][1].as_str().expect("a text").to_owned();
                calls[at][1] = json!(
                    so_far
                        + fragment["function"]["arguments"]
                            .as_str()
                            .expect("a fragment")
                );
            }
        }
        finish = choice["finish_reason"].clone();
    }
    json!({"content": content, "reasoning": reasoning, "calls": calls, "finish": finish})
}

/// The same of a whole answer.
fn whole_choice(body: &Value, index: usize) -> Value {
    let choice = &body["choices"][index];
    let message = &choice["message"];
    let calls: Vec<Value> = message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|call| json!([call["function"]["name"], call["function"]["arguments"]]))
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    json!({"content": text(&message["content"]), "reasoning": text(&message["reasoning"]), "calls": calls, "finish": choice["finish_reason"]})
}

const CONTEXT: &str = "Use the context. Cite the number of each passage you rely on, like [1].\n\nContext:\n[1] [leave.md, p.2]\nEvery employee has \
                       25 days of paid leave. Leave is booked in the portal.\n\n[2] [data.md]\nInvoices are kept for ten years. Backups are kept for 35 days.";

fn ask(model: &str, question: &str) -> Value {
    json!({"model": model, "messages": [{"role": "system", "content": CONTEXT}, {"role": "user", "content": question}]})
}

fn with(mut body: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

fn search_tool() -> Value {
    let parameters = json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]});
    json!({"type": "function", "function": {"name": "lighton_search", "description": "Search.", "parameters": parameters}})
}

#[tokio::test]
async fn a_whole_answer_cites_its_passages_and_counts_its_tokens() {
    let service = Service::start().await;

    let body = service
        .chat(&ask("sandbox-extractive", "How long are backups kept?"))
        .await;

    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "sandbox-extractive");
    let content = body["choices"][0]["message"]["content"]
        .as_str()
        .expect("content");
    assert!(
        content.contains("Backups are kept for 35 days. [2]"),
        "{content}"
    );
    assert_eq!(
        body["usage"]["completion_tokens"],
        content.split_whitespace().count()
    );
    let prompt = CONTEXT.split_whitespace().count() + 5;
    assert_eq!(body["usage"]["prompt_tokens"], prompt);
    assert_eq!(
        body["usage"]["total_tokens"],
        prompt + content.split_whitespace().count()
    );
}

#[tokio::test]
async fn streamed_and_whole_answers_are_the_same_under_any_limit() {
    let service = Service::start().await;
    let tools = json!({"tools": [search_tool()], "messages": [{"role": "user", "content": "How long are backups kept?"}]});
    for model in Model::ALL {
        let plain = ask(model.id(), "How long are backups kept?");
        for request in [plain.clone(), with(plain, &tools)] {
            for limit in [
                json!({}),
                json!({"max_tokens": 1}),
                json!({"max_completion_tokens": 7}),
                json!({"max_tokens": 60}),
                json!({"stop": ["kept"]}),
                json!({"n": 2}),
            ] {
                let request = with(request.clone(), &limit);
                let (whole, streamed) = (
                    service.chat(&request).await,
                    service.stream("/v1/chat/completions", &request).await,
                );

                for index in 0..whole["choices"].as_array().expect("choices").len() {
                    assert_eq!(
                        gathered(&streamed, index as u64),
                        whole_choice(&whole, index),
                        "{request}"
                    );
                }
                let most = limit["max_tokens"]
                    .as_u64()
                    .or_else(|| limit["max_completion_tokens"].as_u64())
                    .unwrap_or(u64::MAX);
                assert!(
                    whole["usage"]["completion_tokens"]
                        .as_u64()
                        .expect("a number")
                        <= most,
                    "{whole}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_stream_names_the_role_first_sends_each_word_alone_and_tells_usage_only_when_asked() {
    let service = Service::start().await;
    let request = ask("sandbox-extractive", "How long are backups kept?");

    let plain = service.stream("/v1/chat/completions", &request).await;
    let told = service
        .stream(
            "/v1/chat/completions",
            &with(request, &json!({"stream_options": {"include_usage": true}})),
        )
        .await;

    assert_eq!(
        plain[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert!(plain.iter().all(|chunk| {
        chunk.get("usage").is_none()
            && chunk["choices"]
                .as_array()
                .is_some_and(|choices| choices.len() == 1)
    }));
    assert!(plain.iter().all(|chunk| {
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace()
            .count()
            <= 1
    }));
    assert!(plain.len() > 6);
    let (last, others) = told.split_last().expect("chunks");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], others.len() - 2);
    assert!(
        others
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some())
    );
    assert_eq!(
        told.iter()
            .map(|chunk| (&chunk["id"], &chunk["created"], &chunk["object"]).clone())
            .map(|part| format!("{part:?}"))
            .collect::<HashSet<_>>()
            .len(),
        1
    );
}

#[tokio::test]
async fn events_leave_one_by_one() {
    let service = Service::start().await;
    let request = with(
        ask("sandbox-extractive", "How long are backups kept?"),
        &json!({"stream": true}),
    );

    let mut body = service
        .post("/v1/chat/completions", &request)
        .await
        .bytes_stream();
    let first = body.next().await.expect("a piece").expect("bytes");

    // The pause between events hands each to the socket before the next is made: the first read cannot hold them all.
    assert!(first.ends_with(b"\n\n"), "{first:?}");
    assert!(!first.ends_with(b"[DONE]\n\n"), "{first:?}");
}

#[tokio::test]
async fn the_reasoner_spends_tokens_on_its_thoughts_and_may_run_out() {
    let service = Service::start().await;
    let request = ask("sandbox-reasoner", "How long are backups kept?");

    let whole = service.chat(&request).await;
    let short = service
        .chat(&with(request, &json!({"max_tokens": 3})))
        .await;

    let thoughts = whole["choices"][0]["message"]["reasoning"]
        .as_str()
        .expect("reasoning");
    assert_eq!(
        whole["usage"]["completion_tokens_details"]["reasoning_tokens"],
        thoughts.split_whitespace().count()
    );
    assert!(
        whole["choices"][0]["message"]["content"]
            .as_str()
            .is_some_and(|content| content.contains("35 days"))
    );
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(
        short["usage"]["completion_tokens_details"]["reasoning_tokens"],
        3
    );
}

#[tokio::test]
async fn the_loop_of_the_guides_comes_to_an_answer() {
    let service = Service::start().await;
    let mut messages = vec![json!({"role": "user", "content": "How long are backups kept?"})];

    let first = service
        .chat(
            &json!({"model": "sandbox-extractive", "tools": [search_tool()], "messages": messages}),
        )
        .await;
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    let message = first["choices"][0]["message"].clone();
    assert_eq!(message["content"], Value::Null);
    let call = &message["tool_calls"][0];
    assert_eq!(
        parse(call["function"]["arguments"].as_str().expect("a text")),
        json!({"query": "How long are backups kept?"})
    );
    messages.extend([message.clone(), json!({"role": "tool", "tool_call_id": call["id"], "content": "[data.md, p.1]\nBackups are kept for 35 days."})]);
    let second = service
        .chat(
            &json!({"model": "sandbox-extractive", "tools": [search_tool()], "messages": messages}),
        )
        .await;

    assert_eq!(
        second["choices"][0]["message"]["content"],
        "Backups are kept for 35 days."
    );
    assert_eq!(second["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn calls_of_parallel_answers_have_ids_of_their_own() {
    let service = Service::start().await;
    let request = json!({"model": "sandbox-parallel-search", "n": 3, "tools": [search_tool()], "messages": [{"role": "user", "content": "How long are backups kept?"}]});

    let body = service.chat(&request).await;

    let calls: Vec<&Value> = body["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .flat_map(|choice| choice["message"]["tool_calls"].as_array().expect("calls"))
        .collect();
    assert!(calls.len() >= 6);
    assert_eq!(
        calls
            .iter()
            .map(|call| call["id"].as_str())
            .collect::<HashSet<_>>()
            .len(),
        calls.len()
    );
}

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

#[tokio::test]
async fn a_legacy_completion_answers_each_prompt_whole_and_streamed() {
    let service = Service::start().await;
    let prompt = format!("{CONTEXT}\n\nHow long are backups kept?");
    let request =
        json!({"model": "sandbox-extractive", "prompt": [prompt, "Hello"], "max_tokens": 6});

    let response = service.post("/v1/completions", &request).await;
    let whole = parse(&response.text().await.expect("a body"));
    let streamed = service.stream("/v1/completions", &request).await;

    assert_eq!(whole["object"], "text_completion");
    assert!(
        whole["choices"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("kept for")),
        "{whole}"
    );
    assert_eq!(whole["choices"][1]["finish_reason"], "length");
    for index in 0..2 {
        let text: String = streamed
            .iter()
            .flat_map(|chunk| chunk["choices"].as_array().expect("choices"))
            .filter(|choice| choice["index"] == index)
            .filter_map(|choice| choice["text"].as_str())
            .collect();
        assert_eq!(whole["choices"][index]["text"], text);
    }
    let numbers = service
        .post(
            "/v1/completions",
            &json!({"model": "sandbox-extractive", "prompt": [1, 2, 3], "echo": true}),
        )
        .await;
    assert_eq!(
        parse(&numbers.text().await.expect("a body"))["usage"]["prompt_tokens"],
        3
    );
}
