//! What a collector of OpenTelemetry is sent: by the real gateway, over real sockets, read by OTLP's own definitions.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
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
#[path = "../ops/program.rs"]
mod program;

mod collector;

mod attributes;
mod away;
mod endings;
mod ends;
mod joining;
mod numbers;
mod secrets;
mod trees;

use serde_json::{Value, json};

use self::{
    collector::Collector,
    support::{gateway::Gateway, lighton::FakeLightOn, server::Server},
};

/// The question of every test that does not care.
const QUESTION: &str = "What is our data retention policy?";

/// A chat request with that question, and these fields beside it.
fn question(more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": QUESTION}]});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// A gateway that tells `collector`; `settings` is more of its file.
async fn told(
    collector: &Collector,
    lighton: &FakeLightOn,
    upstream: &Server,
    settings: &str,
) -> Gateway {
    let text = format!("{settings}\n{}", collector.settings());
    Gateway::start(lighton, upstream, &text).await
}
