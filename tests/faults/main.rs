//! The worst day: every fault of a neighbour, of a client and of the operator, met in every kind of answer.
//!
//! Each test is a row of the table and runs it for its kinds of answers: what the client hears, what the neighbour saw, and that no
//! task, no stream, no place and no socket is left behind.

#![expect(
    clippy::expect_used,
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

#[path = "../ops/program.rs"]
#[expect(
    dead_code,
    reason = "each test binary uses its own part of the program"
)]
mod program;

mod heard;
mod kind;
mod stage;

mod before;
mod clients;
mod midway;
mod operator;
mod search;

mod balancer;
mod nginx;
mod restart;
