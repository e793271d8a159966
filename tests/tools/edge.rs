//! The gateway under test, in mode `tool`, and what is asked of it.

#![expect(
    clippy::disallowed_methods,
    reason = "the gateway's task ends with the gateway"
)]

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::serve::ListenerExt;
use groundwire::{
    app::App,
    config::{Config, Environment},
};
use reqwest::Response;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    heard::Heard,
    support::{
        lighton::{FakeLightOn, found, result},
        server::Server,
    },
    watch,
};

/// The question of every test that does not care.
pub(crate) const QUESTION: &str = "What is our data retention policy?";

/// Where search is asked.
pub(crate) const SEARCH: &str = "/api/v3/search";

/// Whole or streamed: every behaviour has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Whole,
    Streamed,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Whole, Self::Streamed];
}

/// A running gateway with one upstream, `model`, and its one model, `m`.
pub(crate) struct Edge {
    url: String,
    client: reqwest::Client,
    serving: JoinHandle<()>,
}

impl Edge {
    /// A gateway with nothing but its neighbours configured.
    pub(crate) async fn start(lighton: &FakeLightOn, model: &Server) -> Self {
        Self::with(lighton, model, "").await
    }

    /// A gateway with `settings` in its file.
    pub(crate) async fn with(lighton: &FakeLightOn, model: &Server, settings: &str) -> Self {
        let text = format!(
            "{settings}\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-key\"\nmodels = [\"m\"]\n",
            model.url()
        );
        let variables = [
            ("GROUNDWIRE_SEARCH__BASE_URL".to_owned(), lighton.url()),
            ("LIGHTON_API_KEY".to_owned(), "lo-secret-key".to_owned()),
            ("GROUNDWIRE_RAG__MODE".to_owned(), "tool".to_owned()),
            ("GROUNDWIRE_SEARCH__CACHE_TTL".to_owned(), "0s".to_owned()),
        ];
        let env: Environment = variables.into_iter().collect();
        let config = Config::parse(&text, &env).unwrap_or_else(|problems| panic!("{problems}"));
        let app = Arc::new(App::build(config).unwrap());
        let router = watch::router(Arc::new(ArcSwap::new(app)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            url,
            client: reqwest::Client::new(),
            serving,
        }
    }

    /// The answer to `body`, read to its end in the way it asks for.
    pub(crate) async fn hear(&self, way: Way, body: &Value) -> Heard {
        self.hear_as("none", way, body).await
    }

    /// The same for the client with this key.
    pub(crate) async fn hear_as(&self, key: &str, way: Way, body: &Value) -> Heard {
        let mut body = body.clone();
        if way == Way::Streamed {
            body["stream"] = json!(true);
        }
        Heard::of(self.send_as(key, &body).await).await
    }

    /// The answer to `body`, its head alone.
    pub(crate) async fn send(&self, body: &Value) -> Response {
        self.send_as("none", body).await
    }

    async fn send_as(&self, key: &str, body: &Value) -> Response {
        self.client
            .post(format!("{}/v1/chat/completions", self.url))
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A `[[keys]]` block for `key`.
pub(crate) fn key(name: &str, key: &str, workspaces: &str) -> String {
    let hash: String = Sha256::digest(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nworkspace_id = {workspaces}\n")
}

/// A chat request with the question, and these fields beside it.
pub(crate) fn question(more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": QUESTION}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// A tool of the client's.
pub(crate) fn weather() -> Value {
    json!({"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}})
}

/// A LightOn that finds the one passage for whatever is asked, as often as it is.
pub(crate) fn finds_policy() -> FakeLightOn {
    FakeLightOn::new().always(SEARCH, found([passage("a", "Kept for five years.")]))
}

/// A passage of its own: `id` is its chunk, and the name of its file.
pub(crate) fn passage(id: &str, content: &str) -> Value {
    let mut found = result(content);
    found["chunk_id"] = json!(id);
    found["source"]["filename"] = json!(format!("{id}.pdf"));
    found
}

/// What was searched for, sorted: searches of one turn are in no order.
pub(crate) fn queries(lighton: &FakeLightOn) -> Vec<String> {
    let requests = lighton.requests();
    let mut queries: Vec<String> = requests
        .iter()
        .map(|request| request.json()["query"].as_str().unwrap().to_owned())
        .collect();
    queries.sort();
    queries
}
