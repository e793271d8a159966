//! What goes over the wire: the fields of a search, and what several answers have in common.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    config::{RelevanceScoring, SearchMode, WorkspaceId},
    retrieval::SearchQuery,
};

/// The body of `POST /api/v3/search`. `skip_rerank` is left out on purpose: `relevance_scoring` overrides it.
#[derive(Debug, Serialize)]
pub(super) struct SearchRequest<'a> {
    query: &'a str,
    max_results: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<Vec<WorkspaceId>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tag_id: &'a [i64],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    file_id: &'a [i64],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    content_type: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attribute: &'a [String],
    mode: SearchMode,
    relevance_scoring: RelevanceScoring,
    #[serde(skip_serializing_if = "is_unset")]
    include_image: bool,
    #[serde(skip_serializing_if = "is_unset")]
    include_bboxes: bool,
}

impl<'a> SearchRequest<'a> {
    /// The body for a query whose text was made to fit.
    pub(super) fn new(query: &'a SearchQuery, text: &'a str) -> Self {
        // LightOn answers 422 to workspaces beside files, so the files alone are named; which of their passages the caller may see is
        // decided by each passage's workspace, as for every other search.
        let workspaces = query
            .workspaces
            .as_ref()
            .filter(|_| query.file_id.is_empty());
        Self {
            query: text,
            max_results: query.max_results,
            workspace_id: workspaces.map(|ids| ids.iter().copied().collect()),
            tag_id: &query.tag_id,
            file_id: &query.file_id,
            content_type: &query.content_type,
            attribute: &query.attribute,
            mode: query.mode,
            relevance_scoring: query.relevance_scoring,
            include_image: query.include_image,
            include_bboxes: query.include_bboxes,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn is_unset(flag: &bool) -> bool {
    !flag
}

/// A workspace as files name it.
#[derive(Deserialize)]
pub(super) struct WireWorkspace {
    pub(super) id: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
}

/// Reads a value of the expected type, and nothing where it is null or of another.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}
