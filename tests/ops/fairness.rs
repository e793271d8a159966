//! Keys that search more than search allows, and keys that search beside them.

use futures_util::future::join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, found, result},
        server::Server,
        upstream::says,
    },
};

/// A key called `name`, which is also its text.
fn key(name: &str) -> String {
    let digest: String = Sha256::digest(name)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n")
}

async fn ask(gateway: &Gateway, key: &str, text: &str) -> Answer {
    Answer::of(gateway.chat(&question(text)).bearer_auth(key)).await
}

#[tokio::test]
async fn a_key_with_many_searches_does_not_make_another_wait_behind_all_of_them() {
    let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Seven years.")]));
    let upstream = Server::new().always("/v1/chat/completions", says("Seven."));
    // Five at once, then one each 203 ms: ten of the loud key's searches wait for two seconds.
    let settings = format!(
        "search.requests_per_minute = 300\n{}{}",
        key("loud"),
        key("quiet")
    );
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;

    let texts: Vec<String> = (0..15).map(|number| format!("loud {number}")).collect();
    let loud = join_all(texts.iter().map(|text| ask(&gateway, "loud", text)));
    let quiet = async {
        lighton.received(5).await;
        ask(&gateway, "quiet", "quiet").await
    };
    let (loud, quiet) = tokio::join!(loud, quiet);

    assert!(loud.iter().all(|answer| answer.status == 200));
    quiet.json();
    let searched: Vec<Value> = lighton
        .requests()
        .iter()
        .map(|request| request.json()["query"].clone())
        .collect();
    let turn = searched.iter().position(|query| query == "quiet").unwrap();
    assert!(turn < 14, "it came at the end: {searched:?}");
}

#[tokio::test]
async fn what_one_key_found_is_found_for_another() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new().always("/v1/chat/completions", says("Seven."));
    let settings = format!("search.cache_ttl = \"1h\"\n{}{}", key("one"), key("two"));
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;

    ask(&gateway, "one", "How long?").await.json();
    let second = ask(&gateway, "two", "How long?").await.json();

    assert_eq!(second["rag"]["usage"]["cached"], 1);
}
