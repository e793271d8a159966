//! A server of shared limits that is spoken to by TLS: who vouches for it, and who does not.

use std::fs;

use tempfile::TempDir;

use crate::{
    key, knock, metric, number,
    program::Program,
    redis_server::RedisServer,
    support::{authority::Authority, gateway::Gateway, lighton::FakeLightOn, server::Server},
};

const UP: &str = "groundwire_shared_limits_up";

/// A gateway that shares the limits of its key `acme` through the server at `url`.
async fn sharing(url: &str, ca: &str) -> Gateway {
    let upstream = Server::new();
    let settings = format!(
        "rag.mode = \"off\"\nretry.attempts = 1\n[limits.shared]\nredis_url = \"{url}\"\nca = \"{ca}\"\ntimeout = \"20s\"\n{}",
        key("acme", "requests_per_minute = 9")
    );
    Gateway::start(&FakeLightOn::new(), &upstream, &settings).await
}

#[tokio::test]
async fn gateways_share_through_a_server_that_their_own_authority_vouches_for() {
    let authority = Authority::new();
    let redis = RedisServer::start_with_tls(&authority.issue("localhost")).await;
    let mut left = Vec::new();
    // Both words for TLS.
    for scheme in ["rediss", "valkeys"] {
        let url = format!("{scheme}://localhost:{}/0", redis.port());
        let gateway = sharing(&url, &authority.file()).await;
        let answer = knock(&gateway, "acme").await;
        left.push(number(&answer, "x-ratelimit-remaining-requests"));
        assert_eq!(metric(&gateway, UP).await, Some(1.0), "{scheme}");
    }
    assert_eq!(left, [8, 7]);
}

#[tokio::test]
async fn a_server_that_nobody_trusted_vouches_for_counts_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = RedisServer::start_with_tls(&authority.issue("localhost")).await;
    let elsewhere = RedisServer::start_with_tls(&authority.issue("redis.internal")).await;
    let url = |server: &RedisServer| format!("rediss://localhost:{}", server.port());

    for (url, ca) in [
        // The system's roots.
        (url(&redis), String::new()),
        (url(&redis), other.file()),
        // Vouched for, as another host.
        (url(&elsewhere), authority.file()),
    ] {
        let gateway = sharing(&url, &ca).await;
        let answer = knock(&gateway, "acme").await;

        // It counts for itself.
        assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), 8);
        assert_eq!(metric(&gateway, UP).await, Some(0.0), "{url} {ca}");
    }
}

#[tokio::test]
async fn the_file_that_the_environment_names_vouches_where_the_configuration_names_none() {
    let authority = Authority::new();
    let redis = RedisServer::start_with_tls(&authority.issue("localhost")).await;
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n[limits.shared]\nredis_url = \"rediss://localhost:{}\"\ntimeout = \"20s\"\n{}",
        redis.port(),
        key("acme", "requests_per_minute = 9")
    );
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("groundwire.toml"), text).unwrap();

    let file = authority.file();
    let program = Program::start_with(folder, &[("SSL_CERT_FILE", &file)]).await;
    program.chat_as("acme", &serde_json::json!({})).await;

    let metrics = program.get("/metrics").await.text().await.unwrap();
    let up = format!("\n{UP}{{}} 1\n");
    assert!(metrics.contains(&up), "{metrics}");
}
