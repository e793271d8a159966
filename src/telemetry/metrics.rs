//! The numbers behind `/metrics`.
//!
//! `prometheus-client` and not `metrics` with an exporter: it brings two small crates, no global recorder and no listener of its own.
//!
//! Labels come from bounded sets: endpoints are routes, upstreams and keys are configured, and a model is named only when it is configured,
//! listed, or was answered for by an upstream (the first `ANSWERED_MODELS` of those). Never content. `docs/observability.md` lists them all.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// How many models count under their own name because an upstream answered for them, without being configured or listed.
const ANSWERED_MODELS: usize = 100;

/// What a model counts as that nobody listed.
const OTHER: &str = "other";

const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
];

/// Every number of this process.
pub struct Metrics {
    registry: Registry,
    answered: Mutex<HashSet<String>>,
    requests: Family<Request, Counter>,
    durations: Family<Road, Histogram, fn() -> Histogram>,
    first_events: Family<Road, Histogram, fn() -> Histogram>,
    gaps: Family<Road, Histogram, fn() -> Histogram>,
    endings: Family<Ended, Counter>,
    searches: Family<Outcome, Counter>,
    search_times: Histogram,
    passages: Counter,
    tokens: Family<Tokens, Counter>,
    retries: Family<Upstream, Counter>,
    fallbacks: Family<Upstream, Counter>,
    failures: Family<Failure, Counter>,
    sheds: Counter,
    limited: Family<Limited, Counter>,
    shared_limits_up: Family<Nothing, Gauge>,
    reloads: Family<Outcome, Counter>,
    /// Streams whose body is being sent.
    pub open_streams: Gauge,
    in_flight: Gauge,
    up: Family<Upstream, Gauge>,
    dropped_lines: Gauge<u64, AtomicU64>,
}

