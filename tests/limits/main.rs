//! The limits of keys: requests, searches, tokens, requests at once; alone and shared between gateways.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failure here is the test's failure"
)]

#[path = "../watch/mod.rs"]
mod watch;

#[path = "../proxy/support"]
mod support {
    #![allow(
        dead_code,
        reason = "each test binary uses its own part of the support"
    )]

    pub(crate) mod answer;
    pub(crate) mod authority;
    pub(crate) mod connection;
    pub(crate) mod gateway;
    pub(crate) mod lighton;
    pub(crate) mod reply;
    pub(crate) mod server;
    pub(crate) mod upstream;
}

mod redis_server;

#[expect(
    dead_code,
    reason = "each test binary uses its own part of the program"
)]
#[path = "../ops/program.rs"]
mod program;

mod reload;
mod requests;
mod searches;
mod shared;
mod tls;
mod tokens;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::{
    answer::{Answer, Live},
    gateway::Gateway,
    lighton::FakeLightOn,
    server::Server,
};

/// A client's key called `name`, which is also its text, with these settings beside every workspace.
fn key(name: &str, settings: &str) -> String {
    let digest: String = Sha256::digest(name)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "\n[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n{settings}\n"
    )
}

/// A gateway that relays to `upstream`, with the key `acme` that has these limits, and the key `free` that has none.
async fn relaying(upstream: &Server, limits: &str) -> Gateway {
    let keys = key("acme", limits) + &key("free", "");
    let settings = format!("rag.mode = \"off\"\nretry.attempts = 1\n{keys}");
    Gateway::start(&FakeLightOn::new(), upstream, &settings).await
}

/// A chat request with these fields beside its question.
fn question(more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "How long?"}]});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// The whole answer to a chat request with the key `key`.
async fn ask(gateway: &Gateway, key: &str, body: &Value) -> Answer {
    Answer::of(gateway.chat(body).bearer_auth(key)).await
}

/// The streamed answer to a chat request with the key `key`.
async fn open(gateway: &Gateway, key: &str, body: &Value) -> Live {
    Live::of(gateway.chat(body).bearer_auth(key)).await
}

/// The answer to another request with the key `key`.
async fn send(gateway: &Gateway, key: &str, path: &str, body: &Value) -> Answer {
    let request = gateway.request(Method::POST, path).bearer_auth(key);
    Answer::of(request.json(body)).await
}

/// The answer to a request that costs a gateway nothing: there is nothing at its path.
async fn knock(gateway: &Gateway, key: &str) -> Answer {
    Answer::of(gateway.request(Method::GET, "/v1/nothing").bearer_auth(key)).await
}

/// The number in a header.
fn number(answer: &Answer, header: &str) -> u64 {
    let value = answer.header(header);
    let number = value.and_then(|value| value.parse().ok());
    assert!(number.is_some(), "{header} is {value:?}");
    number.unwrap()
}

/// Checks that this is the refusal of a limit, which names it, and gives the seconds until a retry.
fn refused(answer: &Answer, limit: &str) -> u64 {
    let error = answer.error(429, "rate_limit_error", "rate_limit_exceeded");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(limit), "{message}");
    let seconds = number(answer, "retry-after");
    assert!(seconds > 0);
    seconds
}

/// The sample of `/metrics` that begins so.
async fn metric(gateway: &Gateway, begins: &str) -> Option<f64> {
    let answer = gateway.get("/metrics").await;
    let mut lines = answer.text().lines();
    let line = lines.find(|line| line.starts_with(begins))?;
    line.rsplit(' ').next()?.parse().ok()
}
