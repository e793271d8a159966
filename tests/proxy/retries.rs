//! What is tried again, how often, and where a request goes then.

use serde_json::{Value, json};

use crate::{
    faults::broken,
    question,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::{Reply, sse_unfinished},
        server::Server,
        upstream::{chunk, refuses, says, speaks},
    },
};

const THRICE: &str = "rag.mode = \"off\"\n[retry]\nmax_wait = \"5ms\"\n";

#[tokio::test]
async fn what_may_pass_is_tried_three_times() {
    let event = |error: Value| {
        Reply::stream("text/event-stream")
            .piece(format!("data: {error}\n\n"))
            .piece("data: [DONE]\n\n")
    };
    for reply in [
        Reply::closed(),
        Reply::refused(),
        Reply::status(408),
        refuses(429, "slow down").header("retry-after", 0),
        Reply::body("text/html", "<h1>Oops</h1>").with_status(500),
        Reply::status(502),
        Reply::status(503),
        Reply::status(504),
        Reply::status(200),
        Reply::json(json!({"error": {"message": "overloaded"}})),
        Reply::json(json!({"error": "overloaded"})),
        // Under a status of success nobody promises what the number means.
        Reply::json(json!({"error": {"message": "bad", "code": 400}})),
        event(json!({"error": {"message": "bad", "code": 422}})),
        event(json!({"error": {"message": "overloaded", "code": 503}})),
        Reply::stream("text/event-stream").piece(": ping\n\n").cut(),
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new()
            .then(reply.clone())
            .then(reply.clone())
            .then(speaks(["fine"]));
        let gateway = Gateway::start(&lighton, &upstream, THRICE).await;

        let answer = gateway.stream(&question(json!({"stream": true}))).await;

        assert_eq!(answer.content(), "fine", "{reply:?}");
        let bodies: Vec<Vec<u8>> = upstream
            .requests()
            .into_iter()
            .map(|request| request.body)
            .collect();
        assert!(bodies.len() == 3 && bodies.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[tokio::test]
async fn the_tries_are_bounded_and_the_last_failure_is_the_answer() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new()
        .then(Reply::closed())
        .then(Reply::status(500))
        .then(refuses(503, "still down"));
    let gateway = Gateway::start(&lighton, &upstream, THRICE).await;

    let answer = gateway.ask(&question(json!({}))).await;

    let error = answer.error(503, "invalid_request_error", "context_length_exceeded");
    assert_eq!(error["message"], "still down");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn what_no_try_would_mend_is_asked_once() {
    for status in [400, 403, 404, 409, 413, 422, 501] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(refuses(status, "no"));
        let gateway = Gateway::start(&lighton, &upstream, THRICE).await;

        let answer = gateway.ask(&question(json!({}))).await;

        answer.error(status, "invalid_request_error", "context_length_exceeded");
        assert_eq!(answer.header("x-should-retry"), None, "{status}");
    }
}

#[tokio::test]
async fn the_wait_that_an_upstream_asks_for_is_kept() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new()
        .then(refuses(429, "slow down").header("retry-after-ms", 120))
        .then(says("fine"));
    let gateway = Gateway::start(&lighton, &upstream, "rag.mode = \"off\"").await;

    gateway.ask(&question(json!({}))).await.json();

    let requests = upstream.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(waited.as_millis() >= 120, "{waited:?}");
}

#[tokio::test]
async fn a_wait_beyond_what_the_operator_allows_is_the_clients() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(refuses(429, "slow down").header("retry-after", 60));
    let gateway = Gateway::start(&lighton, &upstream, "rag.mode = \"off\"").await;

    let answer = gateway.ask(&question(json!({}))).await;

    answer.error(429, "invalid_request_error", "context_length_exceeded");
    assert_eq!(
        (
            answer.header("retry-after"),
            answer.header("x-should-retry")
        ),
        (Some("60"), None)
    );
}

#[tokio::test]
async fn nothing_is_repeated_after_the_first_event() {
    for failing in [
        sse_unfinished([chunk("a")]).reset(),
        sse_unfinished([
            chunk("a"),
            json!({"error": {"message": "overloaded", "code": 503}}),
        ]),
    ] {
        // A second request would find no line in the script.
        for answer in broken(failing, "[retry]\nmax_wait = \"5ms\"\n").await {
            assert_eq!(answer.content(), "a");
            assert_eq!(
                answer.chunks().last().unwrap()["choices"][0]["finish_reason"],
                "error"
            );
        }
    }
}

/// A gateway whose model `handbook` is `first`'s, then `second`'s, then `first`'s other model.
async fn falling(first: &Server, second: &Server) -> Gateway {
    let text = r#"
        rag.mode = "off"
        [retry]
        attempts = 2
        max_wait = "5ms"
        [timeouts]
        answer = "2s"
        [upstreams.first]
        base_url = "${FIRST}/v1"
        api_key = "first-key"
        [upstreams.second]
        base_url = "${SECOND}/v1"
        api_key = "second-key"
        [models.handbook]
        upstream = "first"
        model = "large"
        fallback = ["second/org/large", "spare"]
        [models.spare]
        upstream = "first"
        model = "small"
    "#;
    Gateway::of(text, &[("FIRST", first), ("SECOND", second)]).await
}

fn models(server: &Server) -> Vec<Value> {
    server
        .requests()
        .iter()
        .map(|request| request.json()["model"].clone())
        .collect()
}

fn handbook(stream: bool) -> Value {
    let mut body = question(json!({"stream": stream}));
    body["model"] = json!("handbook");
    body
}

#[tokio::test]
async fn fallbacks_are_tried_in_turn_each_with_its_own_tries_name_and_key() {
    let first = Server::new()
        .then(Reply::status(500))
        .then(Reply::closed())
        .then(speaks(["fine"]));
    let second = Server::new()
        .then(Reply::status(503))
        .then(Reply::status(503));
    let gateway = falling(&first, &second).await;

    let answer = gateway.stream(&handbook(true)).await;

    assert_eq!(answer.content(), "fine");
    assert_eq!(
        (
            answer.header("x-groundwire-upstream"),
            answer.header("x-groundwire-model")
        ),
        (Some("first"), Some("small"))
    );
    assert_eq!(models(&first), ["large", "large", "small"]);
    assert_eq!(models(&second), ["org/large", "org/large"]);
    assert!(
        second
            .requests()
            .iter()
            .all(|request| request.header("authorization") == Some("Bearer second-key"))
    );
}

#[tokio::test]
async fn our_own_deadlines_and_a_refused_key_fall_back_without_another_try() {
    for reply in [Reply::silence(), Reply::status(401)] {
        let first = Server::new().then(reply);
        let second = Server::new().then(says("fine"));
        let gateway = falling(&first, &second).await;

        let answer = gateway.ask(&handbook(false)).await;

        answer.json();
        assert_eq!(answer.header("x-groundwire-upstream"), Some("second"));
    }
}

#[tokio::test]
async fn a_fault_of_the_request_does_not_fall_back() {
    let first = Server::new().then(refuses(400, "too long"));
    let second = Server::new();
    let gateway = falling(&first, &second).await;

    gateway.ask(&handbook(false)).await.error(
        400,
        "invalid_request_error",
        "context_length_exceeded",
    );
}

#[tokio::test]
async fn the_last_fallbacks_failure_is_the_answer() {
    let first = Server::new()
        .then(Reply::status(401))
        .then(refuses(400, "too long"));
    let second = Server::new().then(Reply::status(401));
    let gateway = falling(&first, &second).await;

    let answer = gateway.ask(&handbook(false)).await;

    answer.error(400, "invalid_request_error", "context_length_exceeded");
}
