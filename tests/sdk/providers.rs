//! Stand-ins of the four providers: what they list, how they stream, what they call their reasoning and how they refuse.
//!
//! What differs between them is data, one file each in `providers/`. The shapes are those of the providers' documentation and of captured
//! answers; an error shape that is nowhere documented is one that servers of the same kind send. A stand-in reads the context that the
//! gateway put into the conversation, or the results of the search that it called where that is offered, and answers with a sentence of it:
//! so an answer proves that the passages arrived.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{reading, strictness};

/// What a reasoning model thinks, and how many tokens that takes of its budget.
const THOUGHT: [&str; 3] = [
    "The question is ",
    "about retention, ",
    "so the policy counts.",
];
const THOUGHT_TOKENS: u64 = 40;
const CREATED: u64 = 1_760_000_000;

/// The four of them, each on a port of its own.
pub(crate) struct Providers {
    /// Ends their servers when it is dropped.
    _runtime: Runtime,
    running: BTreeMap<&'static str, Arc<Provider>>,
}

/// One stand-in.
struct Provider {
    shape: Shape,
    url: String,
    /// The models that were asked, whole (`false`) and streamed (`true`).
    asked: Mutex<Vec<(String, bool)>>,
}

/// What makes one provider different from another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    base: String,
    key: String,
    models: Value,
    reasoning: Reasoning,
    message: Map<String, Value>,
    delta: Map<String, Value>,
    chunk: Map<String, Value>,
    /// How it names a call.
    call_id: String,
    usage_in_every_chunk: bool,
    wrong_key: Refusal,
    unknown_model: Refusal,
    bad_request: Refusal,
}

/// Which models think first, and the fields that hold it.
#[derive(Deserialize)]
struct Reasoning {
    models: Vec<String>,
    whole: String,
    streamed: String,
}

/// An error as the provider words it.
#[derive(Deserialize)]
struct Refusal {
    status: u16,
    body: Value,
}

impl Providers {
    /// Starts all four.
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let shapes = [
            ("inceptron", include_str!("providers/inceptron.json")),
            ("ovhcloud", include_str!("providers/ovhcloud.json")),
            ("scaleway", include_str!("providers/scaleway.json")),
            ("paradigm", include_str!("providers/paradigm.json")),
        ];
        let running = shapes.map(|(name, text)| {
            let shape: Shape = serde_json::from_str(text).unwrap();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let url = format!("http://{}{}", listener.local_addr().unwrap(), shape.base);
            let provider = Arc::new(Provider {
                shape,
                url,
                asked: Mutex::default(),
            });
            runtime.spawn(axum::serve(listener, provider.router()).into_future());
            (name, provider)
        });

        Self {
            _runtime: runtime,
            running: running.into(),
        }
    }

    /// A configuration with the four presets pointed here, and search at `services`.
    pub(crate) fn configuration(&self, services: &str) -> String {
        let mut text = format!("[search]\nbase_url = \"{services}\"\napi_key = \"any-secret\"\n");
        for (name, provider) in &self.running {
            text += &format!(
                "[upstreams.{name}]\nbase_url = \"{}\"\napi_key = \"{}\"\n",
                provider.url, provider.shape.key
            );
        }
        text
    }

    /// Where each provider is and what its key is, as variables for scripts that ask it directly.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variables = self.running.iter().flat_map(|(name, provider)| {
            let name = name.to_uppercase();
            [
                (format!("{name}_URL"), provider.url.clone()),
                (format!("{name}_KEY"), provider.shape.key.clone()),
            ]
        });
        variables.collect()
    }

    /// Fails unless each provider was asked both for a whole answer and for a stream.
    pub(crate) fn assert_all_were_asked(&self) {
        for (name, provider) in &self.running {
            let asked = provider.asked.lock().unwrap();
            assert!(
                asked.iter().any(|(_, streamed)| !streamed),
                "{name} was asked for no whole answer: {asked:?}"
            );
            assert!(
                asked.iter().any(|(_, streamed)| *streamed),
                "{name} was asked for no stream: {asked:?}"
            );
        }
    }
}

impl Provider {
    fn router(self: &Arc<Self>) -> Router {
        let routes = Router::new()
            .route("/models", get(models))
            .route("/chat/completions", post(chat));
        Router::new()
            .nest(&self.shape.base, routes)
            .with_state(Arc::clone(self))
    }

    /// Whether the request carries the provider's own key, and not what the client gave the gateway.
    fn knows(&self, headers: &HeaderMap) -> bool {
        headers
            .get(header::AUTHORIZATION)
            .is_some_and(|value| value == &format!("Bearer {}", self.shape.key))
    }

    /// Whether `model` is one of the list, by any of the names that it goes by.
    fn serves(&self, model: &str) -> bool {
        let listed = self.shape.models["data"].as_array().unwrap();
        listed.iter().any(|entry| {
            ["id", "technical_name", "name"]
                .iter()
                .any(|name| entry[name] == model)
        })
    }
}

impl Refusal {
    fn answer(&self) -> Response {
        json_response(self.status, &self.body)
    }
}

