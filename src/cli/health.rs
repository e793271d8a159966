//! `groundwire health`: asks `/healthz`, so that an image without a shell can check itself.

use std::time::Duration;

use super::{Failure, Health, gateway::Base};
use crate::config::Environment;

/// Succeeds when the gateway answers.
pub(super) async fn run(args: Health, env: &Environment) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = Base::choose(args.url, env)?.join("/healthz");
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3))
        .build();
    let client = client.map_err(|error| Failure::running("no HTTP client", error))?;
    let answer = client
        .get(&url)
        .send()
        .await
        .map_err(|error| Failure::running("no answer", error))?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(Failure::Running(format!(
            "{url} answers {}",
            answer.status()
        )))
    }
}
