//! What is fuzzed: one file a target, each a function that panics when a promise is broken.
//!
//! The fuzzer calls one of them; `tests/rules` calls all of them with the seeds, so that a target cannot rot.

pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod decoder;
pub(crate) mod search;
pub(crate) mod tools;

/// A target takes any bytes at all.
pub(crate) type Target = fn(&[u8]);

/// Every target by the name of its folder in `fuzz/seeds`.
pub(crate) const ALL: &[(&str, Target)] = &[
    ("chat", chat::check),
    ("config", config::check),
    ("decoder", decoder::check),
    ("search", search::check),
    ("tools", tools::check),
];