/// What is counted of a request at its ending.
#[derive(Debug, Clone, Default)]
pub struct Report<'a> {
    /// The route, such as `/v1/chat/completions`; empty where there is none.
    pub endpoint: &'a str,
    /// The upstream that was asked; empty where none was.
    pub upstream: &'a str,
    /// The model as the client wrote it.
    pub model: &'a str,
    /// Whether that name is configured or listed.
    pub is_listed: bool,
    /// `inject`, `tool`, `off`, or empty.
    pub mode: &'static str,
    /// The name of the key.
    pub key: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// How it ended.
    pub ending: &'static str,
    /// How long it took, to its last byte.
    pub duration: Duration,
    /// How long its first event took, for a stream that had one.
    pub first_event: Option<Duration>,
    /// The longest wait between two events of a stream.
    pub longest_gap: Option<Duration>,
    /// Its searches: `made`, `cached`, `empty` or `failed`, and how long each took.
    pub searches: &'a [(&'static str, Duration)],
    /// Passages that the model was given.
    pub passages: u64,
    /// Tokens of prompt and answer by the upstream's count, and of the passages by ours.
    pub tokens: [(&'static str, u64); 3],
    /// The upstreams that were asked again.
    pub retries: &'a [String],
    /// The upstreams that another was asked after.
    pub fallbacks: &'a [String],
    /// What upstreams did wrong: which, and a word for it.
    pub failures: &'a [(String, &'static str)],
    /// Limits of the key that were used up while it was answered, each by a word.
    pub limited: &'a [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    endpoint: String,
    upstream: String,
    model: String,
    mode: &'static str,
    key: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Road {
    endpoint: String,
    upstream: String,
    model: String,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    endpoint: String,
    upstream: String,
    mode: &'static str,
    ending: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    kind: &'static str,
    upstream: String,
    model: String,
    key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Upstream {
    upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    upstream: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    key: String,
    limit: &'static str,
}

/// The labels of a number that is told only where it means something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Nothing {}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("groundwire"),
            answered: Mutex::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            first_events: Family::new_with_constructor(seconds),
            gaps: Family::new_with_constructor(seconds),
            endings: Family::default(),
            searches: Family::default(),
            search_times: seconds(),
            passages: Counter::default(),
            tokens: Family::default(),
            retries: Family::default(),
            fallbacks: Family::default(),
            failures: Family::default(),
            sheds: Counter::default(),
            limited: Family::default(),
            shared_limits_up: Family::default(),
            reloads: Family::default(),
            open_streams: Gauge::<i64, AtomicI64>::default(),
            in_flight: Gauge::default(),
            up: Family::default(),
            dropped_lines: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests that ended", self.requests.clone());
        let timed = [
            (
                "request_duration",
                "From arrival to the last byte",
                &self.durations,
            ),
            (
                "first_event",
                "From arrival to a stream's first event",
                &self.first_events,
            ),
            (
                "longest_gap",
                "The longest wait between two events of a stream",
                &self.gaps,
            ),
        ];
        for (name, help, family) in timed {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        }
        registry.register("endings", "How answers ended", self.endings.clone());
        registry.register(
            "searches",
            "Searches by what came of them",
            self.searches.clone(),
        );
        registry.register_with_unit(
            "search",
            "Searches that were sent",
            Unit::Seconds,
            self.search_times.clone(),
        );
        registry.register(
            "passages",
            "Passages given to models",
            self.passages.clone(),
        );
        registry.register(
            "tokens",
            "Tokens as upstreams count them, and of passages as the gateway does",
            self.tokens.clone(),
        );
        registry.register(
            "retries",
            "Calls made again to an upstream",
            self.retries.clone(),
        );
        registry.register(
            "fallbacks",
            "Times that another upstream was asked instead",
            self.fallbacks.clone(),
        );
        registry.register(
            "upstream_failures",
            "What upstreams did wrong",
            self.failures.clone(),
        );
        registry.register(
            "sheds",
            "Requests refused because too many were under way",
            self.sheds.clone(),
        );
        registry.register(
            "limited",
            "Requests and searches refused by a limit of their key",
            self.limited.clone(),
        );
        registry.register(
            "shared_limits_up",
            "Whether the server answers that counts limits for several gateways",
            self.shared_limits_up.clone(),
        );
        registry.register("reloads", "Configurations read again", self.reloads.clone());
        registry.register(
            "open_streams",
            "Streams being sent",
            self.open_streams.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests that hold a place",
            self.in_flight.clone(),
        );
        registry.register("upstream_up", "Configured upstreams", self.up.clone());
        registry.register(
            "log_lines_dropped",
            "Lines of the log that nobody read in time",
            self.dropped_lines.clone(),
        );
    }

    /// Counts a request that ended.
    pub fn record(&self, report: &Report<'_>) {
        let road = Road {
            endpoint: report.endpoint.to_owned(),
            upstream: report.upstream.to_owned(),
            model: self.model(report),
            mode: report.mode,
        };
        self.durations
            .get_or_create(&road)
            .observe(report.duration.as_secs_f64());
        for (family, time) in [
            (&self.first_events, report.first_event),
            (&self.gaps, report.longest_gap),
        ] {
            if let Some(time) = time {
                family.get_or_create(&road).observe(time.as_secs_f64());
            }
        }
        for (outcome, took) in report.searches {
            self.searches.get_or_create(&Outcome { outcome }).inc();
            if *outcome != "cached" {
                self.search_times.observe(took.as_secs_f64());
            }
        }
        self.passages.inc_by(report.passages);
        for (kind, count) in report.tokens {
            if count > 0 {
                let tokens = Tokens {
                    kind,
                    upstream: road.upstream.clone(),
                    model: road.model.clone(),
                    key: report.key.to_owned(),
                };
                self.tokens.get_or_create(&tokens).inc_by(count);
            }
        }
        self.count_calls(report);
        for limit in report.limited {
            self.limited(report.key, limit);
        }
        let ended = Ended {
            endpoint: road.endpoint.clone(),
            upstream: road.upstream.clone(),
            mode: road.mode,
            ending: report.ending,
        };
        self.endings.get_or_create(&ended).inc();
        let request = Request {
            endpoint: road.endpoint,
            upstream: road.upstream,
            model: road.model,
            mode: road.mode,
            key: report.key.to_owned(),
            status: report.status,
        };
        self.requests.get_or_create(&request).inc();
    }

    /// Counts a request that was refused because too many were under way.
    pub fn shed(&self) {
        self.sheds.inc();
    }

    /// Counts what a limit of the key called `key` refused.
    pub fn limited(&self, key: &str, limit: &'static str) {
        let key = key.to_owned();
        self.limited.get_or_create(&Limited { key, limit }).inc();
    }

    /// Notes whether the server of shared limits answers, as 1 or 0; `None` where there is none.
    pub fn tell_shared_limits(&self, up: Option<i64>) {
        self.shared_limits_up.clear();
        if let Some(up) = up {
            self.shared_limits_up.get_or_create(&Nothing {}).set(up);
        }
    }

    /// Counts a configuration that was read again; `outcome` is `taken` or `refused`.
    pub fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// Writes everything in Prometheus' text format, version 0.0.4; `upstreams` are those of now, each with whether it is asked.
    pub fn text<'a>(
        &self,
        in_flight: usize,
        upstreams: impl Iterator<Item = (&'a str, bool)>,
    ) -> String {
        self.in_flight
            .set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        // One that a reload took away is not told of any longer.
        self.up.clear();
        for (upstream, up) in upstreams {
            let upstream = upstream.to_owned();
            self.up.get_or_create(&Upstream { upstream }).set(up.into());
        }
        self.dropped_lines.set(super::dropped_lines());
        let mut written = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode_registry(&mut written, &self.registry);
        plain(&written)
    }

    fn count_calls(&self, report: &Report<'_>) {
        let upstream = |name: &String| Upstream {
            upstream: name.clone(),
        };
        for name in report.retries {
            self.retries.get_or_create(&upstream(name)).inc();
        }
        for name in report.fallbacks {
            self.fallbacks.get_or_create(&upstream(name)).inc();
        }
        for (name, kind) in report.failures {
            let failure = Failure {
                upstream: name.clone(),
                kind,
            };
            self.failures.get_or_create(&failure).inc();
        }
    }

    /// The model as a label: anybody can write any name into a request.
    fn model(&self, report: &Report<'_>) -> String {
        if report.is_listed || report.model.is_empty() {
            return report.model.to_owned();
        }
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short = report.model.len() <= 200;
        if (200..300).contains(&report.status) && is_short && answered.len() < ANSWERED_MODELS {
            answered.insert(report.model.to_owned());
        }
        let known = answered.contains(report.model);
        (if known { report.model } else { OTHER }).to_owned()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// OpenMetrics as the older text format, which every scraper reads: there a counter's family is called like its samples, and units have no line.
fn plain(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 256);
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
            continue;
        }
        if line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let said = help.strip_prefix(name).unwrap_or_default();
            out.push_str(&format!(
                "# HELP {name}{suffix}{said}\n# TYPE {name}{suffix} {kind}\n"
            ));
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(metrics: &Metrics, model: &str, status: u16, is_listed: bool) {
        metrics.record(&Report {
            endpoint: "/v1/chat/completions",
            model,
            status,
            is_listed,
            ..Report::default()
        });
    }

    #[test]
    fn a_model_that_nobody_listed_and_nobody_answered_for_has_no_name_of_its_own() {
        let metrics = Metrics::default();
        asked(&metrics, "listed", 502, true);
        asked(&metrics, "guessed", 404, false);
        asked(&metrics, "answered", 200, false);
        let text = metrics.text(0, std::iter::empty());

        for model in ["listed", "answered", "other"] {
            assert!(text.contains(&format!("model=\"{model}\"")), "{text}");
        }
        assert!(!text.contains("guessed"), "{text}");
    }

    #[test]
    fn the_names_of_answered_models_are_bounded() {
        let metrics = Metrics::default();
        for number in 0..ANSWERED_MODELS + 5 {
            asked(&metrics, &format!("m{number}"), 200, false);
        }
        let text = metrics.text(0, std::iter::empty());

        assert!(text.contains("model=\"m99\"") && !text.contains("model=\"m100\""));
    }

    #[test]
    fn every_sample_stands_below_the_type_of_its_family() {
        let metrics = Metrics::default();
        asked(&metrics, "m", 200, true);
        let text = metrics.text(3, [("gpu", true)].into_iter());

        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line} below {family}");
            }
        }
        assert!(
            text.contains("\ngroundwire_requests_in_flight 3\n"),
            "{text}"
        );
        assert!(
            text.contains("\ngroundwire_upstream_up{upstream=\"gpu\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn every_number_stands_in_the_documentation_and_no_other() {
        let documented = include_str!("../../docs/observability.md");
        let metrics = Metrics::default();
        let second = Duration::from_secs(1);
        let gpu = ["gpu".to_owned()];
        metrics.record(&Report {
            first_event: Some(second),
            longest_gap: Some(second),
            searches: &[("made", second)],
            tokens: [("prompt", 1), ("completion", 1), ("passages", 1)],
            retries: &gpu,
            fallbacks: &gpu,
            failures: &[("gpu".to_owned(), "invalid")],
            ..Report::default()
        });
        metrics.reloaded("taken");
        metrics.limited("acme", "requests");
        metrics.tell_shared_limits(Some(1));

        let text = metrics.text(0, [("gpu", true)].into_iter());

        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let told: HashSet<&str> = types.filter_map(|rest| rest.split(' ').next()).collect();
        let words = documented.split('`');
        let documented: HashSet<&str> = words
            .filter(|word| word.starts_with("groundwire_"))
            .collect();
        assert_eq!(told, documented);
    }
}
