//! Documents cut into passages: a paragraph each, with its headings and its pages.
//!
//! Paragraphs are Markdown blocks (a paragraph, a whole list, a table, a code block). Tiny ones join their neighbours of the same section,
//! giant ones are split at sentences, and a heading goes with what follows it. No text stands in two passages.

mod blocks;
mod split;
#[cfg(test)]
mod tests;

use std::mem;

use pulldown_cmark::HeadingLevel;

use self::{
    blocks::{Kind, blocks},
    split::{GIANT_BYTES, PIECE_BYTES, split},
};
use super::Page;

/// Shorter paragraphs say too little alone and join a neighbour, in bytes.
const TINY_BYTES: usize = 100;

/// A piece of a document, as it is shown and searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its text, headings directly above it included.
    pub(super) content: String,
    /// The headings it stands under, outermost first, one a line.
    pub(super) headings: String,
    /// Its first page, where pages are known.
    pub(super) page_start: Option<u32>,
    /// Its last page, where pages are known.
    pub(super) page_end: Option<u32>,
}

/// Cuts `pages` into passages. A top heading that repeats `title` is left out: every passage carries the title anyway.
pub(super) fn cut(pages: &[Page], title: &str) -> Vec<Piece> {
    let mut cutter = Cutter {
        title: title.trim(),
        pieces: Vec::new(),
        path: Vec::new(),
        lead: String::new(),
        open: None,
    };
    for page in pages {
        for (kind, range) in blocks(&page.text) {
            let text = page.text.get(range).unwrap_or_default();
            match kind {
                Kind::Heading(level, heading) => cutter.heading(level, &heading, text, page.number),
                Kind::Body => cutter.body(text, page.number),
            }
        }
    }
    cutter.finish()
}

/// Gathers blocks into pieces.
struct Cutter<'a> {
    title: &'a str,
    pieces: Vec<Piece>,
    /// The headings in force, outermost first.
    path: Vec<(HeadingLevel, String)>,
    /// Heading lines that wait for their text.
    lead: String,
    /// The piece that may still grow.
    open: Option<Open>,
}

struct Open {
    piece: Piece,
    /// How much of it is text rather than headings, in bytes.
    body_bytes: usize,
}

impl Cutter<'_> {
    fn heading(&mut self, level: HeadingLevel, heading: &str, text: &str, page: Option<u32>) {
        self.close();
        // A heading above a deeper one leads it; above one of its own rank it had no text, and stands alone.
        if !self.lead.is_empty() && self.path.last().is_some_and(|(above, _)| *above >= level) {
            self.flush_lead(page);
        }
        while self.path.last().is_some_and(|(above, _)| *above >= level) {
            self.path.pop();
        }
        self.path.push((level, heading.to_owned()));
        if level == HeadingLevel::H1 && heading == self.title {
            return;
        }
        if !self.lead.is_empty() {
            self.lead.push_str("\n\n");
        }
        self.lead.push_str(text.trim());
    }

    fn body(&mut self, text: &str, page: Option<u32>) {
        let text = text.trim_matches(['\n', '\r']).trim_end();
        if text.trim().is_empty() {
            return;
        }
        let Some(open) = &mut self.open else {
            self.open_with(text, page);
            return;
        };
        let fits = open.piece.content.len() + text.len() <= GIANT_BYTES;
        if fits && open.piece.page_end != page && runs_on(&open.piece.content, text) {
            open.grow(" ", text, page);
        } else if fits
            && (open.body_bytes < TINY_BYTES
                || text.len() < TINY_BYTES
                || announces(&open.piece.content))
            && open.is_paragraph_sized()
        {
            open.grow("\n\n", text, page);
        } else {
            self.close();
            self.open_with(text, page);
        }
    }

    fn open_with(&mut self, text: &str, page: Option<u32>) {
        let mut content = mem::take(&mut self.lead);
        if !content.is_empty() {
            content.push_str("\n\n");
        }
        content.push_str(text);
        let headings = self.headings();
        let piece = Piece {
            content,
            headings,
            page_start: page,
            page_end: page,
        };
        self.open = Some(Open {
            piece,
            body_bytes: text.len(),
        });
    }

    fn close(&mut self) {
        let Some(Open { piece, .. }) = self.open.take() else {
            return;
        };
        if piece.content.len() <= GIANT_BYTES {
            self.pieces.push(piece);
            return;
        }
        let parts = split(&piece.content);
        self.pieces.extend(parts.into_iter().map(|part| Piece {
            content: part.to_owned(),
            ..piece.clone()
        }));
    }

    fn flush_lead(&mut self, page: Option<u32>) {
        let content = mem::take(&mut self.lead);
        let headings = self.headings();
        self.pieces.push(Piece {
            content,
            headings,
            page_start: page,
            page_end: page,
        });
    }

    fn headings(&self) -> String {
        let said: Vec<&str> = self
            .path
            .iter()
            .map(|(_, heading)| heading.as_str())
            .filter(|heading| *heading != self.title)
            .collect();
        said.join("\n")
    }

    fn finish(mut self) -> Vec<Piece> {
        self.close();
        if !self.lead.is_empty() {
            let page = self.pieces.last().and_then(|piece| piece.page_end);
            self.flush_lead(page);
        }
        // A document of nothing but its title is still found by it.
        if self.pieces.is_empty() && !self.path.is_empty() {
            let content = self.title.to_owned();
            self.pieces.push(Piece {
                content,
                headings: String::new(),
                page_start: None,
                page_end: None,
            });
        }
        self.pieces
    }
}

impl Open {
    fn grow(&mut self, between: &str, text: &str, page: Option<u32>) {
        self.piece.content.push_str(between);
        self.piece.content.push_str(text);
        self.piece.page_end = page.or(self.piece.page_end);
        self.body_bytes += text.len();
    }

    /// Whether the piece is small enough that one more block leaves it a passage of a paragraph.
    fn is_paragraph_sized(&self) -> bool {
        self.body_bytes < PIECE_BYTES
    }
}

/// Whether a paragraph that ends one page goes on at the head of the next.
fn runs_on(before: &str, after: &str) -> bool {
    let unfinished = before
        .trim_end()
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, ',' | ';' | '-' | '–'));
    unfinished
        && after
            .trim_start()
            .chars()
            .next()
            .is_some_and(char::is_lowercase)
}

/// Whether a paragraph introduces what follows it, as "The rules are:" does.
fn announces(text: &str) -> bool {
    text.trim_end().ends_with(':')
}
