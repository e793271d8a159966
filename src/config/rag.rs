//! How answers are grounded: `[rag]`, and the layers that a model or a client's key puts over it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    InjectAs, Mode, OnNoResults, OnSearchError, QueryFrom, RelevanceScoring, SearchMode, SkipRule,
    Sources, WorkspaceId,
};

/// The `rag` keys that a request may carry, where `allow_overrides` lets it.
pub const REQUEST_KEYS: &[&str] = &[
    "mode",
    "workspace_id",
    "max_results",
    "tag_id",
    "file_id",
    "content_type",
    "attribute",
    "search_mode",
    "relevance_scoring",
    "query",
    "citations",
    "min_relevance",
    "events",
];

/// How answers are grounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Rag {
    /// How passages reach the model.
    pub mode: Mode,
    /// The workspaces of requests that name none; empty: every one within the bounds.
    pub workspace_id: Vec<WorkspaceId>,
    /// How many passages are asked for, 1..=100.
    pub max_results: u16,
    /// Drops passages whose relevance is known and lower.
    pub min_relevance: f64,
    /// What the passages may take of the prompt, in tokens.
    pub passage_tokens: u32,
    /// Where the search query comes from.
    pub query_from: QueryFrom,
    /// The model that rewrites the query, for [`QueryFrom::Rewrite`].
    pub rewrite_model: Option<String>,
    /// Rules by name: requests that are not searched for.
    pub skip: Vec<SkipRule>,
    /// Text, or page images.
    pub search_mode: SearchMode,
    /// How LightOn judges what it found.
    pub relevance_scoring: RelevanceScoring,
    /// Whether the model is asked to cite and the answer carries annotations.
    pub citations: Citations,
    /// How much of each source the answer lists.
    pub sources: Sources,
    /// What happens when search fails.
    pub on_search_error: OnSearchError,
    /// What happens when search finds nothing.
    pub on_no_results: OnNoResults,
    /// Which message carries the passages.
    pub inject_as: InjectAs,
    /// Tool mode: model calls at most, for one request.
    pub max_rounds: u32,
    /// Tool mode: searches at most, for one request.
    pub max_searches: u32,
    /// Replaces the built-in grounding prompt; holds `{{ context }}`.
    pub template: Option<String>,
}

impl Default for Rag {
    fn default() -> Self {
        Self {
            mode: Mode::Inject,
            workspace_id: Vec::new(),
            max_results: 5,
            min_relevance: 0.0,
            passage_tokens: 8000,
            query_from: QueryFrom::LastUser,
            rewrite_model: None,
            skip: vec![SkipRule::ChatUiTasks],
            search_mode: SearchMode::Text,
            relevance_scoring: RelevanceScoring::ScoringAndFiltering,
            citations: Citations::Auto,
            sources: Sources::Full,
            on_search_error: OnSearchError::Fail,
            on_no_results: OnNoResults::Answer,
            inject_as: InjectAs::System,
            max_rounds: 5,
            max_searches: 8,
            template: None,
        }
    }
}

impl Rag {
    /// Lays `layer` over these settings: what it sets wins, the rest stays.
    ///
    /// A model's `workspace_id` is a bound and no setting; whoever lays a model's layer takes the bound out first.
    pub fn with(&self, layer: &RagLayer) -> Self {
        let base = self.clone();
        let layer = layer.clone();
        Self {
            mode: layer.mode.unwrap_or(base.mode),
            workspace_id: layer.workspace_id.unwrap_or(base.workspace_id),
            max_results: layer.max_results.unwrap_or(base.max_results),
            min_relevance: layer.min_relevance.unwrap_or(base.min_relevance),
            passage_tokens: layer.passage_tokens.unwrap_or(base.passage_tokens),
            query_from: layer.query_from.unwrap_or(base.query_from),
            rewrite_model: layer.rewrite_model.or(base.rewrite_model),
            skip: layer.skip.unwrap_or(base.skip),
            search_mode: layer.search_mode.unwrap_or(base.search_mode),
            relevance_scoring: layer.relevance_scoring.unwrap_or(base.relevance_scoring),
            citations: layer.citations.unwrap_or(base.citations),
            sources: layer.sources.unwrap_or(base.sources),
            on_search_error: layer.on_search_error.unwrap_or(base.on_search_error),
            on_no_results: layer.on_no_results.unwrap_or(base.on_no_results),
            inject_as: layer.inject_as.unwrap_or(base.inject_as),
            max_rounds: layer.max_rounds.unwrap_or(base.max_rounds),
            max_searches: layer.max_searches.unwrap_or(base.max_searches),
            template: layer.template.or(base.template),
        }
    }
}

/// `[rag]` keys that a model or a key of a client sets for itself; unset ones are inherited.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "each field is the field of `Rag` with the same name"
)]
pub struct RagLayer {
    pub mode: Option<Mode>,
    pub workspace_id: Option<Vec<WorkspaceId>>,
    pub max_results: Option<u16>,
    pub min_relevance: Option<f64>,
    pub passage_tokens: Option<u32>,
    pub query_from: Option<QueryFrom>,
    pub rewrite_model: Option<String>,
    pub skip: Option<Vec<SkipRule>>,
    pub search_mode: Option<SearchMode>,
    pub relevance_scoring: Option<RelevanceScoring>,
    pub citations: Option<Citations>,
    pub sources: Option<Sources>,
    pub on_search_error: Option<OnSearchError>,
    pub on_no_results: Option<OnNoResults>,
    pub inject_as: Option<InjectAs>,
    pub max_rounds: Option<u32>,
    pub max_searches: Option<u32>,
    pub template: Option<String>,
}

/// Whether the model is asked to cite and the answer carries annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Citations {
    /// Always.
    On,
    /// Never.
    Off,
    /// For plain chat only: not with a JSON `response_format`, a forced tool, or completions.
    Auto,
}

impl<'de> Deserialize<'de> for Citations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Citations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"auto\"")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Citations, E> {
                Ok(if value { Citations::On } else { Citations::Off })
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Citations, E> {
                match value {
                    "true" => Ok(Citations::On),
                    "false" => Ok(Citations::Off),
                    "auto" => Ok(Citations::Auto),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
