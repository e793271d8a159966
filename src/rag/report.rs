//! The `rag` object of an answer: what was searched, what the model was given, what was left out.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::passages::{Dropped, Selection, Source};
use crate::{
    config::{Mode, Sources, WorkspaceId},
    openai::{Json, Object},
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
            sources: [(); 0],
            dropped: &'a [Dropped],
            usage: Usage,
            warnings: &'a [String],
        }
        #[derive(Serialize)]
        struct Usage {
            searches: u32,
            cached: u32,
            passage_tokens: u32,
        }
        let whole = Json::of(&Whole {
            mode: self.mode,
            queries: &self.queries,
            sources: [],
            dropped: &self.selection.dropped,
            usage: Usage {
                searches: self.searches,
                cached: self.cached,
                passage_tokens: self.selection.tokens,
            },
            warnings: &self.warnings,
        });
        let told = match self.sources {
            Sources::None => return whole,
            Sources::Full | Sources::Reference => self.selection.sources.iter(),
        };
        let sources: Vec<Json> = told.map(|source| self.source(source)).collect();
        with(&whole, "sources", Json::array(&sources))
    }

    fn source(&self, source: &Source) -> Json {
        #[derive(Serialize)]
        struct Told<'a> {
            index: usize,
            label: String,
            filename: &'a str,
            page_start: Option<u32>,
            page_end: Option<u32>,
            title: Option<&'a str>,
            file_id: i64,
            chunk_id: &'a str,
            workspace_id: Option<WorkspaceId>,
            score: f64,
        }
        let passage = &source.passage;
        let document = &passage.source;
        let told = Json::of(&Told {
            index: source.index,
            label: format!("[{}]", source.index),
            filename: &document.filename,
            page_start: document.page_start,
            page_end: document.page_end,
            title: document.title.as_deref(),
            file_id: document.file_id,
            chunk_id: &passage.chunk_id,
            workspace_id: passage.workspace.as_ref().map(|workspace| workspace.id),
            score: passage.score,
        });
        match self.sources {
            Sources::Full => with(&told, "content", Json::string(&passage.content)),
            Sources::None | Sources::Reference => told,
        }
    }
}

/// The object `json` with another value of `key`: the texts of passages are long, and [`Json::string`] writes them faster than a serializer.
fn with(json: &Json, key: &str, value: Json) -> Json {
    let object = Object::parse(json).unwrap_or_else(Object::empty);
    object.with(&[(key, value)])
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
