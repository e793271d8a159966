//! Probes and numbers that listen apart from what clients reach.

use crate::{
    Program, question,
    support::{server::Server, upstream::says},
};

const RELAYING: &str = "rag.mode = \"off\"\nallow_overrides = false\n";

/// The digest of `test`.
const KEY: &str = "[[keys]]\nname = \"test\"\nsha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\nworkspace_id = \"*\"\n";

fn apart(upstream: &Server) -> String {
    format!(
        "admin_listen = \"127.0.0.1:0\"\n{RELAYING}[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n{KEY}",
        upstream.url()
    )
}

#[tokio::test]
async fn the_numbers_are_apart_and_the_probes_on_both_sides() {
    let upstream = Server::new().then(says("x"));
    let mut program = Program::serve(&apart(&upstream)).await;
    let log = program.says("admin on http://").await;
    let admin = log.split("admin on ").nth(1).unwrap();
    let admin = admin.split_whitespace().next().unwrap().to_owned();
    let get = async |path: &str| reqwest::get(format!("{admin}{path}")).await.unwrap();

    assert_eq!(program.chat_as("test", &question("x")).await.status(), 200);

    assert_eq!(program.get("/metrics").await.status(), 404);
    let numbers = get("/metrics").await.text().await.unwrap();
    assert!(numbers.contains("groundwire_requests_total"), "{numbers}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(program.get(path).await.status(), 200, "{path}");
        assert_eq!(get(path).await.status(), 200, "{path}");
    }
    for path in ["/v1/models", "/v1/chat/completions", "/sources/512", "/"] {
        assert_eq!(get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn both_sides_say_that_the_process_is_on_its_way_out() {
    let upstream = Server::new();
    let text = format!("timeouts.drain_delay = \"60s\"\n{}", apart(&upstream));
    let mut program = Program::serve(&text).await;
    let log = program.says("admin on http://").await;
    let admin = log.split("admin on ").nth(1).unwrap();
    let ready = format!("{}/readyz", admin.split_whitespace().next().unwrap());

    program.terminate();
    program.says("stopping").await;

    assert_eq!(reqwest::get(&ready).await.unwrap().status(), 503);
    assert_eq!(program.get("/readyz").await.status(), 503);
    program.terminate();
    program.end().await;
}
