//! The traces of callers: joined, told to upstreams, and recorded as the caller says.

use serde_json::json;

use crate::{
    Collector,
    collector::hex,
    question,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::Reply,
        server::{Request, Server},
        upstream::says,
    },
    told,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn ask(gateway: &Gateway, headers: &[(&str, &str)]) {
    let mut request = gateway.chat(&question(json!({})));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
}

fn traceparent(request: &Request) -> &str {
    request.header("traceparent").unwrap()
}

#[tokio::test]
async fn a_request_belongs_to_its_caller_and_a_call_to_the_request() {
    let collector = Collector::new();
    let upstream = Server::new().then(Reply::status(503)).then(says("Five."));
    let settings = "rag.mode = \"off\"\nretry.max_wait = \"5ms\"";
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, settings).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");

    let headers = [("traceparent", parent.as_str()), ("tracestate", "a=1,b=2")];
    ask(&gateway, &headers).await;
    let spans = collector.spans(&mut gateway).await;

    assert_eq!(spans.len(), 3);
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(span.trace_state, "a=1,b=2");
    }
    assert_eq!(hex(&spans[0].parent_span_id), PARENT);
    // Sampled; whether the parent is another process' is known, and of the request it is.
    assert_eq!((spans[0].flags, spans[1].flags), (0x301, 0x101));
    // Each call is told its own span.
    for (request, span) in upstream.requests().iter().zip(&spans[1..]) {
        let expected = format!("00-{TRACE}-{}-01", hex(&span.span_id));
        assert_eq!(traceparent(request), expected);
        assert_eq!(request.header("tracestate"), Some("a=1,b=2"));
    }
}

#[tokio::test]
async fn a_request_that_nobody_traces_begins_a_trace() {
    let collector = Collector::new();
    let upstream = Server::new().then(says("Five."));
    let settings = "rag.mode = \"off\"";
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, settings).await;

    ask(&gateway, &[("tracestate", "a=1")]).await;
    let spans = collector.spans(&mut gateway).await;

    assert!(spans[0].parent_span_id.is_empty());
    let request = upstream.request();
    let expected = format!(
        "00-{}-{}-01",
        hex(&spans[0].trace_id),
        hex(&spans[1].span_id)
    );
    assert_eq!(traceparent(&request), expected);
    assert_eq!(request.header("tracestate"), None);
}

#[tokio::test]
async fn what_the_caller_does_not_record_is_not_recorded_and_said_so() {
    let collector = Collector::new();
    let upstream = Server::new().then(says("Five."));
    let settings = "rag.mode = \"off\"";
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, settings).await;
    let parent = format!("00-{TRACE}-{PARENT}-00");

    ask(&gateway, &[("traceparent", &parent)]).await;
    let spans = collector.spans(&mut gateway).await;

    assert!(spans.is_empty());
    let request = upstream.request();
    let told = traceparent(&request);
    assert!(
        told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"),
        "{told}"
    );
}

#[tokio::test]
async fn of_the_traces_that_begin_here_none_is_recorded_where_the_share_is_nearly_none() {
    let collector = Collector::new();
    let upstream = Server::new().always("/v1/chat/completions", says("Five."));
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.model]\nbase_url = \"${{MODEL}}/v1\"\nmodels = [\"m\"]\n{}trace_ratio = 0.000000001",
        collector.settings()
    );
    let mut gateway = Gateway::of(&text, &[("MODEL", &upstream)]).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");

    for _ in 0..10 {
        ask(&gateway, &[]).await;
    }
    ask(&gateway, &[("traceparent", &parent)]).await;

    // The one whose caller decides.
    let spans = collector.spans(&mut gateway).await;
    assert_eq!(spans.len(), 2);
    assert_eq!(hex(&spans[0].trace_id), TRACE);
}

#[tokio::test]
async fn with_traces_off_the_callers_headers_go_on_as_they_came() {
    let collector = Collector::new();
    let off = format!("{}trace_ratio = 0", collector.settings());
    for telemetry in [off.as_str(), ""] {
        let upstream = Server::new().then(says("Five."));
        let text = format!(
            "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.model]\nbase_url = \"${{MODEL}}/v1\"\nmodels = [\"m\"]\n{telemetry}"
        );
        let mut gateway = Gateway::of(&text, &[("MODEL", &upstream)]).await;
        let parent = format!("00-{TRACE}-{PARENT}-01");

        let headers = [("traceparent", parent.as_str()), ("tracestate", "a=1")];
        ask(&gateway, &headers).await;
        gateway.flush().await;

        let request = upstream.request();
        assert_eq!(traceparent(&request), parent);
        assert_eq!(request.header("tracestate"), Some("a=1"));
    }
    assert!(collector.spans_so_far().is_empty());
}
