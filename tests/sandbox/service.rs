//! A running sandbox and a client with a key.

use std::{path::Path, time::Duration};

use groundwire::sandbox::{
    Options, Services,
    lighton::{Behaviour, Contract},
};
use reqwest::{Method, RequestBuilder, Response, multipart};
use serde_json::Value;

/// A sandbox whose uploads move on by looks alone, never by time.
pub(crate) struct Service {
    services: Services,
    client: reqwest::Client,
}

impl Service {
    /// A sandbox over the handbook.
    pub(crate) async fn handbook() -> Self {
        Self::with(|_| {}).await
    }

    /// A sandbox over three short documents in three workspaces, which starts in no time.
    pub(crate) async fn small() -> Self {
        Self::over(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/sandbox/small"
        )))
        .await
    }

    /// A sandbox over the documents in `folder`.
    pub(crate) async fn over(folder: &Path) -> Self {
        Self::with(|options| options.documents = Some(folder.to_owned())).await
    }

    /// A sandbox with the old shape of search results.
    pub(crate) async fn with_object_scores() -> Self {
        Self::with(|options| options.behaviour.contract = Contract::ObjectScore).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        // A second test of the same process finds the provider in place.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        options.behaviour = Behaviour {
            settle: Duration::MAX,
            ..Behaviour::default()
        };
        change(&mut options);
        Self {
            services: Services::start(options).await.unwrap(),
            client: reqwest::Client::new(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.services.addr)
    }

    /// A request with a key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_without_key(method, path)
            .bearer_auth("any-key")
    }

    pub(crate) fn request_without_key(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(&body)).await
    }

    pub(crate) async fn search(&self, body: Value) -> Answer {
        self.post("/api/v3/search", body).await
    }

    /// The passages of a search that succeeds.
    pub(crate) async fn find(&self, body: Value) -> Vec<Value> {
        let answer = self.search(body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["results"].as_array().unwrap().clone()
    }

    /// Uploads `text` as `filename` into workspace 1.
    pub(crate) async fn upload(&self, filename: &str, text: &str) -> Answer {
        self.upload_form(form(filename, text).text("workspace_id", "1"))
            .await
    }

    pub(crate) async fn upload_form(&self, form: multipart::Form) -> Answer {
        Answer::of(self.request(Method::POST, "/api/v3/files").multipart(form)).await
    }

    pub(crate) async fn shutdown(self) {
        self.services.shutdown().await;
    }
}

/// A form with a file.
pub(crate) fn form(filename: &str, content: impl Into<Vec<u8>>) -> multipart::Form {
    let part = multipart::Part::bytes(content.into()).file_name(filename.to_owned());
    multipart::Form::new().part("file", part)
}

/// A status and a JSON body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response: Response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap(),
        };
        Self { status, body }
    }

    /// The number of what was made or shown.
    pub(crate) fn id(&self) -> i64 {
        self.body["id"].as_i64().unwrap()
    }

    /// Checks that this is LightOn's error envelope with `status` and the word `error`.
    pub(crate) fn assert_error(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["code"], status, "{}", self.body);
        assert_eq!(self.body["error"], error, "{}", self.body);
        assert_eq!(self.body["id"], Value::Null);
        assert!(!self.body["detail"].as_str().unwrap().is_empty());
        let link = format!("https://developers.lighton.ai/errors#{error}");
        assert_eq!(self.body["doc_url"], link);
    }

    /// Checks that this is a validation error whose first fault of `field` is `error`.
    pub(crate) fn assert_field(&self, field: &str, error: &str) {
        self.assert_error(422, "validation_error");
        assert_eq!(
            self.body["fields"][field][0]["error"], error,
            "{}",
            self.body
        );
        assert!(self.body["fields"][field][0]["detail"].is_string());
    }
}
