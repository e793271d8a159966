//! How good retrieval and answers are, measured on the questions of `tests/data/wikipedia-qa`; prints the figures and asserts the bars.

#![expect(
    clippy::unwrap_used,
    reason = "clippy lets tests unwrap, but not the functions that they share"
)]
#![expect(
    clippy::print_stdout,
    reason = "the figures are what this program is for"
)]

#[path = "../watch/mod.rs"]
mod watch;

mod indexing;
mod sandbox;
