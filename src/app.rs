//! `App`: every long-lived part, built once from a [`Config`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, KeyRing, Limiter},
    config::{Config, FilesTarget, SearchBackend, SearchCache, Timeouts, WorkspaceId},
    rag::{Pipeline, links::Signer, tool::KeptTurns},
    retrieval::{
        Retriever,
        cached::Cached,
        documents::DocumentStore,
        lighton::{self, LightOn, paradigm::Paradigm},
        local::{LocalFolder, folder::Progress},
        nowhere::Nowhere,
    },
    telemetry::metrics::Metrics,
    upstream::{Catalog, Client},
};

/// Paces the requests to Paradigm's files. Its own limit is not public; LightOn's other API takes as many.
const PARADIGM_REQUESTS_PER_MINUTE: u32 = 1000;

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
    /// The documents behind citations.
    pub documents: Arc<dyn DocumentStore>,
    /// Where `/v1/files` stores: the same, unless the operator chose another service.
    pub files: Arc<dyn DocumentStore>,
    /// Signs the links in citations.
    pub signer: Signer,
    /// Places for requests under way.
    pub places: Arc<Semaphore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Ends the answers that are still open at the end of a drain.
    pub stop: CancellationToken,
    search: Search,
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
        let search = Search::new(&config, before)?;
        let files = files(&config, &search.documents)?;
        let http = match before {
            Some(before) if before.config.timeouts.connect == config.timeouts.connect => {
                before.http.clone()
            }
            Some(_) | None => model_client(&config.timeouts).map_err(BuildError::Http)?,
        };
        let client = Client::new(http.clone(), &config.timeouts, &config.limits);
        let known = before.map(|before| before.catalog.as_ref());
        let catalog = Arc::new(Catalog::new(&config, client.clone(), known));
        let signer = signer(&config, before).map_err(BuildError::Random)?;
        let pipeline = Pipeline {
            retriever: Arc::clone(&search.retriever),
            client,
            catalog: Arc::clone(&catalog),
            retry: config.retry.clone(),
            signer: signer.clone(),
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
            documents: Arc::clone(&search.documents),
            files,
            search,
            http,
            signer,
            places,
            metrics: before.map_or_else(Arc::default, |before| Arc::clone(&before.metrics)),
            stop: before.map_or_else(CancellationToken::new, |before| before.stop.clone()),
            draining: before.map_or_else(Arc::default, |before| Arc::clone(&before.draining)),
            config,
        })
    }

    /// Notes that documents of `workspace` were created, changed or deleted: what was found before may be wrong now.
    pub fn documents_changed(&self, workspace: WorkspaceId) {
        if let Some(cache) = &self.search.cache {
            cache.invalidate(workspace);
        }
    }

    /// Notes that the service reads a new document of `workspace`, which is found only when it is through with it.
    pub fn documents_coming(&self, workspace: WorkspaceId) {
        if let Some(cache) = &self.search.cache {
            cache.unsettle(workspace);
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

/// What finds passages and documents.
struct Search {
    retriever: Arc<dyn Retriever>,
    documents: Arc<dyn DocumentStore>,
    lighton: Option<Arc<LightOn>>,
    cache: Option<Arc<Cached<LightOn>>>,
}

impl Search {
    fn new(config: &Config, before: Option<&App>) -> Result<Self, BuildError> {
        let same = before.filter(|before| {
            let (old, new) = (&before.config.search, &config.search);
            old.backend == new.backend && old.timeout == new.timeout
        });
        match &config.search.backend {
            SearchBackend::LightOn { api_key: None, .. } => {
                let nowhere = Arc::new(Nowhere);
                Ok(Self::uncached(Arc::clone(&nowhere) as _, nowhere))
            }
            SearchBackend::LightOn {
                base_url,
                api_key: Some(key),
                requests_per_minute,
            } => {
                let settings = config.search.cache;
                let same = same.filter(|before| {
                    let old = &before.config;
                    old.timeouts.connect == config.timeouts.connect && old.retry == config.retry
                });
                if let Some(client) = same.and_then(|before| before.search.lighton.as_ref()) {
                    let kept = same.filter(|before| before.config.search.cache == settings);
                    let kept = kept.and_then(|before| before.search.cache.clone());
                    return Ok(Self::lighton(Arc::clone(client), settings, kept));
                }
                let failed = |error: crate::retrieval::Error| BuildError::Search(error.to_string());
                let http = lighton::http_client(config.timeouts.connect).map_err(failed)?;
                let options = lighton::Options {
                    timeout: config.search.timeout,
                    requests_per_minute: *requests_per_minute,
                    retry: config.retry.clone(),
                };
                let client = LightOn::new(http, base_url, key.clone(), options).map_err(failed)?;
                Ok(Self::lighton(Arc::new(client), settings, None))
            }
            SearchBackend::Local { documents } => {
                if let Some(before) = same {
                    let search = &before.search;
                    let (retriever, documents) = (&search.retriever, &search.documents);
                    return Ok(Self::uncached(Arc::clone(retriever), Arc::clone(documents)));
                }
                let folder = LocalFolder::open(documents, config.search.timeout, report)
                    .map_err(|error| BuildError::Search(error.to_string()))?;
                let folder = Arc::new(folder);
                Ok(Self::uncached(Arc::clone(&folder) as _, folder))
            }
        }
    }

    fn uncached(retriever: Arc<dyn Retriever>, documents: Arc<dyn DocumentStore>) -> Self {
        Self {
            retriever,
            documents,
            lighton: None,
            cache: None,
        }
    }

    fn lighton(
        client: Arc<LightOn>,
        settings: Option<SearchCache>,
        kept: Option<Arc<Cached<LightOn>>>,
    ) -> Self {
        let new = |settings| Arc::new(Cached::new(Arc::clone(&client), settings));
        let cache = kept.or_else(|| settings.map(new));
        let retriever: Arc<dyn Retriever> = match &cache {
            Some(cache) => Arc::clone(cache) as _,
            None => Arc::clone(&client) as _,
        };
        Self {
            retriever,
            documents: Arc::clone(&client) as _,
            lighton: Some(client),
            cache,
        }
    }
}

/// Where files go. A folder is its own store, and read only.
fn files(
    config: &Config,
    documents: &Arc<dyn DocumentStore>,
) -> Result<Arc<dyn DocumentStore>, BuildError> {
    let local = matches!(config.search.backend, SearchBackend::Local { .. });
    if local || config.files.target == FilesTarget::LightOn {
        return Ok(Arc::clone(documents));
    }
    let failed = |error: crate::retrieval::Error| BuildError::Search(error.to_string());
    let (base_url, key) = config.paradigm().ok_or_else(|| {
        BuildError::Search("`files.target` names an upstream that is not there".to_owned())
    })?;
    let http = lighton::http_client(config.timeouts.connect).map_err(failed)?;
    let options = lighton::Options {
        timeout: config.search.timeout,
        requests_per_minute: PARADIGM_REQUESTS_PER_MINUTE,
        retry: config.retry.clone(),
    };
    let store = Paradigm::new(http, base_url, key.clone(), options).map_err(failed)?;
    Ok(Arc::new(store))
}

/// Tells how the reading of the folder goes: what was skipped, and what is searched in the end.
fn report(progress: Progress) {
    match progress {
        Progress::Skipped { path, reason } => tracing::warn!("`{path}` is not searched: {reason}"),
        Progress::Indexed { size } => tracing::info!(?size, "the folder of documents is searched"),
        Progress::Found { .. } | Progress::Read { .. } | Progress::Removed { .. } => {}
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
