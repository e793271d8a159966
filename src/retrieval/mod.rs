//! Finding passages: what to look for, where, and what comes back.
//!
//! A [`Retriever`] answers a [`SearchQuery`] with [`Found`]. Two stand behind it: LightOn's search API ([`lighton`]) and an index of a
//! folder in this process ([`local`]); [`cached`] stands before the first. Neither knows who is asking beyond the query, and neither widens its scope. Both are a
//! [`DocumentStore`] too: the documents as such.

pub mod cached;
pub mod documents;
pub mod lighton;
pub mod local;
pub mod nowhere;

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::config::{RelevanceScoring, SearchMode, WorkspaceId};

pub use self::documents::DocumentStore;

/// Finds passages. The scope is already inside the query; an implementation never widens it.
pub trait Retriever: Send + Sync + 'static {
    /// Searches within the retriever's own deadline. Passages come best first.
    fn search<'a>(&'a self, query: &'a SearchQuery) -> BoxFuture<'a, Result<Found, Error>>;
}

/// What to look for, where, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SearchQuery {
    /// The question or the words; not empty.
    pub text: String,
    /// How many passages at most, 1..=100.
    pub max_results: u16,
    /// The workspaces to look in; `None`: every one that the search key reaches.
    pub workspaces: Option<BTreeSet<WorkspaceId>>,
    /// Documents that carry any of these tags; empty: no filter.
    pub tag_id: Vec<i64>,
    /// These documents only; excludes the other scopes on LightOn's side (422).
    pub file_id: Vec<i64>,
    /// Facet paths, any of them; empty: no filter.
    pub content_type: Vec<String>,
    /// Facet values, all of them; empty: no filter.
    pub attribute: Vec<String>,
    /// Text, or page images.
    pub mode: SearchMode,
    /// How the found passages are judged.
    pub relevance_scoring: RelevanceScoring,
    /// Whether each passage brings the image of its page.
    pub include_image: bool,
    /// Whether each passage brings its boxes on the page.
    pub include_bboxes: bool,
    /// Whose search it is, for turns alone.
    pub asker: Asker,
}

/// Who asks, as a number without a meaning: where searches have to wait, askers take turns.
///
/// Who asks is no part of what is looked for: all askers are equal as far as queries are, so that one finds what was kept for another.
/// Hence `==` tells queries apart, and [`Asker::is`] askers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker(u64);

impl Asker {
    /// The asker of that name.
    pub fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Whether both are the same one.
    pub fn is(self, other: Self) -> bool {
        self.0 == other.0
    }
}

impl PartialEq for Asker {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Asker {}

impl Hash for Asker {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl SearchQuery {
    /// A query for `text` with LightOn's defaults: ten passages from everywhere.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            max_results: 10,
            workspaces: None,
            tag_id: Vec::new(),
            file_id: Vec::new(),
            content_type: Vec::new(),
            attribute: Vec::new(),
            mode: SearchMode::Text,
            relevance_scoring: RelevanceScoring::ScoringAndFiltering,
            include_image: false,
            include_bboxes: false,
            asker: Asker::default(),
        }
    }
}

/// What a search brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The passages, best first.
    pub passages: Vec<Passage>,
    /// What was degraded, cut or left out, each as `code: reason` (LightOn's `warnings`, then ours).
    pub warnings: Vec<String>,
    /// Whether an earlier or a concurrent equal search answered, so that none was made for this one.
    pub cached: bool,
}

/// A piece of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Its id, a UUID on LightOn's side.
    pub chunk_id: String,
    /// Its text; empty where only a page image was found.
    pub content: String,
    /// What it is sorted by, descending.
    pub score: f64,
    /// What the score was made of.
    pub scores: Scores,
    /// The document it stands in.
    pub source: Source,
    /// The workspace of that document, where it is told.
    pub workspace: Option<Workspace>,
    /// The image of its page, base64, where it was asked for and there is one.
    pub image: Option<String>,
    /// Its boxes on the page as LightOn gave them, where they were asked for.
    pub bboxes: Option<Value>,
}

/// The signals behind a score; `None` where one does not apply or was degraded.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// Similarity of dense text embeddings, 0..=1.
    pub text: Option<f64>,
    /// Similarity of page images, 0..=1.
    pub vision: Option<f64>,
    /// BM25; no upper bound.
    pub keyword: Option<f64>,
    /// Multi-vector similarity; no upper bound.
    pub multivector: Option<f64>,
    /// The judged relevance, 0..=1.
    pub relevance: Option<f64>,
}

/// The document a passage stands in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Source {
    /// The document's number.
    pub file_id: i64,
    /// Its file name.
    pub filename: String,
    /// Its title.
    pub title: Option<String>,
    /// Its file type, `pdf` rather than `application/pdf`.
    pub mime_type: Option<String>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// The first page of the passage, 1-based.
    pub page_start: Option<u32>,
    /// The last page of the passage, 1-based.
    pub page_end: Option<u32>,
    /// How many pages the document has.
    pub total_pages: Option<u32>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its facet classifications, as LightOn gave them.
    pub content_types: Vec<Value>,
    /// What a data source says of it: `external_id`, `external_url`, `additional_metadata`.
    pub external_metadata: Option<Value>,
}

/// A label of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// A workspace, the boundary of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its number.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
}

/// Why a search failed.
///
/// `Display` is for the log: it may name hosts and quote LightOn's words, so it never goes to a caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key was refused (401).
    #[error("search refused the gateway's key: {detail}")]
    Authentication {
        /// What the service said.
        detail: String,
    },
    /// The filters reach nothing that the key may see (403).
    #[error("search refused the scope: {detail}")]
    Scope {
        /// What the service said.
        detail: String,
    },
    /// The service found fault with the query (400, 422), or does not know what a document's call names (404).
    #[error("search refused the query with {status}: {detail}")]
    Query {
        /// The HTTP status.
        status: u16,
        /// What the service said.
        detail: String,
        /// The field at fault, where the service named one.
        field: Option<String>,
    },
    /// Too many requests, here or there (429).
    #[error("search is limited to fewer requests: {detail}")]
    RateLimited {
        /// What the service said, or what our own pacing says.
        detail: String,
        /// When another request may succeed, where that is known.
        retry_after: Option<std::time::Duration>,
    },
    /// The service is in planned maintenance (503).
    #[error("search is in maintenance: {detail}")]
    Maintenance {
        /// What the service said.
        detail: String,
    },
    /// The service cannot be reached, fails, or answers nonsense.
    #[error("search is unavailable: {detail}")]
    Unavailable {
        /// What happened.
        detail: String,
        /// The failure below, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The deadline passed.
    #[error("search gave no answer within {after:?}")]
    Timeout {
        /// The deadline.
        after: std::time::Duration,
    },
}

impl Error {
    /// A word for it; there are few of them.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Authentication { .. } => "authentication",
            Self::Scope { .. } => "scope",
            Self::Query { .. } => "query",
            Self::RateLimited { .. } => "rate_limited",
            Self::Maintenance { .. } => "maintenance",
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout { .. } => "timeout",
        }
    }
}
