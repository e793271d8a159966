//! The `rag` object of an answer: what was searched, what the model was given, what was left out.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};

use super::passages::{Selection, Source};
use crate::{
    config::{Mode, Sources},
    openai::{Json, Writer},
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
        self.with(&Map::new())
    }

    /// The same, with what is known besides.
    pub fn with(&self, more: &Map<String, Value>) -> Json {
        let mut out = Writer::with_capacity(self.length());
        out.open('{');
        out.key("mode");
        out.value(&self.mode);
        out.key("queries");
        out.value(&self.queries);
        out.key("sources");
        out.open('[');
        if self.sources != Sources::None {
            for source in &self.selection.sources {
                self.write_source(source, &mut out);
            }
        }
        out.close(']');
        out.key("dropped");
        out.value(&self.selection.dropped);
        out.key("usage");
        out.open('{');
        out.key("searches");
        out.number(self.searches);
        out.key("cached");
        out.number(self.cached);
        out.key("passage_tokens");
        out.number(self.selection.tokens);
        out.close('}');
        out.key("warnings");
        out.value(&self.warnings);
        for (key, value) in more {
            out.key(key);
            out.value(value);
        }
        out.close('}');
        out.finish()
    }

    /// Writes a source. The texts of passages are long, and a [`Writer`] writes them faster than a serializer.
    fn write_source(&self, source: &Source, out: &mut Writer) {
        let passage = &source.passage;
        let document = &passage.source;
        out.open('{');
        out.key("index");
        out.number(source.index);
        out.key("label");
        out.string(&format!("[{}]", source.index));
        out.key("filename");
        out.string(&document.filename);
        for (key, page) in [
            ("page_start", document.page_start),
            ("page_end", document.page_end),
        ] {
            out.key(key);
            out.value(&page);
        }
        out.key("title");
        out.value(&document.title);
        out.key("file_id");
        out.number(document.file_id);
        out.key("chunk_id");
        out.string(&passage.chunk_id);
        out.key("workspace_id");
        out.value(&passage.workspace.as_ref().map(|workspace| workspace.id));
        out.key("score");
        out.value(&passage.score);
        if self.sources == Sources::Full {
            out.key("content");
            out.string(&passage.content);
        }
        out.close('}');
    }

    /// About how long the object becomes.
    fn length(&self) -> usize {
        let texts = self.selection.sources.iter().map(|source| {
            let content = &source.passage.content;
            400 + content.len() + content.len() / 16
        });
        match self.sources {
            Sources::Full => 400 + texts.sum::<usize>(),
            Sources::None | Sources::Reference => 400 + 400 * self.selection.sources.len(),
        }
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
