//! The LightOn client against a scripted LightOn, over real sockets.

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

mod server;
