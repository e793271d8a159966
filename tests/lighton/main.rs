//! The LightOn client against a scripted LightOn, over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure"
)]

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

mod answers;
mod deadlines;
mod documents;
mod faults;
mod requests;
mod uploads;

use std::time::Duration;

use groundwire::{
    config::{Retry, Secret},
    retrieval::{
        Error, Found, Retriever, SearchQuery,
        lighton::{LightOn, Options},
    },
};

/// Enough for any machine; a test that waits for it fails.
const LONG: Duration = Duration::from_secs(30);

/// The key of every client here.
const KEY: &str = "lo-key-1234";

/// Settings with nothing in the way: no pace, three tries, waits of a few milliseconds at most.
fn options() -> Options {
    Options {
        connect: LONG,
        timeout: LONG,
        requests_per_minute: u32::MAX,
        retry: Retry {
            attempts: 3,
            max_wait: Duration::from_millis(5),
            ..Retry::default()
        },
    }
}

/// A client of the service at `url`.
fn client(url: &str, options: Options) -> LightOn {
    LightOn::new(&url.parse().unwrap(), Secret::new(KEY), options).unwrap()
}

/// Searches for `a question` with the settings of [`options`].
async fn search(url: &str) -> Result<Found, Error> {
    client(url, options())
        .search(&SearchQuery::new("a question"))
        .await
}
