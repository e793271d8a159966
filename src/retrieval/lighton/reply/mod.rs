//! What comes back from a search, in both shapes that answers had in 2026.
//!
//! Until June `score` was an object, `{retrieval, reranking}`; since then it is a number beside `scores`. What is unknown is ignored, what
//! may be missing may also be of a wrong type: one odd field costs that field, and one odd result costs that result, never the answer.

use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};

use crate::{
    config::WorkspaceId,
    retrieval::{Passage, Scores, Source, Tag, Workspace},
    walk::{self, Walk},
};

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
    // Answers are long: this one is checked as a whole, and from here on only walked over.
    let answer: &RawValue = serde_json::from_slice(body).ok()?;
    let answer = answer.get().as_bytes();
    let mut walk = Walk::object(answer)?;
    let (mut reply, mut warnings) = (None, None);
    while let Some(key) = walk.key() {
        match &*walk::key(answer.get(key)?).ok()? {
            b"results" => reply = read_results(&mut walk),
            b"warnings" => warnings = answer.get(walk.value()),
            _ => {
                walk.value();
            }
        }
    }
    let mut reply: SearchReply = reply?;
    let warnings = warnings.and_then(|json| serde_json::from_slice(json).ok());
    reply.warnings = warnings.as_ref().map(read_warnings).unwrap_or_default();
    Some(reply)
}

/// Reads the list that is next; `None` where there is something else.
fn read_results(walk: &mut Walk<'_>) -> Option<SearchReply> {
    if !walk.enter(b'[') {
        walk.value();
        return None;
    }
    let mut reply = SearchReply::default();
    while walk.has_item() {
        match read_result(walk) {
            Some(passage) => reply.passages.push(passage),
            None => reply.dropped += 1,
        }
    }
    walk.leave();
    Some(reply)
}

/// Reads the result that is next; `None` where it lacks what a passage needs.
fn read_result(walk: &mut Walk<'_>) -> Option<Passage> {
    const NAMES: [&str; 8] = [
        "chunk_id",
        "content",
        "score",
        "scores",
        "source",
        "workspace",
        "image",
        "bboxes",
    ];
    let (mut scores, mut source, mut workspace) = (None, None, None);
    let mut found = [None; NAMES.len()];
    let is_clear = walk.each_of(NAMES, |place, name, walk| match name {
        "scores" => scores = read_scores(walk),
        "source" => source = read_source(walk),
        "workspace" => workspace = read_workspace(walk),
        _ => {
            if let Some(found) = found.get_mut(place) {
                *found = walk.value_text();
            }
        }
    });
    let [chunk_id, content, score, _, _, _, image, bboxes] = is_clear.then_some(found)?;
    let mut scores = scores.unwrap_or_default();
    let score = match tree(score)? {
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
        chunk_id: text(chunk_id?).filter(|id| !id.is_empty())?,
        content: content.and_then(text).unwrap_or_default(),
        score: score.or(scores.relevance)?,
        scores,
        source: source?,
        workspace,
        image: image.and_then(read_image),
        bboxes: tree(bboxes)?,
    })
}

fn read_scores(walk: &mut Walk<'_>) -> Option<Scores> {
    let names = ["text", "vision", "keyword", "multivector", "relevance"];
    let [text, vision, keyword, multivector, relevance] = walk.fields(names)?;
    Some(Scores {
        text: text.and_then(number),
        vision: vision.and_then(number),
        keyword: keyword.and_then(number),
        multivector: multivector.and_then(number),
        relevance: relevance.and_then(number),
    })
}

fn read_source(walk: &mut Walk<'_>) -> Option<Source> {
    let [
        file_id,
        filename,
        title,
        mime_type,
        size_bytes,
        page_start,
        page_end,
        total_pages,
        tags,
        content_types,
        external_metadata,
    ] = walk.fields([
        "file_id",
        "filename",
        "title",
        "mime_type",
        "size_bytes",
        "page_start",
        "page_end",
        "total_pages",
        "tags",
        "content_types",
        "external_metadata",
    ])?;
    // Pages are counted from 1; a 0 says that nobody counted.
    let page = |json| number(json).filter(|page| *page > 0);
    let content_types = content_types.and_then(|json| serde_json::from_slice(json).ok());
    Some(Source {
        file_id: number(file_id?)?,
        filename: text(filename?)?,
        title: title.and_then(text),
        mime_type: mime_type.and_then(text),
        size_bytes: size_bytes.and_then(number),
        page_start: page_start.and_then(page),
        page_end: page_end.and_then(page),
        total_pages: total_pages.and_then(page),
        tags: tags.map(read_tags).unwrap_or_default(),
        content_types: content_types.unwrap_or_default(),
        external_metadata: tree(external_metadata)?,
    })
}

fn read_tags(json: &[u8]) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut walk = Walk::array(json);
    while let Some(tag) = walk.as_mut().and_then(Walk::item) {
        tags.extend(json.get(tag).and_then(read_tag));
    }
    tags
}

fn read_tag(json: &[u8]) -> Option<Tag> {
    let [id, name] = walk::fields(json, ["id", "name"])?;
    Some(Tag {
        id: number(id?)?,
        name: text(name?)?,
    })
}

fn read_workspace(walk: &mut Walk<'_>) -> Option<Workspace> {
    let [id, name] = walk.fields(["id", "name"])?;
    Some(Workspace {
        id: WorkspaceId(number(id?)?),
        name: name.and_then(text).unwrap_or_default(),
    })
}

fn read_image(json: &[u8]) -> Option<String> {
    let [content] = walk::fields(json, ["b64_content"])?;
    // The empty text stands for "no image of this page".
    text(content?).filter(|image| !image.is_empty())
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

/// A string, and nothing where it is something else or holds half a character.
fn text(json: &[u8]) -> Option<String> {
    if let Some(text) = walk::plain(json) {
        return Some(text.to_owned());
    }
    let is_text = json.starts_with(b"\"");
    is_text.then(|| serde_json::from_slice(json).ok())?
}

/// A number, and nothing where it is something else or out of range.
fn number<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    // Half of them are null, and what is wrong with that need not be put into words.
    let is_number = matches!(json.first(), Some(b'-' | b'0'..=b'9'));
    is_number.then(|| serde_json::from_slice(json).ok())?
}

/// Any value but null; `None` where there is one that no tree can hold: too large a number, too deep a nest.
fn tree(json: Option<&[u8]>) -> Option<Option<Value>> {
    match json {
        None | Some(b"null") => Some(None),
        Some(json) => Some(Some(serde_json::from_slice(json).ok()?)),
    }
}

#[cfg(test)]
mod tests;
