//! What the gateway offers beside chat: completions, embeddings, models, files and vector stores, over real sockets with scripted
//! neighbours.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
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

    pub(crate) mod connection;
    pub(crate) mod lighton;
    pub(crate) mod reply;
    pub(crate) mod server;
}

mod gateway;

mod completions;
mod embeddings;
mod files;
mod models;
mod paradigm;
mod quirks;
mod schemas;
mod uploads;
mod vector_stores;
