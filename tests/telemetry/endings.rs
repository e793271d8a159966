//! How a request ends, so do its spans.

use serde_json::{Value, json};

use crate::{
    Collector,
    collector::{attributes, tree},
    question,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::{Gate, Reply, sse_unfinished},
        server::Server,
        upstream::{chunk, refuses},
    },
    told,
};

const OFF: &str = "rag.mode = \"off\"\nretry.attempts = 1";

/// The tree of one request to an upstream that answers like this, and how the request says that it ended.
async fn told_of(reply: Reply, body: &Value) -> (String, Value) {
    let collector = Collector::new();
    let upstream = Server::new().then(reply);
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, OFF).await;
    gateway.ask(body).await;
    let spans = collector.spans(&mut gateway).await;
    let ending = attributes(&spans[0])["groundwire.ending"].clone();
    (tree(&spans), ending)
}

/// Waits until the gateway counts a request that its client left.
async fn left(gateway: &Gateway) {
    let counting = async {
        while !gateway
            .get("/metrics")
            .await
            .text()
            .contains("ending=\"cancelled\"")
        {}
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, counting).await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_fails_fails_both_spans() {
    let (tree, ending) = told_of(refuses(503, "down"), &question(json!({}))).await;

    assert_eq!(
        tree,
        "POST /v1/chat/completions (server) failed: 503\n  chat m (client) failed: status_5xx\n"
    );
    assert_eq!(ending, "done");
}

#[tokio::test]
async fn a_refusal_that_is_the_callers_fault_is_no_failure_of_the_gateway() {
    let (tree, _) = told_of(refuses(400, "too long"), &question(json!({}))).await;

    assert_eq!(
        tree,
        "POST /v1/chat/completions (server)\n  chat m (client) failed: status_4xx\n"
    );
}

#[tokio::test]
async fn a_stream_that_breaks_off_fails_both_spans_by_how_it_ended() {
    let cut = sse_unfinished([chunk("Five")]).cut();

    let (tree, ending) = told_of(cut, &question(json!({"stream": true}))).await;

    assert_eq!(
        tree,
        "POST /v1/chat/completions (server) failed: truncated +first_event\n  chat m (client) failed: truncated +first_event\n"
    );
    assert_eq!(ending, "truncated");
}

#[tokio::test]
async fn a_client_that_leaves_cuts_the_call_and_fails_nothing_else() {
    let collector = Collector::new();
    let upstream = Server::new().then(sse_unfinished([chunk("Five")]).hang());
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, OFF).await;

    let mut stream = gateway.open(&question(json!({"stream": true}))).await;
    stream.until("Five").await;
    drop(stream);
    upstream.closed().await;
    left(&gateway).await;
    let spans = collector.spans(&mut gateway).await;

    assert_eq!(
        tree(&spans),
        "POST /v1/chat/completions (server) +first_event\n  chat m (client) failed: cancelled +first_event\n"
    );
    assert_eq!(attributes(&spans[0])["groundwire.ending"], "cancelled");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_searched_for_shows_the_search() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().then(Reply::silence());
    let mut gateway = told(&collector, &lighton, &Server::new(), "").await;

    let body = question(json!({}));
    let asking = gateway.chat(&body).send();
    tokio::select! {
        _ = asking => panic!("nobody answers"),
        _ = lighton.received(1) => {}
    }
    left(&gateway).await;
    let spans = collector.spans(&mut gateway).await;

    assert_eq!(
        tree(&spans),
        "POST /v1/chat/completions (server)\n  search (client) failed: cancelled\n"
    );
    assert_eq!(attributes(&spans[0])["http.response.status_code"], 499);
}

#[tokio::test]
async fn a_span_ends_with_the_last_byte_of_a_stream() {
    let collector = Collector::new();
    let (first, last) = (Gate::new(), Gate::new());
    let reply = sse_unfinished([chunk("Five")])
        .wait(&first)
        .piece(format!("data: {}\n\n", chunk(" years")))
        .wait(&last)
        .piece(format!(
            "data: {}\n\ndata: [DONE]\n\n",
            crate::support::upstream::finish("stop")
        ));
    let upstream = Server::new().then(reply);
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, OFF).await;

    let mut stream = gateway.open(&question(json!({"stream": true}))).await;
    stream.until("Five").await;
    let before = std::time::SystemTime::now();
    first.open();
    stream.until("years").await;
    let between = std::time::SystemTime::now();
    last.open();
    stream.rest().await;
    let spans = collector.spans(&mut gateway).await;

    let nanos = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_nanos()).unwrap()
    };
    for span in &spans {
        assert!(span.events[0].time_unix_nano <= nanos(before), "{span:?}");
        assert!(span.end_time_unix_nano >= nanos(between), "{span:?}");
    }
}
