//! `groundwire health`: asks `/healthz`, so that an image without a shell can check itself.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{Failure, Health, arguments::Source, gateway::Base, load};
use crate::config::{Environment, Purpose};

/// Succeeds when the gateway answers.
pub(super) async fn run(args: Health, env: &Environment) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = match (&args.url, env.get("GROUNDWIRE_URL")) {
        (None, None) => own_address(&args.source, env),
        (Some(_), _) | (None, Some(_)) => None,
    };
    let base = Base::choose(args.url.or(own), env)?;
    let url = base.join("/healthz");
    let client = reqwest::Client::builder()
        .no_proxy()
        // On the way to this very machine nobody stands in between, and the certificate is for another name than the loopback address.
        .tls_danger_accept_invalid_certs(base.is_loopback())
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

/// Where a gateway with the same configuration answers on this machine; `None` where nothing tells, as for the sandbox.
fn own_address(source: &Source, env: &Environment) -> Option<Base> {
    let config = load(source, None, Purpose::Serve, env).ok()?.config;
    let (scheme, listen) = match (config.admin_listen, &config.tls) {
        (Some(apart), _) => ("http", apart),
        (None, Some(_)) => ("https", config.listen),
        (None, None) => ("http", config.listen),
    };
    // What listens everywhere is reached by loopback.
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let reached = SocketAddr::new(ip, listen.port());
    format!("{scheme}://{reached}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_where_the_gateway_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("groundwire.toml");
        let off =
            "rag.mode = \"off\"\nallow_overrides = false\nanonymous = true\n[upstreams.ollama]\n";
        for (settings, address) in [
            ("", Some("http://127.0.0.1:8080")),
            ("listen = \"0.0.0.0:9\"", Some("http://127.0.0.1:9")),
            ("listen = \"[::]:9\"", Some("http://[::1]:9")),
            ("listen = \"192.0.2.7:9\"", Some("http://192.0.2.7:9")),
            (
                "listen = \"0.0.0.0:9\"\nadmin_listen = \"0.0.0.0:10\"",
                Some("http://127.0.0.1:10"),
            ),
            ("listen = \"nowhere\"", None),
        ] {
            std::fs::write(&file, format!("{settings}\n{off}")).unwrap();
            let source = Source {
                config: Some(file.clone()),
            };

            let own = own_address(&source, &Environment::default());

            let own = own.map(|base| base.to_string());
            assert_eq!(own.as_deref(), address, "{settings}");
        }
    }
}
