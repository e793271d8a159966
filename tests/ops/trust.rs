//! Whom the gateway believes that its neighbours are who they say: those that the system trusts, or that `SSL_CERT_FILE` names.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::{
    Program, question,
    support::{
        authority::{Authority, Door},
        lighton::{FakeLightOn, found, result},
        reply::Reply,
        server::Server,
        upstream::says,
    },
};

#[tokio::test]
async fn every_neighbour_may_be_vouched_for_by_the_file_that_the_environment_names() {
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Five years.")]));
    let upstream = Server::new().always("/v1/chat/completions", says("Five."));
    let collector = Server::new()
        .always("/v1/traces", Reply::status(200))
        .always("/v1/metrics", Reply::status(200));
    let (searched, asked, told) = (
        Door::before(&lighton, &issued).await,
        Door::before(&upstream, &issued).await,
        Door::before(&collector, &issued).await,
    );
    let text = format!(
        "retry.attempts = 1\n[search]\nbase_url = \"{}\"\napi_key = \"lo-secret-k\"\n[upstreams.model]\nbase_url = \"{}/v1\"\nmodels = [\"m\"]\n\
         [telemetry]\notlp_endpoint = \"{}\"\n",
        searched.url(),
        asked.url(),
        told.url()
    );
    let folder = || {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("groundwire.toml"), &text).unwrap();
        folder
    };
    let off = |mut body: serde_json::Value| {
        body["rag"] = json!({"mode": "off"});
        body
    };

    let strict = Program::start(folder()).await;
    let (unsearched, unasked) = (
        strict.chat(&question("How long?")).await.status(),
        strict.chat(&off(question("How long?"))).await.status(),
    );
    let file = authority.file();
    let trusting = Program::start_with(folder(), &[("SSL_CERT_FILE", &file)]).await;
    let answered = trusting.chat(&question("How long?")).await.status();

    assert_eq!((unsearched.as_u16(), unasked.as_u16()), (502, 502));
    assert_eq!(answered, 200);
    // The one that it told of is the one that trusts.
    let told = collector.received(1).await;
    assert!(told.iter().all(|request| request.path == "/v1/traces"));
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(lighton.requests().len(), 1);
}
