//! The `rag` object of an answer: what was searched, what the model was given, what was left out.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::passages::{Dropped, Selection, Source};
use crate::{
    config::{Mode, Sources},
    openai::Json,
};

/// What an answer tells of its grounding.
#[derive(Debug, Clone)]
pub struct Report {
    /// How the passages reached the model.
    pub mode: Mode,
    /// What was searched for.
    pub queries: Vec<String>,
    /// What the model was given, and what not.
    pub selection: Selection,
    /// How much of each source is told.
    pub sources: Sources,
    /// Searches that were made.
    pub searches: u32,
    /// Searches that a cache answered.
    pub cached: u32,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// How long the steps of an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// All searches.
    pub search: Option<Duration>,
    /// The upstream, until its head.
    pub upstream: Option<Duration>,
}

impl Report {
    /// An empty report.
    pub fn new(mode: Mode, sources: Sources) -> Self {
        Self {
            mode,
            queries: Vec::new(),
            selection: Selection::default(),
            sources,
            searches: 0,
            cached: 0,
            warnings: Vec::new(),
        }
    }

    /// The whole object.
    pub fn to_json(&self) -> Json {
        #[derive(Serialize)]
        struct Whole<'a> {
            mode: Mode,
            queries: &'a [String],
            sources: Vec<Value>,
            dropped: &'a [Dropped],
            usage: Value,
            warnings: &'a [String],
        }
        let sources = match self.sources {
            Sources::None => Vec::new(),
            Sources::Full | Sources::Reference => self
                .selection
                .sources
                .iter()
                .map(|source| self.source(source))
                .collect(),
        };
        Json::of(&Whole {
            mode: self.mode,
            queries: &self.queries,
            sources,
            dropped: &self.selection.dropped,
            usage: json!({"searches": self.searches, "cached": self.cached, "passage_tokens": self.selection.tokens}),
            warnings: &self.warnings,
        })
    }

    fn source(&self, source: &Source) -> Value {
        let passage = &source.passage;
        let document = &passage.source;
        let mut told = json!({
            "index": source.index,
            "label": format!("[{}]", source.index),
            "filename": document.filename,
            "page_start": document.page_start,
            "page_end": document.page_end,
            "title": document.title,
            "file_id": document.file_id,
            "chunk_id": passage.chunk_id,
            "workspace_id": passage.workspace.as_ref().map(|workspace| workspace.id),
            "score": passage.score,
        });
        if let (Sources::Full, Some(told)) = (self.sources, told.as_object_mut()) {
            told.insert("content".to_owned(), Value::String(passage.content.clone()));
        }
        told
    }
}

impl Timings {
    /// `search;dur=84.1, upstream;dur=412.0`: the `Server-Timing` header (W3C), in milliseconds.
    pub fn header(&self) -> Option<String> {
        let mut header = String::new();
        for (name, time) in [("search", self.search), ("upstream", self.upstream)] {
            let Some(time) = time else {
                continue;
            };
            if !header.is_empty() {
                header.push_str(", ");
            }
            // Numbers with a point cost a microsecond to write, and every answer has this one.
            let tenths = (time.as_micros() + 50) / 100;
            // Writing to a `String` does not fail.
            let _ = write!(header, "{name};dur={}.{}", tenths / 10, tenths % 10);
        }
        (!header.is_empty()).then_some(header)
    }

    /// `{"search_ms": 84.1, "upstream_ms": 412.0}`.
    pub fn to_value(self) -> Value {
        let mut value = Map::new();
        for (name, time) in [("search_ms", self.search), ("upstream_ms", self.upstream)] {
            if let Some(time) = time {
                value.insert(
                    name.to_owned(),
                    json!((milliseconds(time) * 10.0).round() / 10.0),
                );
            }
        }
        Value::Object(value)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
