//! The built program as a person uses it: data on stdout, talk on stderr, exit codes, signals.

#[path = "../watch/mod.rs"]
mod watch;

#[path = "../proxy/support"]
mod support {
    #![allow(
        dead_code,
        reason = "each test binary uses its own part of the support"
    )]

    pub(crate) mod connection;
    pub(crate) mod reply;
    pub(crate) mod server;
}

mod program;

mod answers;
mod asking;
mod configuring;
mod searching;
mod stopping;
mod tls;
mod uploading;
mod usage;
