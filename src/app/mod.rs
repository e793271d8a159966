//! `App`: every long-lived part, built once from a [`Config`].

mod search;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::search::Search;
use self::search::Searches;
use crate::{
    access::{self, KeyRing, Limiter, Principal, Reach},
    config::{Config, Secret, WorkspaceId},
    outbound,
    rag::{Pipeline, links::Signer, tool::KeptTurns},
    telemetry::{
        metrics::Metrics,
        otlp::{Exporter, Outbox},
    },
    upstream::{Catalog, Client},
};

/// The built parts, shared by all requests.
pub struct App {
    /// The settings that they were built from.
    pub config: Config,
    /// Who may ask.
    pub keys: KeyRing,
    /// How much each may ask.
    pub limiter: Limiter,
    /// Which model lives where.
    pub catalog: Arc<Catalog>,
    /// Answers requests.
    pub pipeline: Arc<Pipeline>,
    /// Places for requests under way.
    pub places: Arc<Semaphore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is on its way to the collector.
    pub outbox: Arc<Outbox>,
    /// Ends the answers that are still open at the end of a drain.
    pub stop: CancellationToken,
    searches: Searches,
    signer: Signer,
    draining: Arc<AtomicBool>,
}

/// Why the parts could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Search cannot be set up.
    #[error("search cannot be set up: {0}")]
    Search(String),
    /// Nothing can be sent to the collector.
    #[error("the HTTP client for `telemetry.otlp_endpoint` cannot be set up")]
    Collector(#[source] reqwest::Error),
    /// No request can reach an upstream.
    #[error("an upstream cannot be reached: {0}")]
    Upstream(outbound::Unusable),
    /// Limits cannot be shared.
    #[error(transparent)]
    Shared(access::Unusable),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl App {
    /// Builds the parts. With `backend = "local"` this reads the folder, which may take seconds.
    pub fn build(config: Config) -> Result<Self, BuildError> {
        Self::assemble(config, None)
    }

    /// Builds the parts for another configuration of the same process. What the change does not touch stays as it is, with what it holds:
    /// kept passages and turns, connections, lists of models, the local index, places, what keys used of their limits, the secret of links, and every count.
    pub fn rebuild(&self, config: Config) -> Result<Self, BuildError> {
        Self::assemble(config, Some(self))
    }

    fn assemble(config: Config, before: Option<&Self>) -> Result<Self, BuildError> {
        let signer = signer(&config, before).map_err(BuildError::Random)?;
        let searches = Searches::new(&config, &signer, before)?;
        let client = Client::new(&config.timeouts, &config.limits);
        let known = before.map(|before| before.catalog.as_ref());
        let catalog = Catalog::new(&config, client.clone(), known).map_err(BuildError::Upstream)?;
        let catalog = Arc::new(catalog);
        let pipeline = Pipeline {
            client,
            catalog: Arc::clone(&catalog),
            retry: config.retry.clone(),
            kept: before.map_or_else(KeptTurns::default, |before| before.pipeline.kept.clone()),
        };
        let shared = config.limits.shared.as_ref();
        let counted = before.map(|before| &before.limiter);
        let limiter = Limiter::new(&config.keys, shared, counted).map_err(BuildError::Shared)?;
        let places = match before {
            Some(before) if places(&before.config) == places(&config) => Arc::clone(&before.places),
            Some(_) | None => Arc::new(Semaphore::new(places(&config))),
        };
        let metrics: Arc<Metrics> =
            before.map_or_else(Arc::default, |before| Arc::clone(&before.metrics));
        let outbox = before.map_or_else(
            || Arc::new(Outbox::new(&metrics)),
            |before| Arc::clone(&before.outbox),
        );
        // Last: from here on nothing fails, and the new configuration is in force.
        let leads = outbox.lead_to(config.telemetry.as_ref());
        leads.map_err(BuildError::Collector)?;
        Ok(Self {
            keys: KeyRing::new(&config.keys, &limiter),
            limiter,
            catalog,
            pipeline: Arc::new(pipeline),
            searches,
            signer,
            places,
            metrics,
            outbox,
            stop: before.map_or_else(CancellationToken::new, |before| before.stop.clone()),
            draining: before.map_or_else(Arc::default, |before| Arc::clone(&before.draining)),
            config,
        })
    }

    /// What the key of `principal` searches with.
    pub fn search(&self, principal: &Principal) -> &Arc<Search> {
        match &principal.search_api_key {
            Some(key) => self.search_with(key),
            None => self.gateway_search(),
        }
    }

    /// What a client's own key for search reaches.
    pub fn search_with(&self, key: &Secret) -> &Arc<Search> {
        self.searches.own(key)
    }

    /// What the gateway's own key searches with.
    pub fn gateway_search(&self) -> &Arc<Search> {
        self.searches.gateway()
    }

    /// Everything that somebody's key searches with.
    pub fn searches(&self) -> impl Iterator<Item = &Arc<Search>> {
        self.searches.iter()
    }

    /// What tells whether search is up: the gateway's own, or that of some client where only clients have keys for it; `None` where nothing
    /// can search, so that there is no search to be up.
    pub fn probed_search(&self) -> Option<&Arc<Search>> {
        self.searches()
            .find(|search| search.leads_somewhere(&self.config))
    }

    /// Notes that documents of `workspace` were created, changed or deleted: what was found before may be wrong now.
    pub fn documents_changed(&self, workspace: WorkspaceId) {
        for search in self.searches() {
            search.documents_changed(workspace);
        }
    }

    /// Notes that the service reads a new document of `workspace`, which is found only when it is through with it.
    pub fn documents_coming(&self, workspace: WorkspaceId) {
        for search in self.searches() {
            search.documents_coming(workspace);
        }
    }

    /// Closes connections to neighbours that rested for long enough; somebody has to call this now and then.
    pub fn sweep(&self) {
        for upstream in self.catalog.upstreams() {
            upstream.origin.sweep();
        }
        for search in self.searches() {
            search.sweep();
        }
    }

    /// Begins to tell the collector what the configuration in force says, be it nothing.
    pub fn export(parts: &Arc<ArcSwap<Self>>) -> Exporter {
        let numbers = Arc::clone(parts);
        Exporter::start(&parts.load().outbox, move || numbers.load().numbers())
    }

    /// Every number, in Prometheus' text format.
    pub fn numbers(&self) -> String {
        let upstreams = self.catalog.upstreams().iter();
        let upstreams =
            upstreams.map(|upstream| (upstream.name(), !upstream.health.is_set_aside()));
        let shared = self.limiter.reach().map(|reach| reach == Reach::Up);
        self.metrics.text(self.in_flight(), upstreams, shared)
    }

    /// How many requests hold a place.
    pub fn in_flight(&self) -> usize {
        places(&self.config).saturating_sub(self.places.available_permits())
    }

    /// Notes that the process is on its way out.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// How many requests may be under way.
fn places(config: &Config) -> usize {
    let limit = config.limits.concurrent_requests;
    limit.min(Semaphore::MAX_PERMITS)
}

/// The signer that the links want: a secret of our own lives as long as the process, so that a reload breaks no link.
fn signer(config: &Config, before: Option<&App>) -> Result<Signer, getrandom::Error> {
    match before {
        Some(before) if before.config.links.secret == config.links.secret => {
            Ok(before.signer.with_ttl(config.links.ttl))
        }
        Some(_) | None => Signer::new(&config.links),
    }
}
