//! Search on the wire: the request's fields, and both shapes that answers had in 2026.
//!
//! Until June `score` was an object, `{retrieval, reranking}`; since then it is a number beside `scores`. What is unknown is ignored, what
//! may be missing may also be of a wrong type: one odd field costs that field, and one odd result costs that result, never the answer.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    config::{RelevanceScoring, SearchMode, WorkspaceId},
    retrieval::{Passage, Scores, SearchQuery, Source, Tag, Workspace},
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

/// What an answer to a search holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SearchReply {
    /// The passages, in LightOn's order.
    pub(super) passages: Vec<Passage>,
    /// How many results lacked what a passage needs.
    pub(super) dropped: usize,
    /// LightOn's warnings, each as `code: reason`.
    pub(super) warnings: Vec<String>,
}

/// Reads an answer; `None` where it is not JSON or holds no list of results.
pub(super) fn read(body: &[u8]) -> Option<SearchReply> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).ok()?;
    let results: Vec<&RawValue> = serde_json::from_str(fields.get("results")?.get()).ok()?;
    let mut reply = SearchReply::default();
    for result in results {
        match read_result(result.get()) {
            Some(passage) => reply.passages.push(passage),
            None => reply.dropped += 1,
        }
    }
    let warnings = fields
        .get("warnings")
        .and_then(|raw| serde_json::from_str(raw.get()).ok());
    reply.warnings = warnings.as_ref().map(read_warnings).unwrap_or_default();
    Some(reply)
}

fn read_result(json: &str) -> Option<Passage> {
    // An array would be taken for the fields in their order.
    if !json.starts_with('{') {
        return None;
    }
    let result: WireResult = serde_json::from_str(json).ok()?;
    let mut scores = result.scores.unwrap_or_default().into_scores();
    let score = match &result.score {
        Some(Value::Object(score)) => {
            let part = |name| score.get(name).and_then(Value::as_f64);
            let reranking = part("reranking");
            scores.relevance = scores.relevance.or(reranking);
            reranking.or_else(|| part("retrieval"))
        }
        Some(score) => score.as_f64(),
        None => None,
    };
    Some(Passage {
        chunk_id: Some(result.chunk_id).filter(|id| !id.is_empty())?,
        content: result.content.unwrap_or_default(),
        score: score.or(scores.relevance)?,
        scores,
        source: result.source.into_source(),
        workspace: result.workspace.map(|workspace| Workspace {
            id: WorkspaceId(workspace.id),
            name: workspace.name.unwrap_or_default(),
        }),
        // The empty text stands for "no image of this page".
        image: result
            .image
            .map(|image| image.b64_content)
            .filter(|image| !image.is_empty()),
        bboxes: result.bboxes.filter(|boxes| !boxes.is_null()),
    })
}

fn read_warnings(warnings: &Value) -> Vec<String> {
    let text = |warning: &Value| match warning {
        Value::String(text) => Some(text.clone()),
        Value::Object(warning) => {
            let code = warning.get("code").and_then(Value::as_str)?;
            let reason = warning
                .get("reason")
                .and_then(Value::as_str)
                .unwrap_or("unknown");
            Some(format!("{code}: {reason}"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    warnings
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(text)
        .collect()
}

#[derive(Deserialize)]
struct WireResult {
    chunk_id: String,
    #[serde(default, deserialize_with = "lenient_of_text")]
    content: Option<String>,
    #[serde(default)]
    score: Option<Value>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    scores: Option<WireScores>,
    source: WireSource,
    #[serde(default, deserialize_with = "lenient_of_text")]
    workspace: Option<WireWorkspace>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    image: Option<WireImage>,
    #[serde(default)]
    bboxes: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireScores {
    #[serde(deserialize_with = "lenient_of_text")]
    text: Option<f64>,
    #[serde(deserialize_with = "lenient_of_text")]
    vision: Option<f64>,
    #[serde(deserialize_with = "lenient_of_text")]
    keyword: Option<f64>,
    #[serde(deserialize_with = "lenient_of_text")]
    multivector: Option<f64>,
    #[serde(deserialize_with = "lenient_of_text")]
    relevance: Option<f64>,
}

impl WireScores {
    fn into_scores(self) -> Scores {
        Scores {
            text: self.text,
            vision: self.vision,
            keyword: self.keyword,
            multivector: self.multivector,
            relevance: self.relevance,
        }
    }
}

#[derive(Deserialize)]
struct WireSource {
    file_id: i64,
    filename: String,
    #[serde(default, deserialize_with = "lenient_of_text")]
    title: Option<String>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    mime_type: Option<String>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    size_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    page_start: Option<u32>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    page_end: Option<u32>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    total_pages: Option<u32>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    tags: Option<Vec<Value>>,
    #[serde(default, deserialize_with = "lenient_of_text")]
    content_types: Option<Vec<Value>>,
    #[serde(default)]
    external_metadata: Option<Value>,
}

impl WireSource {
    fn into_source(self) -> Source {
        // Pages are counted from 1; a 0 says that nobody counted.
        let page = |page: Option<u32>| page.filter(|page| *page > 0);
        let tags = self.tags.unwrap_or_default();
        Source {
            file_id: self.file_id,
            filename: self.filename,
            title: self.title,
            mime_type: self.mime_type,
            size_bytes: self.size_bytes,
            page_start: page(self.page_start),
            page_end: page(self.page_end),
            total_pages: page(self.total_pages),
            tags: tags.iter().filter_map(read_tag).collect(),
            content_types: self.content_types.unwrap_or_default(),
            external_metadata: self.external_metadata,
        }
    }
}

fn read_tag(tag: &Value) -> Option<Tag> {
    let id = tag.get("id")?.as_i64()?;
    let name = tag.get("name")?.as_str()?.to_owned();
    Some(Tag { id, name })
}

/// A workspace as results and files name it.
#[derive(Deserialize)]
pub(super) struct WireWorkspace {
    pub(super) id: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
}

#[derive(Deserialize)]
struct WireImage {
    b64_content: String,
}

/// Reads a value of the expected type, and nothing where it is null or of another.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// The same where it is text that is read: without a tree between, since each result of a search has twenty such fields.
fn lenient_of_text<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_an_object_with_a_list_of_results_is_an_answer() {
        for body in [
            "",
            "null",
            "[]",
            "[[], []]",
            "{}",
            r#"{"results": 1}"#,
            r#"{"results": []"#,
            "<html>",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
        assert_eq!(read(br#"{"results": []}"#), Some(SearchReply::default()));
        assert_eq!(
            read(b"\xef\xbb\xbf{\"results\": []}"),
            Some(SearchReply::default())
        );
    }

    #[test]
    fn a_number_beyond_every_float_or_a_deep_nest_costs_its_result_only() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let body = format!(r#"{{"results": [{{"chunk_id": "c", "score": 1e999}}, {deep}]}}"#);
        let reply = read(body.as_bytes()).unwrap();
        assert_eq!((reply.passages.len(), reply.dropped), (0, 2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_text_in_place_of_a_result_is_read_without_a_panic(text in "[\\[\\]{}\",:0-9a-z. -]{0,60}") {
            let _ = read(format!("{{\"results\": [{text}]}}").as_bytes());
            let _ = read(format!("{{\"results\": [{{\"score\": {text}}}], \"warnings\": {text}}}").as_bytes());
        }
    }
}
