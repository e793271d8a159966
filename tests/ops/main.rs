//! What operators live with: the cache, metrics, reload, keys, TLS, drain, retries under an outage, limits.

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

#[expect(
    dead_code,
    reason = "each test binary uses its own part of the program"
)]
mod program;

mod admin;
mod cache;
mod drain;
mod environment;
mod fairness;
mod forged;
mod heads;
mod keys_file;
mod metrics;
mod outage;
mod reload;
mod slow_clients;
mod tls;
mod trust;
mod watched;
mod wire;

use serde_json::{Value, json};

use program::Program;

/// A chat request with `text` as its question.
fn question(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}
