//! groundwire: a gateway that answers OpenAI clients from a company's own documents.
//!
//! # Layers, top to bottom
//!
//! | module | its one job |
//! |---|---|
//! | [`cli`] | what a person types |
//! | [`http`] | the edge: routes, middleware, errors in OpenAI's shape |
//! | [`app`] | every long-lived part, built once from a [`config::Config`] |
//! | [`rag`] | answers a request with, without, or by means of search |
//! | [`upstream`] | talks to model providers |
//! | [`retrieval`] | finds passages |
//! | [`access`] | who may ask, and for what |
//! | [`budget`] | what retries may cost |
//! | [`alarm`] | timers that are looked at with every event |
//! | [`outbound`] | connections to neighbours |
//! | [`sse`] | event streams, decoded and relayed |
//! | [`openai`] | what clients say: pure data |
//! | [`config`] | what an operator writes |
//! | [`trace`] | where a request stands in a trace, and its steps |
//! | `walk` | where the parts of a JSON text begin and end |
//! | [`sandbox`] | local stand-ins for the neighbours, spoken to over HTTP only |
//!
//! # Life of a chat request
//!
//! 1. `http::middleware` gives it an id and a principal, or stops it with 401.
//! 2. `http::chat` parses only what the gateway reads and keeps the rest as the client wrote it.
//! 3. `upstream::Catalog` resolves `model`; `access::Scope` narrows the workspaces.
//! 4. `rag::Pipeline` searches, packs the passages into the conversation and sends it on.
//! 5. The answer comes back as it arrives; `sse` sees to it that it ends exactly once.
//!
//! Suggested reading order: `openai`, `retrieval`, `upstream`, `rag`, `http`.

pub mod access;
pub mod alarm;
pub mod app;
pub mod budget;
pub mod cli;
pub mod config;
pub mod http;
pub mod openai;
pub mod outbound;
pub mod rag;
pub mod retrieval;
pub mod sandbox;
pub mod sse;
pub mod telemetry;
pub mod trace;
pub mod upstream;
mod walk;
