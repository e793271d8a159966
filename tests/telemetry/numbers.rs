//! The numbers that a collector is sent are those of `/metrics`.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, metric::Data, number_data_point::Value as Number,
};
use serde_json::{Value, json};

use crate::{
    Collector,
    collector::{METRICS, attributes_of, numbers_of},
    question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, found, result},
        server::Server,
        upstream::{says, speaks},
    },
};

/// A number by its name and its labels.
type Numbers = BTreeMap<String, f64>;

fn key(name: &str, labels: &Value) -> String {
    // A map of this kind of JSON keeps the order in which it was written, and both sides write their own.
    let labels: BTreeMap<&String, &Value> = labels.as_object().unwrap().iter().collect();
    format!("{name} {labels:?}")
}

/// What the text of `/metrics` says; times are left out, which go on while one is told and then the other.
fn scraped(text: &str) -> Numbers {
    let mut numbers = Numbers::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (head, value) = line.rsplit_once(' ').unwrap();
        let (name, rest) = head.split_once('{').unwrap_or((head, "}"));
        let labels = rest.trim_end_matches('}').split("\",");
        let labels: serde_json::Map<String, Value> = labels
            .filter_map(|label| label.split_once("=\""))
            .map(|(name, value)| (name.to_owned(), json!(value.trim_end_matches('"'))))
            .collect();
        numbers.insert(key(name, &Value::Object(labels)), value.parse().unwrap());
    }
    numbers
}

/// The same of what a collector got.
fn sent(metrics: &[Metric]) -> Numbers {
    let mut numbers = Numbers::new();
    let mut put = |name: &str, labels: &Value, number: f64| {
        let before = numbers.insert(key(name, labels), number);
        assert!(before.is_none(), "{name} {labels}");
    };
    for metric in metrics {
        let name = &metric.name;
        let points = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && name.ends_with("_total"), "{name}");
                assert_eq!(
                    sum.aggregation_temporality(),
                    AggregationTemporality::Cumulative
                );
                &sum.data_points
            }
            Data::Histogram(histogram) => {
                assert_eq!(metric.unit, "s");
                assert_eq!(
                    histogram.aggregation_temporality(),
                    AggregationTemporality::Cumulative
                );
                for point in &histogram.data_points {
                    let mut labels = attributes_of(&point.attributes);
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    put(&format!("{name}_count"), &labels, point.count as f64);
                    put(&format!("{name}_sum"), &labels, point.sum.unwrap());
                    let mut all = 0;
                    let bounds = point
                        .explicit_bounds
                        .iter()
                        .map(|bound| format!("{bound:?}"));
                    for (count, bound) in point
                        .bucket_counts
                        .iter()
                        .zip(bounds.chain(["+Inf".into()]))
                    {
                        all += count;
                        labels["le"] = json!(bound);
                        put(&format!("{name}_bucket"), &labels, all as f64);
                    }
                }
                continue;
            }
            other => panic!("no number is a {other:?}"),
        };
        for point in points {
            assert!(
                point.start_time_unix_nano > 0 && point.start_time_unix_nano < point.time_unix_nano
            );
            let number = match point.value.unwrap() {
                Number::AsInt(number) => number as f64,
                Number::AsDouble(number) => number,
            };
            put(name, &attributes_of(&point.attributes), number);
        }
    }
    numbers
}

async fn gateway(
    collector: &Collector,
    neighbours: (&FakeLightOn, &Server),
    telemetry: &str,
) -> Gateway {
    let (lighton, upstream) = neighbours;
    let text = format!(
        "[upstreams.model]\nbase_url = \"${{MODEL}}/v1\"\nmodels = [\"m\"]\n{}{telemetry}",
        collector.settings()
    );
    Gateway::of(&text, &[("SEARCH", lighton), ("MODEL", upstream)]).await
}

#[tokio::test]
async fn they_are_all_there_and_all_the_same() {
    let collector = Collector::new();
    let upstream = Server::new()
        .then(says("Five [1]."))
        .then(speaks(["Five", " [1]."]));
    let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Five years.")]));
    let neighbours = (&lighton, &upstream);
    let mut gateway = gateway(&collector, neighbours, "trace_ratio = 0").await;
    gateway.ask(&question(json!({}))).await;
    gateway.stream(&question(json!({"stream": true}))).await;
    gateway.ask(&json!({"model": "say \"hi\", {you}\\"})).await;

    let text = gateway.get("/metrics").await.text().to_owned();
    gateway.flush().await;

    let (scraped, sent) = (scraped(&text), sent(&collector.numbers_so_far()));
    assert!(scraped.len() > 60, "{scraped:?}");
    assert_eq!(scraped, sent);
}

#[tokio::test]
async fn they_come_again_and_again_and_count_from_the_same_start() {
    let collector = Collector::new();
    let telemetry = "metrics_interval = \"20ms\"";
    let (lighton, upstream) = (FakeLightOn::new(), Server::new());
    let _gateway = gateway(&collector, (&lighton, &upstream), telemetry).await;

    let exports = collector.0.received(3).await;

    let times = |export| {
        let numbers = numbers_of(export);
        let is_it = |metric: &&Metric| metric.name == "groundwire_requests_in_flight";
        let Some(Data::Gauge(gauge)) = &numbers.iter().find(is_it).unwrap().data else {
            panic!("{numbers:?}");
        };
        let point = &gauge.data_points[0];
        (point.start_time_unix_nano, point.time_unix_nano)
    };
    let (first, last) = (times(&exports[0]), times(&exports[2]));
    assert_eq!(first.0, last.0);
    assert!(first.1 < last.1);
}

#[tokio::test]
async fn the_first_do_not_keep_a_collector_waiting_for_a_long_interval() {
    let collector = Collector::new();
    let (lighton, upstream) = (FakeLightOn::new(), Server::new());
    let telemetry = "metrics_interval = \"24h\"";
    let _gateway = gateway(&collector, (&lighton, &upstream), telemetry).await;

    collector.0.received(1).await;

    assert!(!collector.numbers_so_far().is_empty());
}

#[tokio::test]
async fn with_metrics_off_none_is_sent() {
    let collector = Collector::new();
    let (lighton, upstream) = (FakeLightOn::new(), Server::new());
    let telemetry = "metrics_interval = \"0s\"";
    let mut gateway = gateway(&collector, (&lighton, &upstream), telemetry).await;

    gateway.get("/v1/models").await;
    gateway.flush().await;

    assert_eq!(collector.spans_so_far().len(), 1);
    assert!(collector.to(METRICS).is_empty());
}
