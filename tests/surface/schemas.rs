//! OpenAI's own schemas accept what the gateway composes: lists, files, vector stores, refusals, errors, and the answers that it adds to.

use groundwire::sandbox::{Options, Services};
use jsonschema::Validator;
use reqwest::{Method, multipart};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Reply};

const QUESTION: &str = "What is our data retention policy?";

/// OpenAI's description of its API.
struct Schemas(Value);

impl Schemas {
    fn read() -> Self {
        let text = include_str!("../data/openai/schemas.json");
        let mut schemas: Value = serde_json::from_str(text).unwrap();
        spell_out_nullable(&mut schemas);
        Self(schemas)
    }

    /// Fails unless the schema called `name` accepts `value`.
    fn accept(&self, name: &str, value: &Value) {
        let mut root = self.0.clone();
        root["$ref"] = json!(format!("#/components/schemas/{name}"));
        let validator: Validator = jsonschema::draft202012::new(&root).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}\n{value:#}");
    }

    fn accept_chunks(&self, chunks: &[Value]) {
        assert!(!chunks.is_empty());
        for chunk in chunks {
            self.accept("CreateChatCompletionStreamResponse", chunk);
        }
    }
}

/// Writes OpenAPI's older `nullable: true`, which the description still uses, as JSON Schema has it.
fn spell_out_nullable(schema: &mut Value) {
    if let Value::Object(object) = schema
        && object.remove("nullable") == Some(json!(true))
    {
        *schema = json!({"anyOf": [schema, {"type": "null"}]});
    }
    match schema {
        Value::Object(object) => object.values_mut().for_each(spell_out_nullable),
        Value::Array(items) => items.iter_mut().for_each(spell_out_nullable),
        _ => {}
    }
}

/// A gateway before the sandbox's services; both end with the test.
struct Edge {
    gateway: Gateway,
    _services: Services,
}

impl Edge {
    async fn start(settings: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        options.documents =
            Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/small").into());
        let services = Services::start(options).await.unwrap();
        let url = format!("http://{}", services.addr);
        let gateway = Gateway::start(&format!(
            r#"
            search = {{ base_url = "{url}", api_key = "search-key" }}
            {settings}
            [upstreams]
            sandbox = {{ base_url = "{url}/v1" }}
            paradigm = {{ base_url = "{url}/api/v2", api_key = "paradigm-key" }}
            "#
        ))
        .await;
        Self {
            gateway,
            _services: services,
        }
    }

    async fn chat(&self, more: Value) -> Reply {
        let mut body = json!({"model": "sandbox-extractive", "messages": [{"role": "user", "content": QUESTION}]});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.gateway.post("/v1/chat/completions", body).await
    }

    async fn upload(&self, name: &'static str) -> Value {
        let part = multipart::Part::bytes(b"Purple telescopes: 77.".as_slice()).file_name(name);
        let form = multipart::Form::new()
            .text("purpose", "assistants")
            .part("file", part);
        let request = self
            .gateway
            .request(Method::POST, "/v1/files")
            .multipart(form);
        Reply::of(request).await.ok()
    }
}

#[tokio::test]
async fn answers_in_every_mode_are_chat_completions() {
    let (schemas, edge) = (Schemas::read(), Edge::start("").await);
    for mode in ["off", "inject", "tool"] {
        let rag = json!({"mode": mode});
        let answer = edge.chat(json!({"rag": rag})).await.ok();
        schemas.accept("CreateChatCompletionResponse", &answer);

        let options = json!({"include_usage": true});
        let streamed = edge
            .chat(json!({"rag": rag, "stream": true, "stream_options": options}))
            .await;
        schemas.accept_chunks(&streamed.chunks());
    }
    let events = json!({"mode": "tool", "events": true});
    let streamed = edge.chat(json!({"rag": events, "stream": true})).await;
    schemas.accept_chunks(&streamed.chunks());
}

#[tokio::test]
async fn the_clients_own_tool_calls_are_chat_completions() {
    let (schemas, edge) = (Schemas::read(), Edge::start("").await);
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}});
    let asked = |stream: bool| json!({"model": "sandbox-mixed-tools", "rag": {"mode": "tool"}, "tools": [tool], "stream": stream});

    let answer = edge.chat(asked(false)).await.ok();

    assert_eq!(
        answer["choices"][0]["finish_reason"], "tool_calls",
        "{answer}"
    );
    schemas.accept("CreateChatCompletionResponse", &answer);
    schemas.accept_chunks(&edge.chat(asked(true)).await.chunks());
}

