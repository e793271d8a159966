//! What an operator writes: `Config`, the checked settings.
//!
//! `file` mirrors the TOML, `resolve` turns file and environment into a [`Config`], and [`Problem`] tells what is wrong,
//! all of it at once. A `Config` that exists is right: every reference resolves and every secret is present.

mod choices;
mod contents;
mod document;
mod edge;
mod environment;
mod file;
mod given;
mod keys;
mod loading;
mod models;
mod presets;
mod problem;
mod rag;
mod reading;
#[cfg(test)]
mod reference;
mod resolve;
mod section;
mod shared;
mod telemetry;
mod units;
mod upstreams;
mod values;

use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::{
    choices::{
        FilesTarget, HeartbeatKind, Http2, InjectAs, LogFormat, Mode, OnNoResults, OnSearchError,
        OnSharedError, QueryFrom, Quirk, RelevanceScoring, SearchMode, SkipRule, Sources,
    },
    contents::Contents,
    edge::{Cors, Identity, Tls},
    environment::Environment,
    loading::{Loaded, Overrides, Purpose},
    presets::{PRESETS, Preset, QUIRKS},
    problem::{Problem, Problems},
    rag::{Citations, REQUEST_KEYS, Rag, RagLayer},
    telemetry::Telemetry,
    values::listen_address,
};

/// Settings that were checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` listen apart; then `/metrics` is there alone.
    pub admin_listen: Option<SocketAddr>,
    /// How clients reach the gateway, for the links in citations; unset: the request's own scheme and host.
    pub public_url: Option<Url>,
    /// Where a model goes that nothing else names.
    pub default_upstream: Option<String>,
    /// Which `rag` keys a request may carry.
    pub allow_overrides: AllowOverrides,
    /// Whether requests need no key although the address is not loopback.
    pub anonymous: bool,
    /// Where passages come from.
    pub search: Search,
    /// How answers are grounded, unless a key, a model or a request says otherwise.
    pub rag: Rag,
    /// How streams are kept alive.
    pub stream: Stream,
    /// Sizes and counts that nothing may exceed.
    pub limits: Limits,
    /// Deadlines, each for one named wait.
    pub timeouts: Timeouts,
    /// When a neighbour is asked again.
    pub retry: Retry,
    /// Model providers, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Names that clients see, in the order of the file.
    pub models: Vec<Model>,
    /// Who may ask; empty: nobody is asked for a key.
    pub keys: Vec<Key>,
    /// Where `/v1/files` stores.
    pub files: Files,
    /// The links in citations.
    pub links: Links,
    /// How connections are encrypted; unset: not by the gateway.
    pub tls: Option<Tls>,
    /// The pages that browsers let ask.
    pub cors: Cors,
    /// What the log looks like.
    pub log: Log,
    /// Where traces and numbers are sent; unset: nowhere.
    pub telemetry: Option<Telemetry>,
}

impl Config {
    /// Address and key of the upstream that `files.target = "paradigm"` means.
    pub fn paradigm(&self) -> Option<(&Url, &Secret)> {
        let upstream = self
            .upstreams
            .iter()
            .find(|upstream| upstream.name == resolve::PARADIGM)?;
        match &upstream.api_key {
            ApiKey::Fixed(key) => Some((&upstream.base_url, key)),
            ApiKey::Client | ApiKey::None => None,
        }
    }
}

/// A number that names a workspace of LightOn's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkspaceId(pub i64);

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A secret text: never printed, never serialised.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Which `rag` keys a request may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOverrides {
    /// Every key.
    All,
    /// None of them.
    None,
    /// These keys only.
    Only(BTreeSet<String>),
}

/// Where passages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Which retriever answers.
    pub backend: SearchBackend,
    /// How long one search may take, waiting for its turn included.
    pub timeout: Duration,
    /// Whether LightOn's answers are kept for equal searches; `None`: never.
    pub cache: Option<SearchCache>,
}

/// How the answers of searches are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchCache {
    /// For how long each.
    pub ttl: Duration,
    /// How many at most.
    pub entries: u64,
}

/// The retriever and what it alone needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchBackend {
    /// LightOn's search API.
    LightOn {
        /// The API's address, without `/api/v3`.
        base_url: Url,
        /// The key; unset only where nothing can search.
        api_key: Option<Secret>,
        /// Paces all search requests of this process.
        requests_per_minute: u32,
    },
    /// An index of a folder, in this process.
    Local {
        /// The folder.
        documents: PathBuf,
    },
}

/// How streams are kept alive.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Sent when nothing else was for that long; `None`: never.
    pub heartbeat: Option<Duration>,
    /// What is sent then.
    pub heartbeat_kind: HeartbeatKind,
    /// How long the status waits for the upstream's first event.
    pub commit_after: Duration,
}

/// Sizes and counts that nothing may exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A request's body, in bytes.
    pub request_body_bytes: usize,
    /// A file that is uploaded, in bytes.
    pub file_bytes: u64,
    /// One SSE event from an upstream, in bytes.
    pub event_bytes: usize,
    /// Requests under way at once; beyond it 503.
    pub concurrent_requests: usize,
    /// Where the limits of keys are counted for several gateways; unset: each counts for itself.
    pub shared: Option<SharedLimits>,
}

