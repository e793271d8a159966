//! Requests a minute and requests at once.

use std::time::Duration;

use serde_json::json;

use crate::{
    ask, key, knock, metric, number, open, question, refused, relaying,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::{Gate, Reply, sse_unfinished},
        server::Server,
        upstream::{chunk, completion, says},
    },
};

#[tokio::test]
async fn a_key_makes_as_many_requests_as_it_may_and_is_told_when_to_come_back() {
    let upstream = Server::new().then(says("one")).then(says("two"));
    let gateway = relaying(&upstream, "requests_per_minute = 2").await;
    let body = question(json!({}));

    let first = ask(&gateway, "acme", &body).await;
    let second = ask(&gateway, "acme", &body).await;
    let third = ask(&gateway, "acme", &body).await;

    for (answer, left, reset) in [(&first, 1, "30s"), (&second, 0, "1m0s")] {
        answer.json();
        assert_eq!(number(answer, "x-ratelimit-limit-requests"), 2);
        assert_eq!(number(answer, "x-ratelimit-remaining-requests"), left);
        let told = answer.header("x-ratelimit-reset-requests").unwrap();
        // The second one may come seconds later on a slow machine.
        assert!(told == reset || left == 0, "{told}");
    }
    let seconds = refused(&third, "2 requests a minute (`requests_per_minute`)");
    assert!(seconds <= 30, "{seconds}");
    assert_eq!(number(&third, "x-ratelimit-remaining-requests"), 0);
    assert_eq!(upstream.requests().len(), 2);
    let counted = "groundwire_limited_total{key=\"acme\",limit=\"requests\"}";
    assert_eq!(metric(&gateway, counted).await, Some(1.0));
}

#[tokio::test]
async fn a_retry_after_the_time_that_was_told_passes() {
    let gateway = relaying(&Server::new(), "requests_per_minute = 30").await;
    let seconds = loop {
        let answer = knock(&gateway, "acme").await;
        if answer.status == 429 {
            break refused(&answer, "30 requests a minute");
        }
        assert_eq!(answer.status, 404);
    };
    assert!(seconds <= 2, "{seconds}");

    // This is what OpenAI's clients do with `Retry-After`.
    tokio::time::sleep(Duration::from_secs(seconds)).await;

    assert_eq!(knock(&gateway, "acme").await.status, 404);
}

#[tokio::test]
async fn every_request_of_a_key_counts_and_nobody_elses_does() {
    let gateway = relaying(&Server::new(), "requests_per_minute = 1").await;

    assert_eq!(gateway.get("/v1/nothing").await.status, 401);
    assert_eq!(knock(&gateway, "free").await.status, 404);
    assert_eq!(knock(&gateway, "acme").await.status, 404);
    refused(&knock(&gateway, "acme").await, "1 requests a minute");
    let source = gateway.request(reqwest::Method::GET, "/sources/1");
    let source = crate::Answer::of(source.bearer_auth("acme")).await;
    refused(&source, "1 requests a minute");
    assert_eq!(knock(&gateway, "free").await.status, 404);
    assert_eq!(gateway.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_limited_key_is_told_its_own_limits_and_never_the_upstreams() {
    let reply = || {
        Reply::json(completion("x"))
            .header("x-ratelimit-limit-requests", 77)
            .header("x-ratelimit-remaining-tokens", 78)
            .header("x-ratelimit-reset-search", "1s")
    };
    let upstream = Server::new().then(reply()).then(reply());
    let gateway = relaying(&upstream, "requests_per_minute = 9").await;
    let body = question(json!({}));

    let limited = ask(&gateway, "acme", &body).await;
    let free = ask(&gateway, "free", &body).await;

    assert_eq!(number(&limited, "x-ratelimit-limit-requests"), 9);
    assert_eq!(number(&limited, "x-ratelimit-remaining-requests"), 8);
    for name in ["x-ratelimit-remaining-tokens", "x-ratelimit-reset-search"] {
        assert_eq!(limited.header(name), None);
    }
    assert_eq!(number(&free, "x-ratelimit-limit-requests"), 77);
    assert_eq!(number(&free, "x-ratelimit-remaining-tokens"), 78);
}

#[tokio::test]
async fn a_key_has_as_many_requests_under_way_as_it_may() {
    let gate = Gate::new();
    let upstream = Server::new()
        .then(says("x").head_after(&gate))
        .then(says("y"));
    let gateway = relaying(&upstream, "concurrent_requests = 1").await;
    let body = question(json!({}));

    let first = ask(&gateway, "acme", &body);
    let second = async {
        upstream.received(1).await;
        let crowded = ask(&gateway, "acme", &body).await;
        let other = knock(&gateway, "free").await;
        gate.open();
        (crowded, other)
    };
    let (first, (crowded, other)) = tokio::join!(first, second);

    assert_eq!((first.status, other.status), (200, 404));
    refused(
        &crowded,
        "1 requests under way at once (`concurrent_requests`)",
    );
    assert_eq!(ask(&gateway, "acme", &body).await.status, 200);
    let counted = "groundwire_limited_total{key=\"acme\",limit=\"concurrent\"}";
    assert_eq!(metric(&gateway, counted).await, Some(1.0));
}

#[tokio::test]
async fn a_client_that_leaves_its_stream_gives_its_place_back() {
    let upstream = Server::new().then(sse_unfinished([chunk("a")]).hang());
    let gateway = relaying(&upstream, "concurrent_requests = 1").await;
    let body = question(json!({"stream": true}));

    let mut stream = open(&gateway, "acme", &body).await;
    stream.until("\"a\"").await;
    refused(&knock(&gateway, "acme").await, "under way at once");
    drop(stream);
    upstream.all_closed().await;

    assert_eq!(knock(&gateway, "acme").await.status, 404);
}

#[tokio::test]
async fn ten_thousand_keys_are_counted_each_by_itself() {
    let keys: String = (0..10_000)
        .map(|number| key(&format!("key-{number}"), "requests_per_minute = 1"))
        .collect();
    let settings = format!("rag.mode = \"off\"\n{keys}");
    let gateway = Gateway::start(&FakeLightOn::new(), &Server::new(), &settings).await;

    for name in ["key-0", "key-5000", "key-9999"] {
        assert_eq!(knock(&gateway, name).await.status, 404);
    }
    for name in ["key-0", "key-5000", "key-9999"] {
        refused(&knock(&gateway, name).await, "1 requests a minute");
    }
}