#[tokio::test]
async fn a_refusal_is_an_answer_like_any_other() {
    let schemas = Schemas::read();
    let edge = Edge::start("rag = { on_no_results = \"refuse\" }").await;
    let nothing = json!({"query": "xylophone quarks"});

    let whole = edge.chat(json!({"rag": nothing})).await.ok();
    assert!(
        whole["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("could not find"),
        "{whole}"
    );
    schemas.accept("CreateChatCompletionResponse", &whole);
    let options = json!({"include_usage": true});
    let streamed = edge
        .chat(json!({"rag": nothing, "stream": true, "stream_options": options}))
        .await;
    schemas.accept_chunks(&streamed.chunks());

    let mut body = json!({"model": "sandbox-extractive", "prompt": QUESTION, "rag": nothing});
    let whole = edge
        .gateway
        .post("/v1/completions", body.clone())
        .await
        .ok();
    assert!(
        whole["choices"][0]["text"]
            .as_str()
            .unwrap()
            .contains("could not find"),
        "{whole}"
    );
    schemas.accept("CreateCompletionResponse", &whole);
    body["stream"] = json!(true);
    for mut chunk in edge.gateway.post("/v1/completions", body).await.chunks() {
        // Streams have the same shape, but the finish is `null` until the last chunk, which the schema forgets.
        let finish = &mut chunk["choices"][0]["finish_reason"];
        if finish.is_null() {
            *finish = json!("stop");
        }
        schemas.accept("CreateCompletionResponse", &chunk);
    }
}

#[tokio::test]
async fn completions_and_embeddings_are_what_they_should_be() {
    let (schemas, edge) = (Schemas::read(), Edge::start("").await);
    let body = json!({"model": "sandbox-extractive", "prompt": QUESTION});
    let whole = edge.gateway.post("/v1/completions", body).await.ok();
    schemas.accept("CreateCompletionResponse", &whole);

    let body = json!({"model": "sandbox-embedding", "input": ["a", "b"]});
    let vectors = edge.gateway.post("/v1/embeddings", body).await.ok();
    schemas.accept("CreateEmbeddingResponse", &vectors);
}

#[tokio::test]
async fn models_are_models() {
    let schemas = Schemas::read();
    let edge =
        Edge::start("models.handbook = { upstream = \"sandbox\", model = \"sandbox-extractive\" }")
            .await;

    let list = edge.gateway.get("/v1/models").await.ok();

    schemas.accept("ListModelsResponse", &list);
    for model in list["data"].as_array().unwrap() {
        let id = model["id"].as_str().unwrap();
        let model = edge.gateway.get(&format!("/v1/models/{id}")).await.ok();
        schemas.accept("Model", &model);
    }
}

#[tokio::test]
async fn files_are_files_wherever_they_are_kept() {
    let schemas = Schemas::read();
    for target in ["lighton", "paradigm"] {
        let edge = Edge::start(&format!(
            "files = {{ target = \"{target}\", workspace_id = 1 }}"
        ))
        .await;
        let file = edge.upload("telescopes.md").await;
        schemas.accept("OpenAIFile", &file);
        let list = edge.gateway.get("/v1/files").await.ok();
        assert!(!list["data"].as_array().unwrap().is_empty());
        schemas.accept("ListFilesResponse", &list);
        let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
        schemas.accept("OpenAIFile", &edge.gateway.get(&path).await.ok());
        schemas.accept("DeleteFileResponse", &edge.gateway.delete(&path).await.ok());
        schemas.accept("ErrorResponse", &edge.gateway.get(&path).await.json());
        let none = edge.gateway.get("/v1/files?purpose=vision").await.ok();
        assert_eq!(none["data"], json!([]));
        schemas.accept("ListFilesResponse", &none);
    }
}

#[tokio::test]
async fn workspaces_are_vector_stores() {
    let (schemas, edge) = (Schemas::read(), Edge::start("").await);

    let list = edge.gateway.get("/v1/vector_stores").await.ok();

    schemas.accept("ListVectorStoresResponse", &list);
    let id = list["first_id"].as_str().unwrap();
    let path = format!("/v1/vector_stores/{id}");
    schemas.accept("VectorStoreObject", &edge.gateway.get(&path).await.ok());
    for query in [json!(QUESTION), json!(["retention", "xylophone quarks"])] {
        let page = edge
            .gateway
            .post(&format!("{path}/search"), json!({"query": query}))
            .await
            .ok();
        schemas.accept("VectorStoreSearchResultsPage", &page);
    }
}

#[tokio::test]
async fn errors_are_errors() {
    let (schemas, edge) = (Schemas::read(), Edge::start("").await);
    for (status, reply) in [
        (404, edge.gateway.get("/v1/nothing").await),
        (405, edge.gateway.get("/v1/chat/completions").await),
        (404, edge.gateway.post("/v1/responses", json!({})).await),
        (
            400,
            edge.gateway.post_text("/v1/chat/completions", "{").await,
        ),
        (400, edge.chat(json!({"rag": {"max_results": 0}})).await),
        (404, edge.chat(json!({"model": "nobody"})).await),
        (
            400,
            edge.chat(json!({"rag": {"mode": "tool"}, "n": 2})).await,
        ),
        (405, edge.gateway.post("/v1/vector_stores", json!({})).await),
        (404, edge.gateway.get("/v1/vector_stores/999").await),
    ] {
        assert_eq!(reply.status, status, "{}", reply.body);
        schemas.accept("ErrorResponse", &reply.json());
    }
}

#[tokio::test]
async fn a_stream_that_fails_late_ends_in_a_chunk_but_for_its_finish() {
    let schemas = Schemas::read();
    let lighton = crate::support::lighton::FakeLightOn::new();
    let upstream = crate::support::server::Server::new().then(
        crate::support::reply::sse_unfinished([json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Five"}, "finish_reason": null}],
        })]),
    );
    let gateway = Gateway::start(&format!(
        "search = {{ base_url = \"{}\", api_key = \"search-key\" }}\nupstreams.gpu = {{ base_url = \"{}/v1\" }}\nrag.mode = \"off\"",
        lighton.url(),
        upstream.url(),
    ))
    .await;

    let body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let reply = gateway.post("/v1/chat/completions", body).await;

    let last = reply.data().pop().unwrap().to_owned();
    let mut last: Value = serde_json::from_str(&last).unwrap();
    // OpenAI's schema knows no finish for a failure: clients that read only that far must not take it for an ordinary end.
    let finish = last["choices"][0]["finish_reason"].take();
    assert_eq!(finish, "error");
    schemas.accept("CreateChatCompletionStreamResponse", &last);
    schemas.accept("ErrorResponse", &last);
}
