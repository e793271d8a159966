//! The sandbox's services over real sockets: every status and shape that LightOn's clients rely on.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failure here is the test's failure"
)]

mod documents;
mod errors;
mod files;
mod handbook;
mod lists;
mod paradigm;
mod search;
mod service;
mod workspaces;
