//! Which of the found passages the model is given, and why the others are not.

use serde::Serialize;

use super::{defuse, tokens};
use crate::{access::Scope, retrieval::Passage};

/// The room that is made for the head of a passage, in bytes.
const HEAD: usize = 64;

/// A passage that the model is given, with its number.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its number in the prompt and in citations, from 1.
    pub index: usize,
    /// What was found.
    pub passage: Passage,
    /// Its text as it stands in the prompt: defused, and cut where it alone was too long.
    prompt_text: String,
}

/// A passage that was found and left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Which.
    pub chunk_id: String,
    /// Why.
    pub reason: Reason,
}

/// Why a passage was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its relevance is known and too low.
    Relevance,
    /// It stands in another passage.
    Duplicate,
    /// No room was left.
    Budget,
    /// It is from outside the caller's scope.
    Scope,
    /// It has no text.
    Empty,
}

/// The passages of one request, numbered once and never again.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// What the model is given, in that order.
    pub sources: Vec<Source>,
    /// What it is not.
    pub dropped: Vec<Dropped>,
    /// An estimate of the tokens that the passages take.
    pub tokens: u32,
    /// The passages that held something which had to be defused.
    pub suspicious: Vec<String>,
}

/// What decides on a passage.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// The workspaces that the caller may see.
    pub scope: &'a Scope,
    /// Passages whose relevance is known and lower are dropped.
    pub min_relevance: f64,
    /// The tokens that all passages of the request may take.
    pub budget: u32,
    /// How each passage is written.
    pub style: Style,
}

/// How passages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `[filename, p.N]`, as the guides do.
    Plain,
    /// The number goes before: `[1] [filename, p.N]`.
    Numbered,
}

impl Selection {
    /// Adds what a search brought, best first; returns the numbers of the passages that it brought, earlier ones included.
    pub fn add(&mut self, found: Vec<Passage>, bounds: &Bounds<'_>) -> Vec<usize> {
        let mut brought = Vec::new();
        let mut candidates: Vec<Passage> = Vec::with_capacity(found.len());
        for passage in found {
            if let Some(reason) = refuse(&passage, bounds) {
                self.drop(&passage, reason);
            } else if let Some(known) = self
                .sources
                .iter()
                .find(|source| source.passage.chunk_id == passage.chunk_id)
            {
                brought.push(known.index);
            } else {
                candidates.push(passage);
            }
        }
        let candidates = self.without_contained(candidates, &mut brought);
        for passage in candidates {
            if let Some(index) = self.pack(passage, bounds) {
                brought.push(index);
            }
        }
        brought
    }

    /// Goes on from sources of earlier turns, which keep their numbers.
    pub fn continued(sources: Vec<Source>) -> Self {
        let tokens = sources
            .iter()
            .map(|source| tokens::estimate(&source.prompt_text).saturating_add(10))
            .sum();
        Self {
            sources,
            tokens,
            ..Self::default()
        }
    }

    /// The numbered source.
    pub fn source(&self, index: usize) -> Option<&Source> {
        self.sources.iter().find(|source| source.index == index)
    }

    /// Leaves out the weaker half, or of a lone passage its second half; false when nothing can be left out.
    pub fn halve(&mut self, style: Style) -> bool {
        let kept = self.sources.len().div_ceil(2);
        match self.sources.as_mut_slice() {
            [] => return false,
            [lone] => {
                let half = tokens::estimate(&lone.prompt_text) / 2;
                lone.prompt_text = cut(&lone.prompt_text, half);
            }
            _ => {
                for source in self.sources.split_off(kept) {
                    self.drop(&source.passage, Reason::Budget);
                }
            }
        }
        let blocks = self.sources.iter().map(|source| source.block(style));
        self.tokens = blocks.map(|block| tokens::estimate(&block)).sum();
        true
    }

    /// Whether hardly a passage more would fit.
    pub fn is_full(&self, bounds: &Bounds<'_>) -> bool {
        self.dropped
            .iter()
            .any(|dropped| dropped.reason == Reason::Budget)
            && self.tokens.saturating_mul(2) > bounds.budget
    }

    /// The passages as they stand in the prompt, a blank line between.
    pub fn context(&self, style: Style) -> String {
        let mut context = String::new();
        self.write_context(style, &mut context);
        context
    }

    /// Writes the same behind `out`.
    pub fn write_context(&self, style: Style, out: &mut String) {
        let texts = self.sources.iter().map(|source| &source.prompt_text);
        out.reserve(texts.map(|text| text.len() + HEAD).sum());
        for (index, source) in self.sources.iter().enumerate() {
            if index > 0 {
                out.push_str("\n\n");
            }
            source.write_block(style, out);
        }
    }

    fn drop(&mut self, passage: &Passage, reason: Reason) {
        self.dropped.push(Dropped {
            chunk_id: passage.chunk_id.clone(),
            reason,
        });
    }

    /// Leaves out what stands in another passage; the passage that holds it takes its place, since it holds the better text.
    fn without_contained(
        &mut self,
        candidates: Vec<Passage>,
        brought: &mut Vec<usize>,
    ) -> Vec<Passage> {
        let mut kept: Vec<Passage> = Vec::with_capacity(candidates.len());
        for passage in candidates {
            if let Some(known) = self
                .sources
                .iter()
                .find(|source| holds(&source.passage, &passage))
            {
                brought.push(known.index);
                self.drop(&passage, Reason::Duplicate);
            } else if kept.iter().any(|other| holds(other, &passage)) {
                self.drop(&passage, Reason::Duplicate);
            } else if let Some(place) = kept.iter().position(|other| holds(&passage, other)) {
                let mut rest = Vec::new();
                for (index, other) in std::mem::take(&mut kept).into_iter().enumerate() {
                    if holds(&passage, &other) {
                        self.drop(&other, Reason::Duplicate);
                        if index == place {
                            rest.push(passage.clone());
                        }
                    } else {
                        rest.push(other);
                    }
                }
                kept = rest;
            } else {
                kept.push(passage);
            }
        }
        kept
    }

