//! The numbers behind `/metrics`.
//!
//! `prometheus-client` and not `metrics` with an exporter: it brings two small crates, no global recorder and no listener of its own.
//!
//! Labels come from bounded sets: endpoints are routes, upstreams and keys are configured, and a model is named only when it is configured,
//! listed, or was answered for by an upstream (the first `ANSWERED_MODELS` of those). Never content. `docs/observability.md` lists them all.

mod accounts;
mod labels;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
};

use prometheus_client::{
    encoding::text::encode_registry,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

pub use self::labels::Report;
use self::{
    accounts::{Account, Accounts, Counters, Owner},
    labels::{Ended, Failure, Limited, Nothing, Outcome, Request, Road, Tokens, Upstream},
    text::plain,
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
    /// Held while numbers of the moment are put in and told: a scraper and a collector may ask at once.
    telling: Mutex<()>,
    answered: Mutex<HashSet<String>>,
    accounts: Accounts,
    requests: Family<Request, Counter>,
    durations: Family<Road, Histogram, fn() -> Histogram>,
    first_events: Family<Road, Histogram, fn() -> Histogram>,
    gaps: Family<Road, Histogram, fn() -> Histogram>,
    endings: Family<Ended, Counter>,
    searches: Family<Outcome, Counter>,
    search_outcomes: Counters<&'static str>,
    search_times: Histogram,
    passages: Counter,
    defused: Counter,
    tokens: Family<Tokens, Counter>,
    retries: Family<Upstream, Counter>,
    refused_retries: Family<Upstream, Counter>,
    fallbacks: Family<Upstream, Counter>,
    failures: Family<Failure, Counter>,
    sheds: Counter,
    limited: Family<Limited, Counter>,
    shared_limits_up: Family<Nothing, Gauge>,
    reloads: Family<Outcome, Counter>,
    spans: Family<Outcome, Counter>,
    /// Streams whose body is being sent.
    pub open_streams: Gauge,
    in_flight: Gauge,
    up: Family<Upstream, Gauge>,
    dropped_lines: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("groundwire"),
            telling: Mutex::default(),
            answered: Mutex::default(),
            accounts: Accounts::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            first_events: Family::new_with_constructor(seconds),
            gaps: Family::new_with_constructor(seconds),
            endings: Family::default(),
            searches: Family::default(),
            search_outcomes: Counters::default(),
            search_times: seconds(),
            passages: Counter::default(),
            defused: Counter::default(),
            tokens: Family::default(),
            retries: Family::default(),
            refused_retries: Family::default(),
            fallbacks: Family::default(),
            failures: Family::default(),
            sheds: Counter::default(),
            limited: Family::default(),
            shared_limits_up: Family::default(),
            reloads: Family::default(),
            spans: Family::default(),
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
            "defused_passages",
            "Passages given to models that held something which had to be defused",
            self.defused.clone(),
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
            "retries_refused",
            "Calls not made again because the budget of retries was empty",
            self.refused_retries.clone(),
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
            "spans",
            "Spans by whether the collector has them",
            self.spans.clone(),
        );
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
        registry.register(
            "upstream_up",
            "Whether an upstream is asked, or set aside because it kept failing",
            self.up.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Lines of the log that nobody read in time",
            self.dropped_lines.clone(),
        );
    }

    /// Counts a request that ended.
    pub fn record(&self, report: &Report<'_>) {
        let owner = Owner {
            endpoint: report.endpoint,
            upstream: report.upstream,
            model: self.model(report),
            mode: report.mode,
            key: report.key,
        };
        self.accounts.with(&owner, |account| {
            self.add(report, &owner, account);
        });
        for (outcome, took) in report.searches {
            let find = || self.searches.get_or_create(&Outcome { outcome }).clone();
            self.search_outcomes.add(outcome, 1, find);
            if *outcome != "cached" {
                self.search_times.observe(took.as_secs_f64());
            }
        }
        self.passages.inc_by(report.passages);
        self.defused.inc_by(report.defused);
        self.count_calls(report);
        for limit in report.limited {
            self.limited(report.key, limit);
        }
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

    /// Counts a configuration that was read again; `outcome` is `taken` or `refused`.
    pub fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts spans; `outcome` is `exported` or `dropped`.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        if count > 0 {
            self.spans.get_or_create(&Outcome { outcome }).inc_by(count);
        }
    }

    /// Writes everything in Prometheus' text format, version 0.0.4; `upstreams` are those of now, each with whether it is asked, and
    /// `shared_limits` whether their server answers, where there is one.
    pub fn text<'a>(
        &self,
        in_flight: usize,
        upstreams: impl Iterator<Item = (&'a str, bool)>,
        shared_limits: Option<bool>,
    ) -> String {
        let _alone = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.in_flight
            .set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        // One that a reload took away is not told of any longer.
        self.up.clear();
        for (upstream, up) in upstreams {
            let upstream = upstream.to_owned();
            self.up.get_or_create(&Upstream { upstream }).set(up.into());
        }
        self.shared_limits_up.clear();
        if let Some(up) = shared_limits {
            let there = self.shared_limits_up.get_or_create(&Nothing {});
            there.set(up.into());
        }
        self.dropped_lines.set(super::dropped_lines());
        let mut written = String::new();
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut written, &self.registry);
        plain(&written)
    }

    fn count_calls(&self, report: &Report<'_>) {
        let upstream = |name: &String| Upstream {
            upstream: name.clone(),
        };
        for (family, names) in [
            (&self.retries, report.retries),
            (&self.refused_retries, report.refused_retries),
            (&self.fallbacks, report.fallbacks),
        ] {
            for name in names {
                family.get_or_create(&upstream(name)).inc();
            }
        }
        for (name, kind) in report.failures {
            let failure = Failure {
                upstream: name.clone(),
                kind,
            };
            self.failures.get_or_create(&failure).inc();
        }
    }

    /// Adds a request to the numbers of its owner.
    fn add(&self, report: &Report<'_>, owner: &Owner<'_>, account: &Account) {
        let timed = [
            (&self.durations, &account.duration, Some(report.duration)),
            (&self.first_events, &account.first_event, report.first_event),
            (&self.gaps, &account.gap, report.longest_gap),
        ];
        for (family, place, time) in timed {
            if let Some(time) = time {
                let find = || family.get_or_create(&owner.road()).clone();
                place.get_or_init(find).observe(time.as_secs_f64());
            }
        }
        for (kind, count) in report.tokens {
            if count > 0 {
                let find = || self.tokens.get_or_create(&owner.tokens(kind)).clone();
                account.tokens.add(kind, count, find);
            }
        }
        account.endings.add(report.ending, 1, || {
            let ended = owner.ended(report.ending);
            self.endings.get_or_create(&ended).clone()
        });
        account.statuses.add(report.status, 1, || {
            let request = owner.request(report.status);
            self.requests.get_or_create(&request).clone()
        });
    }

    /// The model as a label: anybody can write any name into a request.
    fn model<'r>(&self, report: &Report<'r>) -> &'r str {
        if report.is_listed || report.model.is_empty() {
            return report.model;
        }
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.contains(report.model) {
            return report.model;
        }
        let is_short = report.model.len() <= 200;
        if (200..300).contains(&report.status) && is_short && answered.len() < ANSWERED_MODELS {
            answered.insert(report.model.to_owned());
            return report.model;
        }
        OTHER
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
