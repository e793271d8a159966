//! Which of the found passages the model is given, and why the others are not.

mod overlap;
#[cfg(test)]
mod tests;

use serde::Serialize;

use self::overlap::holds;
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
    /// What it is called in the prompt, without its number: `[policy.pdf, p.3]`.
    name: String,
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
    /// An estimate of the tokens that the passages take: of a sample of them, until the budget has decided on one.
    pub tokens: u32,
    /// The passages that held something which had to be defused.
    pub suspicious: Vec<String>,
    /// How many of the sources, from the first on, are counted: the others fit whatever they take, since a token never covers less than a byte.
    known: usize,
    /// The tokens of those.
    counted: u32,
    /// The bytes of the others, heads included.
    uncounted: usize,
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
        self.estimate(bounds.style);
        brought
    }

    /// Goes on from sources of earlier turns, which keep their numbers.
    pub fn continued(sources: Vec<Source>) -> Self {
        let tokens = sources
            .iter()
            .map(|source| tokens::estimate(&source.prompt_text).saturating_add(10))
            .sum::<u32>();
        Self {
            known: sources.len(),
            counted: tokens,
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
        (self.known, self.counted) = (0, 0);
        self.count(style);
        self.tokens = self.counted;
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
            name: name(&passage),
            prompt_text: text.into_owned(),
            passage,
        };
        let bytes = source.length(bounds.style);
        let most = self.uncounted.saturating_add(bytes);
        let fits = u32::try_from(most)
            .is_ok_and(|most| self.counted.saturating_add(most) <= bounds.budget);
        if fits {
            self.uncounted = most;
        } else {
            // Only now does it matter what those before take.
            self.count(bounds.style);
            let left = bounds.budget.saturating_sub(self.counted);
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
            self.counted = self.counted.saturating_add(tokens);
            self.known += 1;
        }
        if suspicious {
            self.suspicious.push(source.passage.chunk_id.clone());
        }
        self.sources.push(source);
        Some(index)
    }

    /// Counts the sources that are not counted yet.
    fn count(&mut self, style: Style) {
        let blocks = self
            .sources
            .iter()
            .skip(self.known)
            .map(|source| source.block(style));
        let tokens = blocks.map(|block| tokens::estimate(&block));
        self.counted = tokens.fold(self.counted, u32::saturating_add);
        self.known = self.sources.len();
        self.uncounted = 0;
    }

    /// Notes what the sources take, as exactly as somebody has to know.
    fn estimate(&mut self, style: Style) {
        let is_decided = |dropped: &Dropped| dropped.reason == Reason::Budget;
        if self.dropped.iter().any(is_decided) {
            self.count(style);
        }
        let mut sample = tokens::Sample::of(self.uncounted);
        let mut head = String::with_capacity(HEAD);
        for source in self.sources.iter().skip(self.known) {
            head.clear();
            source.write_head(style, &mut head);
            sample.add(&head);
            sample.add(&source.prompt_text);
        }
        self.tokens = self.counted.saturating_add(sample.total());
    }
}

impl Source {
    /// Lets go of what it says: what is left is what a citation of it needs.
    pub(super) fn forget_content(&mut self) {
        self.prompt_text = String::new();
        self.passage.content = String::new();
        self.passage.image = None;
        self.passage.bboxes = None;
    }

    /// The passage as it stands in the prompt.
    pub fn block(&self, style: Style) -> String {
        let mut block = String::with_capacity(self.prompt_text.len() + HEAD);
        self.write_block(style, &mut block);
        block
    }

    fn write_block(&self, style: Style, out: &mut String) {
        self.write_head(style, out);
        out.push_str(&self.prompt_text);
    }

    /// Writes the line before the text.
    fn write_head(&self, style: Style, out: &mut String) {
        if style == Style::Numbered {
            out.push('[');
            out.push_str(itoa::Buffer::new().format(self.index));
            out.push_str("] ");
        }
        out.push_str(&self.name);
        out.push('\n');
    }

    /// How many bytes a block has.
    fn length(&self, style: Style) -> usize {
        let number = match style {
            Style::Plain => 0,
            Style::Numbered => 4 + self.index.checked_ilog10().unwrap_or(0) as usize,
        };
        number + self.name.len() + 1 + self.prompt_text.len()
    }

    /// `[policy.pdf, p.3]`, with the number before it where passages are numbered.
    pub fn head(&self, style: Style) -> String {
        match style {
            Style::Plain => self.name.clone(),
            Style::Numbered => format!("[{}] {}", self.index, self.name),
        }
    }

    /// `policy.pdf, p.3`: what a citation is called.
    pub fn title(&self) -> String {
        let source = &self.passage.source;
        match source.page_start {
            Some(page) => {
                let mut digits = itoa::Buffer::new();
                [&source.filename, ", p.", digits.format(page)].concat()
            }
            None => source.filename.clone(),
        }
    }
}

/// `[policy.pdf, p.3]`.
fn name(passage: &Passage) -> String {
    let name = defuse::file_name(&passage.source.filename);
    match passage.source.page_start {
        Some(page) => {
            let mut digits = itoa::Buffer::new();
            ["[", &name, ", p.", digits.format(page), "]"].concat()
        }
        None => format!("[{name}]"),
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
