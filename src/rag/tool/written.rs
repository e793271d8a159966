//! What a model wrote, read as mode `tool` reads it and without an upstream: the door by which the fuzzer comes to the readers.

use super::{
    calls::{Call, Gathered},
    leak::Filter,
    spec::Arguments,
};
use crate::openai::Json;

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenCall {
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments as the model wrote them.
    pub arguments: String,
}

/// What a search call asks for: nothing else of what the model wrote is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSearch {
    /// What is looked for; not empty.
    pub query: String,
    /// How many passages, 1..=50; `None` where the call does not say.
    pub max_results: Option<u16>,
    /// The arguments as they go back to the model.
    pub mended: String,
}

/// Reads the arguments of a call to the search; the error is a sentence for the model.
pub fn search(arguments: &str) -> Result<WrittenSearch, &'static str> {
    Arguments::read(arguments).map(|read| WrittenSearch {
        mended: read.to_json(),
        query: read.query,
        max_results: read.max_results,
    })
}

/// Takes calls that leaked into a turn's text out of it; the text comes piece by piece, and what a client would read of it is returned.
pub fn text<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, Vec<WrittenCall>) {
    let mut filter = Filter::default();
    let mut said: String = pieces.into_iter().map(|piece| filter.push(piece)).collect();
    let rest = filter.finish();
    said.push_str(&rest.text);
    (said, rest.calls.into_iter().map(written).collect())
}

/// Gathers the calls of a turn from the `tool_calls` of its deltas.
pub fn calls<'a>(deltas: impl IntoIterator<Item = &'a Json>) -> Vec<WrittenCall> {
    let mut gathered = Gathered::default();
    for delta in deltas {
        gathered.add(delta);
    }
    gathered.finish().into_iter().map(written).collect()
}

fn written(call: Call) -> WrittenCall {
    WrittenCall {
        name: call.name,
        arguments: call.arguments,
    }
}
