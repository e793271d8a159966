//! Mode `tool` over real sockets: the real gateway between a scripted model and a scripted search.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure, and what was printed last names the row"
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

mod edge;
mod heard;
mod turns;

mod accounting;
mod choices;
mod endings;
mod equality;
mod fragments;
mod history;
mod leaks;
mod leaving;
mod mixed;
mod rows;
mod streams;
mod untrusted;
