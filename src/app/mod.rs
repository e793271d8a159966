//! `App`: every long-lived part, built once from a [`Config`].

mod search;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::search::Search;
use self::search::Searches;
use crate::{
    access::{self, KeyRing, Limiter, Principal},
    config::{Config, Secret, Timeouts, WorkspaceId},
    rag::{Pipeline, links::Signer, tool::KeptTurns},
    telemetry::metrics::Metrics,
    upstream::{Catalog, Client},
};

/// What an upstream may send on one HTTP/2 stream before it is read, in bytes: what a client that does not read costs. (hyper's own is 2 MB.)
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all streams of a connection: with less than a window for each of the usual hundred, clients that do not read would hold up
/// those that do. (hyper's own is 5 MB, which three such clients fill.)
const CONNECTION_WINDOW: u32 = 32 << 20;

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
    /// Ends the answers that are still open at the end of a drain.
    pub stop: CancellationToken,
    searches: Searches,
    signer: Signer,
    http: reqwest::Client,
    draining: Arc<AtomicBool>,
}

/// Why the parts could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Search cannot be set up.
    #[error("search cannot be set up: {0}")]
    Search(String),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
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
        let http = match before {
            Some(before) if before.config.timeouts.connect == config.timeouts.connect => {
                before.http.clone()
            }
            Some(_) | None => model_client(&config.timeouts).map_err(BuildError::Http)?,
        };
        let client = Client::new(http.clone(), &config.timeouts, &config.limits);
        let known = before.map(|before| before.catalog.as_ref());
        let catalog = Arc::new(Catalog::new(&config, client.clone(), known));
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
        Ok(Self {
            keys: KeyRing::new(&config.keys, &limiter),
            limiter,
            catalog,
            pipeline: Arc::new(pipeline),
            searches,
            signer,
            http,
            places,
            metrics: before.map_or_else(Arc::default, |before| Arc::clone(&before.metrics)),
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

/// The client that reaches model providers: no redirect is followed, since a redirect elsewhere would carry the conversation along.
fn model_client(timeouts: &Timeouts) -> Result<reqwest::Client, reqwest::Error> {
    // Fails where a provider was chosen before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("groundwire/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        // Only the configured neighbours are spoken to, whatever proxy the environment names.
        .no_proxy()
        .connect_timeout(timeouts.connect)
        .tcp_nodelay(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .pool_idle_timeout(std::time::Duration::from_secs(60))
        .build()
}
