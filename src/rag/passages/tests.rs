use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    config::WorkspaceId,
    retrieval::{Scores, Source as Document, Workspace},
};

fn passage(id: &str, content: &str) -> Passage {
    Passage {
        chunk_id: id.into(),
        content: content.into(),
        score: 1.0,
        scores: Scores {
            relevance: Some(0.5),
            ..Scores::default()
        },
        source: Document {
            file_id: 1,
            filename: "policy.pdf".into(),
            page_start: Some(3),
            ..Document::default()
        },
        workspace: Some(Workspace {
            id: WorkspaceId(42),
            name: "w".into(),
        }),
        image: None,
        bboxes: None,
    }
}

fn select(found: Vec<Passage>, budget: u32) -> Selection {
    let mut selection = Selection::default();
    let bounds = Bounds {
        scope: &Scope::Every,
        min_relevance: 0.0,
        budget,
        style: Style::Plain,
    };
    selection.add(found, &bounds);
    selection
}

fn reasons(selection: &Selection) -> Vec<(&str, Reason)> {
    selection
        .dropped
        .iter()
        .map(|dropped| (dropped.chunk_id.as_str(), dropped.reason))
        .collect()
}

#[test]
fn the_context_is_written_as_in_the_guides() {
    let selection = select(
        vec![passage("a", "Five years."), passage("b", "Then deleted.")],
        1000,
    );
    assert_eq!(
        selection.context(Style::Plain),
        "[policy.pdf, p.3]\nFive years.\n\n[policy.pdf, p.3]\nThen deleted."
    );
    assert_eq!(
        selection.context(Style::Numbered),
        "[1] [policy.pdf, p.3]\nFive years.\n\n[2] [policy.pdf, p.3]\nThen deleted."
    );
}

#[test]
fn a_passage_without_a_page_has_only_its_name() {
    let mut unpaged = passage("a", "x");
    unpaged.source.page_start = None;
    assert_eq!(
        select(vec![unpaged], 100).context(Style::Plain),
        "[policy.pdf]\nx"
    );
}

#[test]
fn what_stands_in_another_passage_is_dropped_and_the_larger_takes_its_place() {
    let selection = select(
        vec![
            passage("small", "five years"),
            passage("other", "x"),
            passage("large", "kept for five years."),
            passage("twin", "x"),
        ],
        1000,
    );
    let ids: Vec<&str> = selection
        .sources
        .iter()
        .map(|source| source.passage.chunk_id.as_str())
        .collect();
    assert_eq!(ids, ["large", "other"]);
    assert_eq!(
        reasons(&selection),
        [("small", Reason::Duplicate), ("twin", Reason::Duplicate)]
    );
}

#[test]
fn what_has_no_room_is_dropped_but_one_passage_always_fits() {
    let long = "word ".repeat(200);
    let selection = select(vec![passage("a", &long), passage("b", "short")], 30);
    assert_eq!(reasons(&selection), [("b", Reason::Budget)]);
    let text = &selection.sources[0].prompt_text;
    assert!(text.ends_with("word") && text.len() < 200, "{text}");
    assert_eq!(
        selection.sources[0].passage.content, long,
        "the source keeps its text as found"
    );
}

#[test]
fn tokens_are_counted_where_the_budget_decides_and_about_right_elsewhere() {
    let prose = "Invoices of former customers are kept for ten years. ".repeat(20);
    let found = |count: usize| {
        let passage = |number| passage(&format!("{number}"), &format!("{number} {prose}"));
        (0..count).map(passage).collect::<Vec<_>>()
    };
    let exact = |selection: &Selection| -> u32 {
        let blocks = selection.sources.iter();
        blocks
            .map(|source| tokens::estimate(&source.block(Style::Plain)))
            .sum()
    };

    let roomy = select(found(5), 100_000);
    let error = f64::from(roomy.tokens) / f64::from(exact(&roomy)) - 1.0;
    assert!(error.abs() < 0.1, "{} is off by {error}", roomy.tokens);

    let tight = select(found(5), 1000);
    assert!(
        reasons(&tight)
            .iter()
            .all(|(_, reason)| *reason == Reason::Budget)
    );
    assert!(!tight.sources.is_empty() && tight.sources.len() < 5);
    assert_eq!(tight.tokens, exact(&tight));
}

proptest! {
    #[test]
    fn what_fits_is_what_an_exact_count_of_each_says(texts in prop::collection::vec("[a-zA-Z,. 0-9]{1,60}|[a-z]{1,9}|(?s).{1,30}", 1..9), budget in 5_u32..250) {
        let mut found: Vec<Passage> = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            found.push(passage(&format!("{number}"), &format!("<{number}>{text}")));
        }
        let selection = select(found.clone(), budget);
        let mut taken = 0;
        let mut kept = Vec::new();
        for passage in found {
            let block = select(vec![passage.clone()], u32::MAX).context(Style::Plain);
            let tokens = tokens::estimate(&block);
            if taken + tokens <= budget {
                taken += tokens;
                kept.push(passage.chunk_id);
            } else if kept.is_empty() {
                // Only a part of it: what that takes is not known here.
                return Ok(());
            }
        }
        let sources = selection.sources.iter().map(|source| source.passage.chunk_id.clone());
        prop_assert_eq!(sources.collect::<Vec<_>>(), kept);
    }
}

#[test]
fn what_is_outside_the_scope_empty_or_irrelevant_is_dropped() {
    let mut outside = passage("outside", "secret");
    outside.workspace = Some(Workspace {
        id: WorkspaceId(7),
        name: "x".into(),
    });
    let mut nowhere = passage("nowhere", "secret");
    nowhere.workspace = None;
    let mut weak = passage("weak", "x");
    weak.scores.relevance = Some(0.1);
    let mut unknown = passage("unknown", "y");
    unknown.scores.relevance = None;

    let scope = Scope::Only(BTreeSet::from([WorkspaceId(42)]));
    let mut selection = Selection::default();
    let bounds = Bounds {
        scope: &scope,
        min_relevance: 0.3,
        budget: 1000,
        style: Style::Plain,
    };
    selection.add(
        vec![outside, nowhere, weak, unknown, passage("empty", " \n")],
        &bounds,
    );

    assert_eq!(selection.sources.len(), 1);
    assert_eq!(
        reasons(&selection),
        [
            ("outside", Reason::Scope),
            ("nowhere", Reason::Scope),
            ("weak", Reason::Relevance),
            ("empty", Reason::Empty)
        ]
    );
}

#[test]
fn a_passage_keeps_its_number_when_it_is_found_again() {
    let mut selection = select(vec![passage("a", "one"), passage("b", "two")], 1000);
    let bounds = Bounds {
        scope: &Scope::Every,
        min_relevance: 0.0,
        budget: 1000,
        style: Style::Plain,
    };
    let brought = selection.add(vec![passage("c", "three"), passage("b", "two")], &bounds);
    assert_eq!(brought, [2, 3]);
    assert_eq!(selection.sources.len(), 3);
}
