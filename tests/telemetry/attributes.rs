//! Every attribute, whole: what is not listed here is not told.

use serde_json::{Value, json};

use crate::{
    Collector,
    collector::{TRACES, attributes, resource_of},
    question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::sse,
        server::Server,
        upstream::{MODEL, chunk, finish, says, usage},
    },
    told,
};

#[tokio::test]
async fn a_streamed_answer_says_this_and_nothing_else() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(sse([chunk("Five [1]."), finish("stop"), usage()]));
    let mut gateway = told(&collector, &lighton, &upstream, "").await;
    let body = question(json!({"stream": true, "stream_options": {"include_usage": true}}));

    let request = gateway.chat(&body).header("x-request-id", "caller-1");
    request.send().await.unwrap().bytes().await.unwrap();
    let spans = collector.spans(&mut gateway).await;

    let mut said = attributes(&spans[0]);
    let took = said["groundwire.time_to_first_event"].take();
    assert!((0.0..20.0).contains(&took.as_f64().unwrap()), "{took}");
    let expected = json!({
        "http.request.method": "POST", "url.scheme": "http", "url.path": "/v1/chat/completions",
        "http.route": "/v1/chat/completions", "http.response.status_code": 200,
        "groundwire.request.id": "caller-1", "groundwire.ending": "done",
        "groundwire.model": "m", "groundwire.upstream": "model", "groundwire.mode": "inject",
        "groundwire.searches": 1, "groundwire.passages": 1, "groundwire.passage_tokens": said["groundwire.passage_tokens"],
        "groundwire.prompt_tokens": 7, "groundwire.completion_tokens": 3,
        "groundwire.time_to_first_event": null,
    });
    assert_eq!(said, expected);
    assert!(said["groundwire.passage_tokens"].as_u64().unwrap() > 0);
    let expected = json!({
        "gen_ai.operation.name": "retrieval", "groundwire.search.results": 1, "groundwire.search.cached": false,
    });
    assert_eq!(attributes(&spans[1]), expected);
    let expected = json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "model", "gen_ai.request.model": "m",
        "gen_ai.response.model": MODEL, "gen_ai.response.id": "chatcmpl-up", "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1", "server.port": upstream.address().port(),
    });
    assert_eq!(attributes(&spans[2]), expected);
}

#[tokio::test]
async fn a_whole_answer_says_the_same_of_itself() {
    let collector = Collector::new();
    let upstream = Server::new().then(says("Five."));
    let settings = "rag.mode = \"off\"";
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, settings).await;

    gateway.ask(&question(json!({}))).await;
    let said = attributes(&collector.spans(&mut gateway).await[1]);

    assert_eq!(said["gen_ai.response.model"], MODEL);
    assert_eq!(said["gen_ai.response.id"], "chatcmpl-up");
    assert_eq!(said["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert_eq!(said["gen_ai.usage.input_tokens"], 7);
}

#[tokio::test]
async fn the_files_behind_an_answer_are_told_by_number_and_only_where_the_log_tells_them() {
    let sources = async |settings: &str| {
        let collector = Collector::new();
        let lighton = FakeLightOn::new().finds([result("Five years.")]);
        let upstream = Server::new().then(says("Five."));
        let mut gateway = told(&collector, &lighton, &upstream, settings).await;
        gateway.ask(&question(json!({}))).await;
        attributes(&collector.spans(&mut gateway).await[0])["groundwire.sources"].clone()
    };

    assert_eq!(sources("").await, Value::Null);
    let chunk = "512:550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(sources("log.sources = true").await, chunk);
}

#[tokio::test]
async fn an_export_says_who_sends_it_with_the_headers_that_the_operator_wrote() {
    let collector = Collector::new();
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n[telemetry]\notlp_endpoint = \"{}/otlp\"\nservice_name = \"answers\"\n\
         headers = {{ Authorization = \"Bearer tk-secret-41\", X-Tenant = \"acme\" }}",
        collector.0.url()
    );
    let path = format!("/otlp{TRACES}");
    let collector = Collector(
        collector
            .0
            .always(&path, crate::collector::takes())
            .always("/otlp/v1/metrics", crate::collector::takes()),
    );
    let mut gateway = Gateway::of(&text, &[]).await;

    gateway.get("/v1/models").await;
    gateway.flush().await;

    let exports = collector.to(&path);
    assert_eq!(exports.len(), 1);
    for (name, value) in [
        ("authorization", "Bearer tk-secret-41"),
        ("x-tenant", "acme"),
        ("content-type", "application/x-protobuf"),
    ] {
        assert_eq!(exports[0].header(name), Some(value));
    }
    let resource = resource_of(&exports[0]);
    assert_eq!(resource["service.name"], "answers");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    let instance = resource["service.instance.id"].as_str().unwrap();
    assert_eq!(instance.len(), 36, "{instance}");
    assert_eq!(resource.as_object().unwrap().len(), 3);
}
