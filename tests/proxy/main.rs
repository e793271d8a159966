//! The gateway as a client sees it: the real one, over real sockets, between scripted neighbours.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failure here is the test's failure"
)]

#[path = "../watch/mod.rs"]
mod watch;

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

mod auth;
mod cors;
mod egress;
mod errors;
mod faults;
mod grounded;
mod inject;
mod models;
mod overflow;
mod relay;
mod scopes;
mod settings;
mod streams;

// The second halves of `grounded`, `auth`, `inject`, `errors`, `faults`, `scopes` and `streams`.
mod citations;
mod client_keys;
mod file_scopes;
mod injection;
mod key_life;
mod own_search;
mod packing;
mod refusals;
mod retries;
mod sources;
mod tenants;
mod unstreamed;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::lighton::result;

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

/// A search result of its own: `id` is its chunk, and the name of its file.
fn passage(id: &str, content: &str) -> Value {
    let mut found = result(content);
    found["chunk_id"] = json!(id);
    found["source"]["filename"] = json!(format!("{id}.pdf"));
    found
}

/// A client's key called `name`, which is also its text, with these settings.
fn key(name: &str, settings: &str) -> String {
    let digest: String = Sha256::digest(name)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\n[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\n{settings}\n")
}
