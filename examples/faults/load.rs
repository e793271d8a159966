//! The clients: each asks one thing after the other, until time is up.

use std::time::Duration;

use fastrand::Rng;
use reqwest::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    asked::{Asked, Manners},
    tally::Tally,
    verdict::{Heard, Verdict, judge},
};

/// When a client gives up: five times as long as the gateway lets any request take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A steady load.
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) seed: u64,
    pub(crate) clients: u64,
}

impl Load {
    /// Asks until `until`, and counts in `tally`; returns when the last answer is there.
    pub(crate) async fn run(&self, until: Instant, tally: &Tally) {
        // Fails where a provider was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let rng = Rng::with_seed(self.seed.wrapping_mul(1000).wrapping_add(number));
            clients.spawn(client(self.url.clone(), rng, until, tally.clone()));
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    }
}

async fn client(url: String, mut rng: Rng, until: Instant, tally: Tally) {
    let http = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    while Instant::now() < until {
        let asked = Asked::at_random(&mut rng);
        let request = http
            .post(format!("{url}{}", asked.path()))
            .header("content-type", "application/json")
            .body(asked.body(rng.u64(..)));
        let verdict = match asked.manners {
            Manners::Patient | Manners::Slow => match timeout(PATIENCE, hear(request, asked)).await
            {
                Ok(heard) => judge(asked, heard),
                Err(_) => Verdict::Lost(format!("nothing ended within {PATIENCE:?}")),
            },
            // The request goes with its future: the client has left.
            Manners::Leaving(after) => match timeout(after, hear(request, asked)).await {
                Ok(heard) => judge(asked, heard),
                Err(_) => Verdict::Left,
            },
        };
        tally.count(asked, verdict);
        sleep(Duration::from_millis(rng.u64(5..40))).await;
    }
}

async fn hear(request: reqwest::RequestBuilder, asked: Asked) -> Heard {
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Heard::nothing(&error),
    };
    let mut heard = Heard::new(&response);
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => heard.body.extend_from_slice(&piece),
            Ok(None) => return heard,
            Err(error) => {
                heard.broken = Some(error.to_string());
                return heard;
            }
        }
        if matches!(asked.manners, Manners::Slow) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
