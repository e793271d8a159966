//! A collector that is slow, away or refuses: no request notices, and the log says so once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;

use crate::{
    Collector,
    collector::{METRICS, TRACES, spans_of, takes},
    program::Program,
    question,
    support::{
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::Reply,
        server::{Server, nobody},
        upstream::says,
    },
    told,
};

const OFF: &str = "rag.mode = \"off\"";

/// Shorter than the collector has for an answer.
const SOON: Duration = Duration::from_secs(8);

fn answering() -> Server {
    Server::new().always("/v1/chat/completions", says("Five."))
}

/// What became of the spans so far, by `/metrics`.
async fn spans(gateway: &Gateway, outcome: &str) -> u64 {
    let text = gateway.get("/metrics").await.text().to_owned();
    let prefix = format!("groundwire_spans_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |count| count.parse().unwrap())
}

/// The configuration of a program that relays to `upstream` and tells `collector` its numbers all the time.
pub(crate) fn relaying(upstream: &Server, collector: &str) -> String {
    format!(
        "rag.mode = \"off\"\nallow_overrides = false\ntimeouts.drain_delay = \"0s\"\n[upstreams.model]\nbase_url = \"{}/v1\"\nmodels = [\"m\"]\n\
         [telemetry]\notlp_endpoint = \"{collector}\"\nmetrics_interval = \"20ms\"\n",
        upstream.url()
    )
}

#[tokio::test]
async fn a_collector_that_never_answers_delays_nobody_not_even_the_end() {
    let silent = Server::new()
        .always(TRACES, Reply::silence())
        .always(METRICS, Reply::silence());
    let collector = Collector(silent);
    let upstream = answering();
    let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, OFF).await;
    let began = Instant::now();

    for _ in 0..5 {
        assert_eq!(gateway.ask(&question(json!({}))).await.status, 200);
    }
    gateway.flush().await;

    assert!(began.elapsed() < SOON);
    assert_eq!(collector.to(TRACES).len(), 1);
}

#[tokio::test]
async fn what_a_collector_is_too_busy_for_is_sent_again() {
    // At the same time: each batch is waited for.
    let busy = [429, 502, 503, 504].map(Reply::status);
    let busy = busy.map(|reply| reply.header("retry-after", 0));
    join_all(busy.into_iter().chain([Reply::closed()]).map(sent_again)).await;
}

async fn sent_again(first: Reply) {
    let server = Server::new().on(TRACES, first.clone()).on(TRACES, first);
    let collector = Collector::of(server);
    let upstream = answering();
    let gateway = told(&collector, &FakeLightOn::new(), &upstream, OFF).await;

    gateway.ask(&question(json!({}))).await;
    collector.0.received(3).await;

    let sent: Vec<_> = collector.to(TRACES).iter().map(spans_of).collect();
    assert_eq!(sent[0].len(), 2);
    assert!(sent.iter().all(|again| *again == sent[0]));
    let counting = async { while spans(&gateway, "exported").await < 2 {} };
    tokio::time::timeout(SOON, counting).await.unwrap();
    assert_eq!(spans(&gateway, "dropped").await, 0);
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "no room".into(),
        }),
    };
    let partly = Reply::body("application/x-protobuf", partial.encode_to_vec());
    for (answer, exported, dropped) in [
        (Reply::status(400), 0, 2),
        (Reply::status(404), 0, 2),
        // Followed, it would tell another what is told to this one.
        (
            Reply::status(307).header("location", "http://127.0.0.1:1"),
            0,
            2,
        ),
        (partly, 1, 1),
        (takes(), 2, 0),
    ] {
        let collector = Collector::of(Server::new().on(TRACES, answer));
        let upstream = answering();
        let mut gateway = told(&collector, &FakeLightOn::new(), &upstream, OFF).await;

        gateway.ask(&question(json!({}))).await;
        gateway.flush().await;

        assert_eq!(collector.to(TRACES).len(), 1);
        assert_eq!(spans(&gateway, "exported").await, exported);
        assert_eq!(spans(&gateway, "dropped").await, dropped);
    }
}

#[tokio::test]
async fn it_can_be_asked_whether_it_takes_what_it_would_be_sent() {
    for (path, answer, told) in [
        (TRACES, takes(), Ok("takes traces and metrics")),
        (TRACES, Reply::status(404), Err("traces: it answers 404")),
        (METRICS, Reply::status(401), Err("metrics: it answers 401")),
        (
            TRACES,
            Reply::closed(),
            Err("traces: connection closed before message completed"),
        ),
    ] {
        let collector = Collector::of(Server::new().on(path, answer));
        let upstream = Server::new();
        let gateway = told_of(&collector, &upstream).await;

        let probed = gateway.app().outbox.probe().await.unwrap();

        assert_eq!(probed.as_deref().map_err(String::as_str), told);
        // Nothing was told of by asking.
        assert!(
            collector
                .0
                .requests()
                .iter()
                .all(|request| request.body.is_empty())
        );
    }
}

async fn told_of(collector: &Collector, upstream: &Server) -> Gateway {
    told(collector, &FakeLightOn::new(), upstream, OFF).await
}

#[tokio::test]
async fn one_that_goes_and_comes_back_is_told_once_each() {
    let busy = || Reply::status(503).header("retry-after", 0);
    let server = Server::new()
        .on(METRICS, busy())
        .on(METRICS, Reply::closed())
        .on(METRICS, busy());
    let collector = Collector::of(server);
    let upstream = answering();
    let mut program = Program::serve(&relaying(&upstream, &collector.0.url())).await;

    let back = "the collector of `telemetry.otlp_endpoint` takes what it is sent again";
    program.says(back).await;
    program.terminate();
    let (_, log) = program.end().await;

    assert_eq!(log.matches(back).count(), 1, "{log}");
    let gone = "the collector of `telemetry.otlp_endpoint` does not take metrics";
    assert_eq!(log.matches(gone).count(), 1, "{log}");
    assert!(log.contains("it answers 503"), "{log}");
}

#[tokio::test]
async fn one_that_nobody_finds_is_told_once_and_answers_go_on() {
    let upstream = answering();
    let collector = format!("http://{}", nobody());
    let mut program = Program::serve(&relaying(&upstream, &collector)).await;

    let log = program.says("does not take metrics").await;
    assert!(log.contains("refused"), "{log}");
    for _ in 0..5 {
        assert_eq!(program.chat(&question(json!({}))).await.status(), 200);
    }
    program.terminate();
    let (code, log) = program.end().await;

    assert_eq!(code, Some(0));
    assert_eq!(log.matches("telemetry.otlp_endpoint").count(), 1, "{log}");
}
