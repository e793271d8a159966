//! `/metrics` and the line of a request: what they tell, and that they never tell content.

use serde_json::{Value, json};

use crate::{
    Program, question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::{Gate, Reply, sse, sse_unfinished},
        server::Server,
        upstream::{chunk, finish, refuses, says, usage},
    },
};

/// The value of the sample with these labels, each as `name="value"`.
pub(crate) fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
    });
    let line = lines.next()?;
    assert!(
        lines.next().is_none(),
        "{name} {labels:?} is not one sample:\n{text}"
    );
    line.rsplit(' ').next()?.parse().ok()
}

pub(crate) async fn metrics(gateway: &Gateway) -> String {
    let answer = gateway.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    answer.text().to_owned()
}

#[tokio::test]
async fn a_whole_answer_is_counted_with_its_search_passages_and_tokens() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new().then(says("Seven [1]."));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    gateway.ask(&question("How long?")).await.json();
    let text = metrics(&gateway).await;

    let labels = [
        "endpoint=\"/v1/chat/completions\"",
        "upstream=\"model\"",
        "model=\"m\"",
        "mode=\"inject\"",
        "key=\"\"",
        "status=\"200\"",
    ];
    assert_eq!(
        sample(&text, "groundwire_requests_total", &labels),
        Some(1.0),
        "{text}"
    );
    let value = |name: &str, labels: &[&str]| sample(&text, name, labels);
    assert_eq!(
        value("groundwire_request_duration_seconds_count", &[]),
        Some(1.0)
    );
    assert_eq!(
        value("groundwire_searches_total", &["outcome=\"made\""]),
        Some(1.0)
    );
    assert_eq!(value("groundwire_search_seconds_count", &[]), Some(1.0));
    assert_eq!(value("groundwire_passages_total", &[]), Some(1.0));
    assert_eq!(
        value("groundwire_tokens_total", &["kind=\"prompt\""]),
        Some(7.0)
    );
    assert_eq!(
        value("groundwire_tokens_total", &["kind=\"completion\""]),
        Some(3.0)
    );
    assert_eq!(
        value("groundwire_endings_total", &["ending=\"done\""]),
        Some(1.0)
    );
    assert_eq!(
        value("groundwire_upstream_up", &["upstream=\"model\""]),
        Some(1.0)
    );
}

#[tokio::test]
async fn an_open_stream_is_a_gauge_and_its_first_event_a_time() {
    let gate = Gate::new();
    let reply = sse_unfinished([chunk("a")]).wait(&gate).piece(format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        finish("stop"),
        usage()
    ));
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, "rag.mode = \"off\"").await;
    let mut body = question("How long?");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});

    let mut stream = gateway.open(&body).await;
    stream.until("\"a\"").await;
    let during = metrics(&gateway).await;
    gate.open();
    stream.rest().await;
    let after = metrics(&gateway).await;

    let open = |text: &str| sample(text, "groundwire_open_streams", &[]);
    assert_eq!((open(&during), open(&after)), (Some(1.0), Some(0.0)));
    let held = |text: &str| sample(text, "groundwire_requests_in_flight", &[]);
    assert_eq!((held(&during), held(&after)), (Some(1.0), Some(0.0)));
    assert_eq!(
        sample(
            &after,
            "groundwire_first_event_seconds_count",
            &["mode=\"off\""]
        ),
        Some(1.0)
    );
    assert_eq!(
        sample(&after, "groundwire_longest_gap_seconds_count", &[]),
        Some(1.0)
    );
    assert_eq!(
        sample(&after, "groundwire_tokens_total", &["kind=\"completion\""]),
        Some(3.0)
    );
}