/// Where the limits of keys are counted for several gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLimits {
    /// The address of a Redis or Valkey server; it may hold a password.
    pub redis_url: Secret,
    /// Who vouches for the server's certificate, in PEM; unset: the system's roots.
    pub ca: Option<Arc<[u8]>>,
    /// How long a request waits for the server.
    pub timeout: Duration,
    /// What happens while the server is away.
    pub on_error: OnSharedError,
}

/// Deadlines, each for one named wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a neighbour accepts the connection.
    pub connect: Duration,
    /// Streams: until the first `data:` event.
    pub first_event: Duration,
    /// Whole answers.
    pub answer: Duration,
    /// Streams: between two events.
    pub idle: Duration,
    /// One request, all in all.
    pub total: Duration,
    /// The longest silence of a client that sends the body of a request.
    pub body: Duration,
    /// After SIGTERM: still accepting, `/readyz` 503.
    pub drain_delay: Duration,
    /// Then: how long open answers may finish.
    pub shutdown: Duration,
}

/// When a neighbour is asked again, and when it is set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Calls in all, the first included; at least 1.
    pub attempts: u32,
    /// The longest wait between two calls.
    pub max_wait: Duration,
    /// Which share of the first calls the retries may be, 0 to 1, beside a few that are always allowed.
    pub budget: f64,
    /// After how many failures in a row an upstream is set aside; 0: never.
    pub set_aside_after: u32,
    /// For how long at most, until it is tried again; a sixteenth of it at first.
    pub set_aside: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            max_wait: Duration::from_secs(10),
            budget: 0.2,
            set_aside_after: 5,
            set_aside: Duration::from_secs(30),
        }
    }
}

/// One model provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the configuration, in logs and before the slash of `upstream/model`.
    pub name: String,
    /// The address of its OpenAI-compatible API, `/v1` or the like included, without a slash at the end.
    pub base_url: Url,
    /// What goes into `Authorization`.
    pub api_key: ApiKey,
    /// The models it has; unset: its `/models` is asked.
    pub models: Option<Vec<String>>,
    /// Headers added to each request.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Names of wire differences to even out.
    pub quirks: Vec<Quirk>,
    /// Tokens that a conversation and its answer may take; unset: what its `/models` says.
    pub context_window: Option<u32>,
    /// Whether connections speak HTTP/2.
    pub http2: Http2,
    /// HTTP/2: how many streams share a connection before another is opened.
    pub streams_per_connection: usize,
    /// Which of the built-in presets it started from, if any.
    pub preset: Option<&'static str>,
}

/// What goes into an upstream's `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// This key.
    Fixed(Secret),
    /// The caller's own `Authorization` header.
    Client,
    /// Nothing.
    None,
}

/// A name that clients see in `/v1/models`.
#[derive(Debug, Clone)]
pub struct Model {
    /// The name.
    pub name: String,
    /// The upstream that has it, by name.
    pub upstream: String,
    /// What that upstream calls it.
    pub model: String,
    /// Other models to try, in turn: each as `upstream/model` or a name in `[models]`.
    pub fallback: Vec<String>,
    /// Raises a smaller token limit of the client to this.
    pub min_completion_tokens: u32,
    /// Tokens that a conversation and its answer may take.
    pub context_window: Option<u32>,
    /// Its own settings; its `workspace_id` is a bound.
    pub rag: RagLayer,
}

/// A client's key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name, for the log.
    pub name: String,
    /// SHA-256 digests of the key; more than one while it is being replaced.
    pub sha256: Vec<[u8; 32]>,
    /// From when on it opens nothing; unset: never.
    pub expires: Option<Timestamp>,
    /// Whether it opens nothing for now.
    pub disabled: bool,
    /// The workspaces it may see.
    pub scope: KeyScope,
    /// Its own key for search; unset: the gateway's.
    pub search_api_key: Option<Secret>,
    /// The models it may name; unset: every one.
    pub models: Option<Vec<String>>,
    /// The upstreams it may reach; unset: every one.
    pub upstreams: Option<Vec<String>>,
    /// Which `rag` keys its requests may carry; unset: the top-level setting.
    pub allow_overrides: Option<AllowOverrides>,
    /// How much it may ask.
    pub limits: KeyLimits,
    /// Its own settings.
    pub rag: RagLayer,
}

/// How much a key may ask; what is unset has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests of any kind, a minute.
    pub requests_per_minute: Option<u32>,
    /// Searches, a minute.
    pub searches_per_minute: Option<u32>,
    /// Tokens of prompts and answers, a minute.
    pub tokens_per_minute: Option<u32>,
    /// Requests under way at once, in one process.
    pub concurrent_requests: Option<u32>,
}

/// The workspaces a key may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyScope {
    /// Every workspace that the search key reaches: the operator wrote `"*"`.
    Every,
    /// These, at least one.
    Only(BTreeSet<WorkspaceId>),
}

/// Where `/v1/files` stores.
#[derive(Debug, Clone)]
pub struct Files {
    /// The service.
    pub target: FilesTarget,
    /// Where uploads go that name no workspace, where nothing else tells.
    pub workspace_id: Option<WorkspaceId>,
}

/// The links in citations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Signs them; unset: new at each start.
    pub secret: Option<Secret>,
    /// How long they open the file.
    pub ttl: Duration,
}

/// What the log looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// A level (`info`) or a filter (`info,groundwire=debug`).
    pub level: String,
    /// Whether the line of a request names the files and chunks that the model was given.
    pub sources: bool,
}
