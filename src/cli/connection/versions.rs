//! Which HTTP a client speaks, and the server for it.
//!
//! hyper-util's own look at the first bytes hands them to hyper as a piece for itself. hyper then takes twice the memory for the buffer that
//! it reads into, copies one to the other, and looks at the head twice; hence the look is ours ([`super::socket::Socket`]).

use std::time::Duration;

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};

/// What a client that speaks HTTP/2 sends first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// A server for each version of HTTP.
pub(in crate::cli) struct Versions {
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Versions {
    /// The server for what a client speaks.
    pub(super) fn of(&self, spoken: Spoken) -> &auto::Builder<TokioExecutor> {
        match spoken {
            Spoken::Http1 => &self.http1,
            Spoken::Http2 => &self.http2,
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        let mut http1 = auto::Builder::new(TokioExecutor::new()).http1_only();
        http1
            .http1()
            .timer(TokioTimer::new())
            // The connection has its own clocks.
            .header_read_timeout(None)
            .max_buf_size(64 << 10);
        let mut http2 = auto::Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(30)))
            // What waits for a client that does not read is held once a stream; hyper's own is 400 KB.
            .max_send_buf_size(64 << 10)
            .max_header_list_size(64 << 10);
        Self { http1, http2 }
    }
}
