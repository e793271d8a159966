//! What clients and upstreams say to each other: pure data, no I/O.
//!
//! Requests and answers are kept as the raw texts of [`json`]; the modules here give a typed look at the few fields that the gateway
//! reads, and write the few that it adds.

pub mod chat;
pub mod chunk;
pub mod completions;
pub mod embeddings;
pub mod error;
pub mod escape;
pub mod files;
pub mod json;
pub mod message;
mod request;
mod sound;
pub mod vector_stores;
mod writer;

use serde::Serialize;

pub use self::{
    chat::ChatRequest,
    chunk::Identity,
    completions::CompletionRequest,
    embeddings::EmbeddingRequest,
    error::ErrorBody,
    json::{Json, Object},
    message::Message,
    writer::Writer,
};

/// `{"object": "list", "data": [...]}`.
#[derive(Debug, Serialize)]
pub struct List<T> {
    object: &'static str,
    /// The items.
    pub data: Vec<T>,
}

impl<T> List<T> {
    /// A list of `data`.
    pub fn new(data: Vec<T>) -> Self {
        Self {
            object: "list",
            data,
        }
    }
}

/// Seconds since 1970, as `created` fields count them.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
