//! What a model writes when it calls tools: arguments, calls that leaked into text, and fragments of calls.

use bytes::Bytes;
use groundwire::{
    openai::Json,
    rag::tool::written::{self, WrittenCall},
};

/// The most calls that one turn may hold, however they were written.
const CALLS: usize = 128;

/// The longest query, in characters.
const QUERY: usize = 4000;

/// Checks one text of a model's.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    asks_within_bounds(text);
    let (said, calls) = written::text([text]);
    assert!(is_left_over(&said, text), "{said:?} was made up");
    for size in [1, 3, 7, 40] {
        let cut = written::text(pieces(text, size));
        assert_eq!(cut, (said.clone(), calls.clone()), "pieces of {size}");
    }
    can_be_run(&calls);
    let fragments: Vec<Json> = text
        .lines()
        .filter_map(|line| Json::parse(Bytes::copy_from_slice(line.as_bytes())).ok())
        .collect();
    can_be_run(&written::calls(&fragments));
}

fn asks_within_bounds(text: &str) {
    let Ok(search) = written::search(text) else {
        return;
    };
    let query = &search.query;
    assert!(!query.trim().is_empty() && query.chars().count() <= QUERY);
    assert!(
        search
            .max_results
            .is_none_or(|number| (1..=50).contains(&number))
    );
    // Nothing but these two is ever asked for: a scope in the arguments is gone.
    let mended: serde_json::Value = serde_json::from_str(&search.mended).unwrap_or_default();
    let keys = mended
        .as_object()
        .map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    assert!(matches!(
        keys.unwrap_or_default().join(" ").as_str(),
        "query" | "query max_results"
    ));
    let again = written::search(&search.mended);
    assert!(
        again.is_ok_and(
            |again| again.query == query.trim() && again.max_results == search.max_results
        )
    );
}

fn can_be_run(calls: &[WrittenCall]) {
    assert!(calls.len() <= CALLS, "{} calls", calls.len());
    for call in calls {
        assert!(!call.name.is_empty(), "a call of nothing");
        asks_within_bounds(&call.arguments);
    }
}

/// Whether `said` is `text` with parts left out.
fn is_left_over(said: &str, text: &str) -> bool {
    let mut rest = text.chars();
    said.chars()
        .all(|character| rest.any(|other| other == character))
}

/// The text in pieces of about so many bytes, cut between characters.
fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = (size..=rest.len())
            .find(|at| rest.is_char_boundary(*at))
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
