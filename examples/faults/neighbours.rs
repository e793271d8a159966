//! LightOn and two upstreams, each with a mind of its own.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    provider,
    support::{
        lighton::{found, maintenance, refusal, result},
        reply::Reply,
        server::{Request, Server},
    },
};

/// The neighbours of the gateway.
pub(crate) struct Neighbours {
    pub(crate) lighton: Server,
    pub(crate) one: Server,
    pub(crate) two: Server,
}

impl Neighbours {
    /// Starts them; `seed` decides what they do.
    pub(crate) fn start(seed: u64) -> Self {
        Self {
            lighton: at_random(seed ^ 0x10, |rng, _| search(rng)),
            one: at_random(seed ^ 0x20, provider::answer),
            two: at_random(seed ^ 0x30, provider::answer),
        }
    }

    /// Waits until nothing is asked of any, and closes the connections that rest.
    pub(crate) async fn settled(&self) {
        for server in [&self.lighton, &self.one, &self.two] {
            server.settled().await;
        }
    }
}

fn at_random(seed: u64, answer: fn(&mut Rng, &Request) -> Reply) -> Server {
    let rng = Mutex::new(Rng::with_seed(seed));
    Server::improvising(move |request| {
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        answer(&mut rng, request)
    })
}

/// What a search brings: two times in three passages, else one of the ways to fail.
fn search(rng: &mut Rng) -> Reply {
    let finds = || found([result("Five years.")]);
    match rng.u8(0..30) {
        0..18 => finds(),
        18 => found([]),
        19 | 20 => finds_late(rng),
        21 => Reply::silence(),
        22 => Reply::refused(),
        23 => Reply::closed(),
        24 => {
            let stream = Reply::stream("application/json");
            stream.half_chunk("{\"results\":").cut()
        }
        25 => Reply::body("text/html", "<h1>Oops</h1>"),
        26 => Reply::status(500),
        27 => maintenance(),
        28 => refusal(429, "rate_limited", "Slow down").header("retry-after", rng.u8(0..2)),
        _ => Reply::body("application/json", "{\"results\": [{\"cut"),
    }
}

fn finds_late(rng: &mut Rng) -> Reply {
    let body = r#"{"results":[]}"#;
    let (head, rest) = body.split_at(rng.usize(1..body.len()));
    Reply::stream("application/json")
        .piece(head)
        .pause(Duration::from_millis(rng.u64(50..600)))
        .piece(rest)
}
