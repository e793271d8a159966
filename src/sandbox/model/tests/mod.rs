//! The service over real sockets.

use reqwest::StatusCode;

use super::*;

mod answers;
mod requests;

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