async fn models(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    if !provider.knows(&headers) {
        return provider.shape.wrong_key.answer();
    }
    json_response(200, &provider.shape.models)
}

async fn chat(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    if !provider.knows(&headers) {
        return provider.shape.wrong_key.answer();
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let model = request["model"].as_str().unwrap();
    if !provider.serves(model) {
        return provider.shape.unknown_model.answer();
    }
    if request["temperature"].as_f64() > Some(2.0) {
        return provider.shape.bad_request.answer();
    }
    if let Some(complaint) = strictness::complaint(&request, reading::GROUNDING) {
        let error = json!({"error": {"message": complaint, "type": "BadRequestError", "param": null, "code": 400}});
        return json_response(400, &error);
    }

    let streamed = request["stream"] == true;
    provider
        .asked
        .lock()
        .unwrap()
        .push((model.to_owned(), streamed));
    let thinks = provider
        .shape
        .reasoning
        .models
        .iter()
        .any(|name| name == model);
    let cut_short = thinks
        && request["max_tokens"]
            .as_u64()
            .is_some_and(|limit| limit < THOUGHT_TOKENS);
    let call = reading::calls_search(&request).then(|| {
        let query = reading::text_of_last(&request, "user");
        json!({"id": provider.shape.call_id, "type": "function", "function": {"name": reading::SEARCH, "arguments": json!({"query": query}).to_string()}})
    });
    let reply = Reply {
        model,
        thinks,
        text: (!cut_short && call.is_none()).then(|| reading::sentence(&request)),
        call,
        usage_asked: request["stream_options"]["include_usage"] == true,
    };

    if streamed {
        reply.stream(&provider.shape)
    } else {
        reply.whole(&provider.shape)
    }
}

/// What one model says to one request.
struct Reply<'a> {
    model: &'a str,
    thinks: bool,
    /// Unset: the budget was used up while thinking, or a tool is called.
    text: Option<String>,
    call: Option<Value>,
    usage_asked: bool,
}

impl Reply<'_> {
    fn finish_reason(&self) -> &'static str {
        if self.call.is_some() {
            "tool_calls"
        } else if self.text.is_some() {
            "stop"
        } else {
            "length"
        }
    }

    fn whole(&self, shape: &Shape) -> Response {
        let mut message = shape.message.clone();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), json!(self.text));
        if let Some(call) = &self.call {
            message.insert("tool_calls".into(), json!([call]));
        }
        if self.thinks {
            message.insert(shape.reasoning.whole.clone(), THOUGHT.concat().into());
        }
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason(), "logprobs": null});
        let (object, created) = ("chat.completion", CREATED);
        json_response(
            200,
            &json!({"id": "chatcmpl-1", "object": object, "created": created, "model": self.model, "usage": usage(), "choices": [choice]}),
        )
    }

    fn stream(&self, shape: &Shape) -> Response {
        let mut deltas = vec![json!({"role": "assistant", "content": ""})];
        if self.thinks {
            deltas.extend(THOUGHT.map(|piece| json!({shape.reasoning.streamed.as_str(): piece})));
        }
        let words = self
            .text
            .as_deref()
            .unwrap_or_default()
            .split_inclusive(' ');
        deltas.extend(words.map(|word| json!({"content": word})));
        if let Some(call) = &self.call {
            deltas.extend(fragments(call));
        }
        let last = deltas.len();
        deltas.push(json!({}));

        let mut body = String::new();
        for (at, mut delta) in deltas.into_iter().enumerate() {
            delta.as_object_mut().unwrap().extend(shape.delta.clone());
            let finish_reason = (at == last).then(|| self.finish_reason());
            let mut chunk = self.chunk(shape, json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]));
            if shape.usage_in_every_chunk {
                chunk["usage"] = usage();
            }
            body += &format!("data: {chunk}\n\n");
        }
        if self.usage_asked {
            let mut chunk = self.chunk(shape, json!([]));
            chunk["usage"] = usage();
            body += &format!("data: {chunk}\n\n");
        }
        body += "data: [DONE]\n\n";

        (
            [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
            body,
        )
            .into_response()
    }

    fn chunk(&self, shape: &Shape, choices: Value) -> Value {
        let (object, created) = ("chat.completion.chunk", CREATED);
        let mut chunk = json!({"id": "chatcmpl-1", "object": object, "created": created, "model": self.model, "choices": choices});
        chunk.as_object_mut().unwrap().extend(shape.chunk.clone());
        chunk
    }
}

/// A call as it is streamed: first its id and name, then its arguments in pieces.
fn fragments(call: &Value) -> Vec<Value> {
    let mut first = call.clone();
    first["index"] = json!(0);
    first["function"]["arguments"] = json!("");
    let arguments = call["function"]["arguments"].as_str().unwrap();
    let rest = arguments
        .split_inclusive(' ')
        .map(|piece| json!({"index": 0, "function": {"arguments": piece}}));
    std::iter::once(first)
        .chain(rest)
        .map(|fragment| json!({"tool_calls": [fragment]}))
        .collect()
}

fn usage() -> Value {
    json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120})
}

fn json_response(status: u16, body: &Value) -> Response {
    (
        StatusCode::from_u16(status).unwrap(),
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
