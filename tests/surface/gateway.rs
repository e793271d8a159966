//! The gateway in this process, on a port of its own, and what a client gets from it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use groundwire::{
    app::App,
    config::{Config, Environment},
};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::watch;

/// A running gateway; it ends with the test.
pub(crate) struct Gateway {
    url: String,
    http: reqwest::Client,
    serving: JoinHandle<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Gateway {
    /// Starts a gateway with the settings of `toml`.
    pub(crate) async fn start(toml: &str) -> Self {
        let config = Config::parse(toml, &Environment::from([] as [(&str, &str); 0]))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let app = tokio::task::spawn_blocking(move || App::build(config).unwrap())
            .await
            .unwrap();
        let parts = Arc::new(ArcSwap::from_pointee(app));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            axum::serve(listener, watch::router(parts)).await.unwrap();
        });
        Self {
            url,
            http: reqwest::Client::new(),
            serving,
        }
    }

    /// A request to `path`, not yet sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Value>) -> Reply {
        let body = body.into().to_string();
        self.post_text(path, &body).await
    }

    /// Posts a text as JSON, byte for byte.
    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Reply {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_owned());
        Reply::of(request).await
    }

    /// Gets a path.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path)).await
    }

    /// Deletes what is at a path.
    pub(crate) async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::DELETE, path)).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Reply {
    /// Sends `request` and reads its answer.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.unwrap();
        Self {
            status,
            headers,
            body,
        }
    }

    /// The body as JSON, whatever the status.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    /// The body of a success as JSON.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// Asserts an error by its status and code, and the field it names (empty: none).
    pub(crate) fn refused(&self, status: u16, code: &str, param: &str) {
        let error = self.json()["error"].clone();
        assert_eq!(self.status, status, "{error}");
        assert_eq!(error["code"], code, "{error}");
        assert_eq!(
            error["param"].as_str().unwrap_or_default(),
            param,
            "{error}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{error}"
        );
    }

    /// The `data:` of each event of a stream.
    pub(crate) fn data(&self) -> Vec<&str> {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .collect()
    }

    /// The chunks of a stream that ended with `[DONE]`.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let mut data = self.data();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.body);
        data.iter()
            .map(|chunk| serde_json::from_str(chunk).unwrap())
            .collect()
    }
}

/// The digest that a configuration names a key by.
pub(crate) fn sha256(key: &str) -> String {
    Sha256::digest(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
