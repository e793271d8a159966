//! The outbox: bounded, and nowhere to be filled where it leads nowhere.

use http::HeaderMap;

use super::*;
use crate::{
    config::{Config, Environment},
    trace::Context,
};

fn request() -> Request {
    Request {
        context: Context::joining(&HeaderMap::new(), 1.0),
        steps: Vec::new(),
        began: std::time::Instant::now(),
        ended: Ended::now(),
        first_event: None,
        method: http::Method::GET,
        scheme: "http",
        path: "/".into(),
        route: None,
        status: 200,
        ending: "done",
        failure: None,
        id: String::new(),
        texts: Default::default(),
        numbers: Default::default(),
    }
}

fn outbox(endpoint: &str) -> (Outbox, Arc<Metrics>) {
    let text = format!("[upstreams.ollama]\n[telemetry]\notlp_endpoint = '{endpoint}'\n");
    let env = Environment::from([("LIGHTON_API_KEY", "k")]);
    let config = Config::parse(&text, &env).unwrap();
    let metrics = Arc::default();
    let outbox = Outbox::new(&metrics);
    outbox.lead_to(config.telemetry.as_ref()).unwrap();
    (outbox, metrics)
}

fn dropped(metrics: &Metrics) -> u64 {
    let text = metrics.text(0, std::iter::empty(), None);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("groundwire_spans_total{outcome=\"dropped\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let (outbox, metrics) = outbox("http://127.0.0.1:1");
    for _ in 0..WAITING + 3 {
        outbox.put(request());
    }

    assert_eq!(outbox.lock().len(), WAITING);
    assert_eq!(dropped(&metrics), 3);
    assert_eq!(outbox.take().len(), BATCH);
}

#[test]
fn an_outbox_that_leads_nowhere_holds_nothing() {
    let (outbox, metrics) = outbox("");

    outbox.put(request());

    assert!(outbox.take().is_empty());
    assert_eq!(dropped(&metrics), 1);
}
