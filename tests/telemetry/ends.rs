//! The life of the export: a new configuration, and the end of the process.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::{
    Collector,
    away::relaying,
    collector::{METRICS, TRACES, attributes, resource_of, tree},
    program::Program,
    question,
    support::{
        reply::{Gate, Reply, sse_unfinished},
        server::Server,
        upstream::{chunk, finish, says},
    },
};

#[tokio::test]
async fn what_waits_is_sent_before_the_process_ends() {
    let collector = Collector::new();
    let gate = Gate::new();
    let rest = format!("data: {}\n\ndata: [DONE]\n\n", finish("stop"));
    let upstream = Server::new()
        .then(says("Five."))
        .then(sse_unfinished([chunk("Five")]).wait(&gate).piece(rest));
    let text = relaying(&upstream, &collector.0.url()).replace("20ms", "1h");
    let mut program = Program::serve(&text).await;

    program
        .chat(&question(json!({})))
        .await
        .bytes()
        .await
        .unwrap();
    let mut stream = program.chat(&question(json!({"stream": true}))).await;
    assert!(stream.chunk().await.unwrap().is_some());
    program.terminate();
    program.says("no longer accepting").await;
    gate.open();
    while stream.chunk().await.unwrap().is_some() {}
    let (code, log) = program.end().await;

    assert_eq!(code, Some(0), "{log}");
    assert_eq!(
        tree(&collector.spans_so_far()),
        "POST /v1/chat/completions (server)\n  chat m (client)\n\
         POST /v1/chat/completions (server) +first_event\n  chat m (client) +first_event\n"
    );
    let numbers = collector.numbers_so_far();
    assert!(
        numbers
            .iter()
            .any(|metric| metric.name == "groundwire_requests_total")
    );
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_collector_that_does_not_answer() {
    let collector = Collector(
        Server::new()
            .always(TRACES, Reply::silence())
            .always(METRICS, Reply::silence()),
    );
    let upstream = Server::new().then(says("Five."));
    let mut program = Program::serve(&relaying(&upstream, &collector.0.url())).await;
    program
        .chat(&question(json!({})))
        .await
        .bytes()
        .await
        .unwrap();
    collector.0.received(1).await;

    let began = Instant::now();
    program.terminate();
    let (code, log) = program.end().await;

    assert_eq!(code, Some(0), "{log}");
    assert!(began.elapsed().as_secs() < 8, "{log}");
}

#[tokio::test]
async fn a_new_configuration_leads_elsewhere_without_a_restart() {
    let (one, two) = (Collector::new(), Collector::new());
    let upstream = Server::new().always("/v1/chat/completions", says("Five."));
    let text = |collector: &str| relaying(&upstream, collector).replace("20ms", "0s");
    let mut program = Program::serve(&text("")).await;
    let mut taken = 0;
    let mut lead_to = async |program: &mut Program, collector: &str| {
        fs::write(program.file(), text(collector)).unwrap();
        program.signal("HUP");
        taken += 1;
        program
            .says_times("the new configuration is in force", taken)
            .await;
    };

    let ask = async |program: &Program| {
        let answer = program.chat(&question(json!({}))).await;
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        answer.bytes().await.unwrap();
        Value::from(id)
    };
    let _untold = ask(&program).await;
    lead_to(&mut program, &one.0.url()).await;
    let first = ask(&program).await;
    one.0.received(1).await;
    lead_to(&mut program, &two.0.url()).await;
    let second = ask(&program).await;
    two.0.received(1).await;
    lead_to(&mut program, "").await;
    let _untold = ask(&program).await;
    program.terminate();
    program.end().await;

    for (collector, id) in [(&one, first), (&two, second)] {
        let spans = collector.spans_so_far();
        assert_eq!(spans.len(), 2);
        assert_eq!(attributes(&spans[0])["groundwire.request.id"], id);
    }
    // It is the same process to both.
    let instance = |collector: &Collector| {
        resource_of(&collector.to(TRACES)[0])["service.instance.id"].clone()
    };
    assert_eq!(instance(&one), instance(&two));
}
