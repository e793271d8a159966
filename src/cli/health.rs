//! `groundwire health`: asks `/healthz`, so that an image without a shell can check itself.

use std::time::Duration;

use super::{Failure, Health};

/// Succeeds when the gateway answers.
pub(super) async fn run(args: Health) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!(
        "{}/healthz",
        args.url.trim_end_matches('/').trim_end_matches("/v1")
    );
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
