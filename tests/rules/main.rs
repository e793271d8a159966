//! Rules that hold everywhere; no sockets.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod config;
mod environment;
mod layers;
mod properties;
mod secrets;
