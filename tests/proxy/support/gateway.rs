//! The real gateway on a port of its own, wired to scripted neighbours.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure, and the gateway's task ends with the gateway"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::serve::ListenerExt;
use groundwire::{
    app::App,
    config::{Config, Environment},
    telemetry::otlp::Exporter,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    answer::{Answer, Live, Streamed},
    server::{Server, nobody},
};
use crate::watch;

/// The gateway's key for search: it must never be seen by anybody else.
pub(crate) const SEARCH_KEY: &str = "lo-secret-7f1c";

/// The gateway's key for the upstream `model`.
pub(crate) const MODEL_KEY: &str = "md-secret-93ab";

/// How long any answer may take before its test fails; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway and a client of it.
pub(crate) struct Gateway {
    address: SocketAddr,
    app: Arc<App>,
    client: Client,
    serving: JoinHandle<()>,
    exporter: Option<Exporter>,
}

impl Gateway {
    /// A gateway that searches `lighton` and has one upstream, `model`, with the model `m`; `settings` is more of the file.
    pub(crate) async fn start(lighton: &Server, upstream: &Server, settings: &str) -> Self {
        let text = format!(
            "{settings}\n[upstreams.model]\nbase_url = \"${{MODEL}}/v1\"\napi_key = \"{MODEL_KEY}\"\nmodels = [\"m\"]\n"
        );
        Self::of(&text, &[("SEARCH", lighton), ("MODEL", upstream)]).await
    }

    /// A gateway with this file. `${NAME}` in it stands for the address of the neighbour with that name; `SEARCH` is what it searches.
    pub(crate) async fn of(text: &str, neighbours: &[(&str, &Server)]) -> Self {
        let urls = neighbours
            .iter()
            .map(|(name, server)| ((*name).to_owned(), server.url()));
        let mut variables: Vec<(String, String)> = urls.collect();
        let nowhere = ("SEARCH".to_owned(), format!("http://{}", nobody()));
        let search = variables.iter().find(|(name, _)| name == "SEARCH");
        let search = search.unwrap_or(&nowhere).1.clone();
        variables.push(("GROUNDWIRE_SEARCH__BASE_URL".to_owned(), search));
        variables.push(("LIGHTON_API_KEY".to_owned(), SEARCH_KEY.to_owned()));
        // A test sees each search that it causes, unless it is about the cache.
        if !text.contains("cache_ttl") {
            variables.push(("GROUNDWIRE_SEARCH__CACHE_TTL".to_owned(), "0s".to_owned()));
        }
        let env: Environment = variables.into_iter().collect();
        let config = Config::parse(text, &env).unwrap_or_else(|problems| panic!("{problems}"));

        let app = Arc::new(App::build(config).unwrap());
        let parts = Arc::new(ArcSwap::new(Arc::clone(&app)));
        let exporter = Some(App::export(&parts));
        let router = watch::router(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            // No test speaks TLS, and reading the system's roots for each gateway takes longer than most tests.
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            address,
            app,
            client,
            serving,
            exporter,
        }
    }

    /// Sends what waits for the collector, as at the end of the process; once.
    pub(crate) async fn flush(&mut self) {
        self.exporter.take().unwrap().finish().await;
    }

    /// The parts that it was built from.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request to `path`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// A chat request with these very bytes.
    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/v1/chat/completions")
            .header("content-type", "application/json")
            .body(body)
    }

    /// A chat request.
    pub(crate) fn chat(&self, body: &Value) -> RequestBuilder {
        self.post(body.to_string())
    }

    /// The whole answer to a chat request.
    pub(crate) async fn ask(&self, body: &Value) -> Answer {
        Answer::of(self.chat(body)).await
    }

    /// The streamed answer to a chat request, read to its end.
    pub(crate) async fn stream(&self, body: &Value) -> Streamed {
        self.open(body).await.rest().await
    }

    /// The streamed answer to a chat request, to be read piece by piece.
    pub(crate) async fn open(&self, body: &Value) -> Live {
        Live::of(self.chat(body)).await
    }

    /// The answer to a GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