#[tokio::test]
async fn retries_fallbacks_failures_and_endings_are_told_by_upstream() {
    let bad = Server::new()
        .then(refuses(503, "x"))
        .then(refuses(500, "x"));
    let good = Server::new().then(sse_unfinished([chunk("a")]).cut());
    let text = r#"
        rag.mode = "off"
        allow_overrides = false
        retry.attempts = 2
        upstreams.bad = { base_url = "${BAD}", api_key = "md-secret-k", models = ["x"] }
        upstreams.good = { base_url = "${GOOD}", api_key = "md-secret-k", models = ["y"] }
        models.m = { upstream = "bad", model = "x", fallback = ["good/y"] }
    "#;
    let gateway = Gateway::of(text, &[("BAD", &bad), ("GOOD", &good)]).await;
    let mut body = question("How long?");
    body["stream"] = json!(true);

    gateway
        .stream(&body)
        .await
        .closing_error("upstream_error", "upstream_truncated");
    let text = metrics(&gateway).await;

    let value = |name: &str, labels: &[&str]| sample(&text, name, labels);
    assert_eq!(
        value("groundwire_retries_total", &["upstream=\"bad\""]),
        Some(1.0),
        "{text}"
    );
    assert_eq!(
        value("groundwire_fallbacks_total", &["upstream=\"bad\""]),
        Some(1.0)
    );
    let failure = "groundwire_upstream_failures_total";
    assert_eq!(
        value(failure, &["upstream=\"bad\"", "status_5xx"]),
        Some(2.0)
    );
    assert_eq!(
        value(failure, &["upstream=\"good\"", "truncated"]),
        Some(1.0)
    );
    let ending = ["upstream=\"good\"", "ending=\"truncated\""];
    assert_eq!(value("groundwire_endings_total", &ending), Some(1.0));
}

#[tokio::test]
async fn a_request_too_many_is_a_shed() {
    let gate = Gate::new();
    let upstream = Server::new().then(says("x").head_after(&gate));
    let settings = "rag.mode = \"off\"\nlimits.concurrent_requests = 1";
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, settings).await;

    let body = question("How long?");
    let first = gateway.ask(&body);
    let second = async {
        upstream.received(1).await;
        let refused = gateway.ask(&question("And now?")).await;
        gate.open();
        refused
    };
    let (first, refused) = tokio::join!(first, second);

    assert_eq!(first.status, 200);
    refused.error(503, "overloaded_error", "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let text = metrics(&gateway).await;
    assert_eq!(sample(&text, "groundwire_sheds_total", &[]), Some(1.0));
}

#[tokio::test]
async fn no_client_makes_up_labels_and_no_content_is_told() {
    let upstream = Server::new().always("/v1/models", Reply::status(404));
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, "rag.mode = \"off\"").await;
    upstream.push(refuses(404, "no such model"));
    let mut body = question("a very secret question");
    body["model"] = json!("made-up");

    gateway.ask(&body).await;
    gateway.get("/v1/nothing/made-up-path").await;
    let text = metrics(&gateway).await;

    assert_eq!(
        sample(&text, "groundwire_requests_total", &["model=\"other\""]),
        Some(1.0),
        "{text}"
    );
    for word in ["made-up", "secret", "no such model", "nothing"] {
        assert!(!text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn the_line_of_a_request_tells_what_it_took_and_nothing_of_its_content() {
    let lighton = FakeLightOn::new().finds([result("Seven confidential years.")]);
    let reply = sse([chunk("Seven"), finish("stop"), usage()]);
    let upstream = Server::new().then(reply);
    let mut program = Program::serve(&format!(
        "search = {{ base_url = \"{}\", api_key = \"md-secret-k\" }}\nlog = {{ format = \"json\", sources = true }}\n\
         [upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        lighton.url(),
        upstream.url()
    ))
    .await;
    let mut body = question("How long, by the secret policy?");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});

    program.chat(&body).await.text().await.unwrap();
    program.terminate();
    let (code, log) = program.end().await;

    assert_eq!(code, Some(0));
    let line = log
        .lines()
        .find(|line| line.contains("POST /v1/chat"))
        .unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    for (field, expected) in [
        ("status", json!(200)),
        ("ending", json!("done")),
        ("model", json!("m")),
        ("upstream", json!("model")),
        ("mode", json!("inject")),
        ("searches", json!(1)),
        ("passages", json!(1)),
        ("prompt_tokens", json!(7)),
        ("completion_tokens", json!(3)),
        ("sources", json!("512:550e8400-e29b-41d4-a716-446655440000")),
    ] {
        assert_eq!(line[field], expected, "{field} in {line}");
    }
    for field in [
        "duration_ms",
        "ttfe_ms",
        "search_ms",
        "upstream_ms",
        "passage_tokens",
    ] {
        assert!(line[field].is_number(), "{field} in {line}");
    }
    for word in ["secret", "confidential", "Seven"] {
        assert!(!log.contains(word), "{log}");
    }
}
