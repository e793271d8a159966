//! A collector: it takes what it is sent, and reads it by the definitions of OTLP.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::Metric,
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::support::{
    gateway::Gateway,
    reply::Reply,
    server::{Request, Server},
};

pub(crate) const TRACES: &str = "/v1/traces";
pub(crate) const METRICS: &str = "/v1/metrics";

/// A scripted collector; it takes everything that its script says nothing else of.
pub(crate) struct Collector(pub(crate) Server);

impl Collector {
    /// One that takes everything.
    pub(crate) fn new() -> Self {
        Self::of(Server::new())
    }

    /// One that answers by its script first.
    pub(crate) fn of(server: Server) -> Self {
        Self(server.always(TRACES, takes()).always(METRICS, takes()))
    }

    /// The section that leads to it.
    pub(crate) fn settings(&self) -> String {
        format!("[telemetry]\notlp_endpoint = \"{}\"\n", self.0.url())
    }

    /// What `gateway` tells of, once it has told all: its spans in the order in which they began, a request before its steps.
    pub(crate) async fn spans(&self, gateway: &mut Gateway) -> Vec<Span> {
        gateway.flush().await;
        self.spans_so_far()
    }

    /// The spans that came so far.
    pub(crate) fn spans_so_far(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = self.to(TRACES).iter().flat_map(spans_of).collect();
        spans.sort_by_key(|span| (span.start_time_unix_nano, !span.parent_span_id.is_empty()));
        spans
    }

    /// The numbers of the last export.
    pub(crate) fn numbers_so_far(&self) -> Vec<Metric> {
        numbers_of(self.to(METRICS).last().unwrap())
    }

    /// The requests to `path`.
    pub(crate) fn to(&self, path: &str) -> Vec<Request> {
        let mut requests = self.0.requests();
        requests.retain(|request| request.path == path);
        requests
    }
}

/// The answer of a collector that took everything.
pub(crate) fn takes() -> Reply {
    Reply::body("application/x-protobuf", "")
}

/// The spans of one export.
pub(crate) fn spans_of(request: &Request) -> Vec<Span> {
    let export = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
    let scopes = export
        .resource_spans
        .into_iter()
        .flat_map(|all| all.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The numbers of one export.
pub(crate) fn numbers_of(request: &Request) -> Vec<Metric> {
    let export = ExportMetricsServiceRequest::decode(&request.body[..]).unwrap();
    let scopes = export
        .resource_metrics
        .into_iter()
        .flat_map(|all| all.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).collect()
}

/// What the sender of an export says of itself.
pub(crate) fn resource_of(request: &Request) -> Value {
    let export = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
    let resource = export.resource_spans[0].resource.as_ref().unwrap();
    attributes_of(&resource.attributes)
}

/// `spans` as a tree: name, kind, what failed, events.
pub(crate) fn tree(spans: &[Span]) -> String {
    let mut lines = String::new();
    let is_root = |span: &&Span| {
        !spans
            .iter()
            .any(|other| other.span_id == span.parent_span_id)
    };
    for root in spans.iter().filter(is_root) {
        branch(spans, root, 0, &mut lines);
    }
    lines
}

fn branch(spans: &[Span], span: &Span, depth: usize, lines: &mut String) {
    let indent = "  ".repeat(depth);
    let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_");
    lines.push_str(&format!("{indent}{} ({})", span.name, kind.to_lowercase()));
    let attributes = attributes(span);
    let error = attributes.get("error.type").and_then(Value::as_str);
    let has_failed = span
        .status
        .as_ref()
        .is_some_and(|status| status.code() == StatusCode::Error);
    assert_eq!(error.is_some(), has_failed, "{span:?}");
    if let Some(error) = error {
        lines.push_str(&format!(" failed: {error}"));
    }
    for event in &span.events {
        lines.push_str(&format!(" +{}", event.name));
    }
    lines.push('\n');
    for child in spans
        .iter()
        .filter(|other| other.parent_span_id == span.span_id)
    {
        assert_eq!(child.trace_id, span.trace_id);
        let within = span.start_time_unix_nano..=span.end_time_unix_nano;
        assert!(
            within.contains(&child.start_time_unix_nano),
            "{span:?}{child:?}"
        );
        assert!(
            within.contains(&child.end_time_unix_nano),
            "{span:?}{child:?}"
        );
        branch(spans, child, depth + 1, lines);
    }
}

/// What a span says.
pub(crate) fn attributes(span: &Span) -> Value {
    attributes_of(&span.attributes)
}

pub(crate) fn attributes_of(pairs: &[KeyValue]) -> Value {
    let mut attributes = Map::new();
    for pair in pairs {
        let before = attributes.insert(pair.key.clone(), value(pair.value.as_ref().unwrap()));
        assert!(before.is_none(), "`{}` is said twice", pair.key);
    }
    Value::Object(attributes)
}

fn value(value_of: &AnyValue) -> Value {
    match value_of.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => json!(text),
        any_value::Value::BoolValue(flag) => json!(flag),
        any_value::Value::IntValue(number) => json!(number),
        any_value::Value::DoubleValue(number) => json!(number),
        any_value::Value::ArrayValue(list) => list.values.iter().map(value).collect(),
        other => panic!("no attribute is a {other:?}"),
    }
}

/// A number as the header of a trace writes it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