    fn pack(&mut self, passage: Passage, bounds: &Bounds<'_>) -> Option<usize> {
        let index = self.sources.last().map_or(0, |source| source.index) + 1;
        // To the last blank: what stands there may be code, whose first line is indented too.
        let (text, suspicious) = defuse::defuse(&passage.content);
        let mut source = Source {
            index,
            prompt_text: text.into_owned(),
            passage,
        };
        let left = bounds.budget.saturating_sub(self.tokens);
        let tokens = match tokens::within(&source.block(bounds.style), left) {
            Some(tokens) => tokens,
            // One passage always fits, if need be its beginning.
            None if self.sources.is_empty() => {
                source.prompt_text = cut(source.prompt_text.trim_start(), left);
                tokens::estimate(&source.block(bounds.style))
            }
            None => {
                self.drop(&source.passage, Reason::Budget);
                return None;
            }
        };
        if suspicious {
            self.suspicious.push(source.passage.chunk_id.clone());
        }
        self.tokens = self.tokens.saturating_add(tokens);
        self.sources.push(source);
        Some(index)
    }
}

impl Source {
    /// The passage as it stands in the prompt.
    pub fn block(&self, style: Style) -> String {
        let mut block = String::with_capacity(self.prompt_text.len() + HEAD);
        self.write_block(style, &mut block);
        block
    }

    fn write_block(&self, style: Style, out: &mut String) {
        out.push_str(&self.head(style));
        out.push('\n');
        out.push_str(&self.prompt_text);
    }

    /// `[policy.pdf, p.3]`, with the number before it where passages are numbered.
    pub fn head(&self, style: Style) -> String {
        let name = defuse::file_name(&self.passage.source.filename);
        let head = match self.passage.source.page_start {
            Some(page) => format!("[{name}, p.{page}]"),
            None => format!("[{name}]"),
        };
        match style {
            Style::Plain => head,
            Style::Numbered => format!("[{}] {head}", self.index),
        }
    }

    /// `policy.pdf, p.3`: what a citation is called.
    pub fn title(&self) -> String {
        let source = &self.passage.source;
        match source.page_start {
            Some(page) => format!("{}, p.{page}", source.filename),
            None => source.filename.clone(),
        }
    }
}

fn refuse(passage: &Passage, bounds: &Bounds<'_>) -> Option<Reason> {
    // The scope comes first: of a passage outside it not even its faults are this caller's business, but its id is listed so that an operator
    // can see that search returned too much.
    if !bounds
        .scope
        .holds(passage.workspace.as_ref().map(|workspace| workspace.id))
    {
        return Some(Reason::Scope);
    }
    if passage.content.trim().is_empty() {
        return Some(Reason::Empty);
    }
    let relevance = passage.scores.relevance;
    relevance
        .is_some_and(|relevance| relevance < bounds.min_relevance)
        .then_some(Reason::Relevance)
}

fn holds(larger: &Passage, smaller: &Passage) -> bool {
    let (larger, smaller) = (larger.content.trim(), smaller.content.trim());
    contains(larger.as_bytes(), smaller.as_bytes())
}

/// Whether `part` stands in `text`.
///
/// Every passage is compared with every other, and a search for a whole one costs far more to begin than the search for its first bytes, which
/// stand in few others.
fn contains(text: &[u8], part: &[u8]) -> bool {
    /// A text that repeats itself may hold those bytes everywhere; then the search for the whole is the faster one.
    const TRIES: usize = 8;
    if text.len() <= part.len() {
        return text == part;
    }
    let beginning = part.get(..BEGINNING).unwrap_or(part);
    let mut found = memchr::memmem::find_iter(text, beginning);
    let mut places = found.by_ref().take(TRIES);
    if places.any(|at| text.get(at..).is_some_and(|rest| rest.starts_with(part))) {
        return true;
    }
    found.next().is_some() && memchr::memmem::find(text, part).is_some()
}

/// How many bytes of a passage are looked for at first.
const BEGINNING: usize = 32;

/// The longest beginning of `text` that is estimated at `budget` tokens, never cut inside a word.
fn cut(text: &str, budget: u32) -> String {
    let budget = budget.saturating_sub(1);
    let mut kept = 0;
    let mut counter = tokens::Counter::default();
    for (at, word) in words(text) {
        counter.add(word);
        if kept > 0 && counter.total() > budget {
            break;
        }
        kept = at + word.len();
    }
    text.get(..kept).unwrap_or_default().trim_end().to_owned()
}

/// The words of a text with where they begin; text without spaces is one word a character.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive(|character: char| {
        character.is_whitespace()
            || (!character.is_ascii() && !character.is_alphabetic())
            || is_ideograph(character)
    })
    .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}')
}

#[cfg(test)]
mod tests {
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

    proptest! {
        #[test]
        fn what_is_contained_is_found_wherever_it_stands(before in "[ab]{0,60}", part in "[ab]{0,4}|a{30,60}|[ab]{30,60}", after in "[ab]{0,60}", other in "[ab]{0,40}|a{20,80}") {
            let text = [before, part.clone(), after].concat();
            prop_assert!(contains(text.as_bytes(), part.as_bytes()));
            prop_assert_eq!(contains(text.as_bytes(), other.as_bytes()), text.contains(&other));
        }
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
}
