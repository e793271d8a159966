//! Documents cut into passages: a paragraph each, with its headings and its pages.
//!
//! Paragraphs are Markdown blocks (a paragraph, a whole list, a table, a code block). Tiny ones join their neighbours of the same section,
//! giant ones are split at sentences, and a heading goes with what follows it. No text stands in two passages.

use std::{mem, ops::Range};

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Page;

/// Shorter paragraphs say too little alone and join a neighbour, in bytes.
const TINY_BYTES: usize = 100;

/// Longer paragraphs are split, in bytes: five of them have to fit into the default prompt budget.
const GIANT_BYTES: usize = 3000;

/// What the pieces of a giant paragraph aim at, in bytes.
const PIECE_BYTES: usize = 1500;

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

/// What a block of Markdown is.
enum Kind {
    Heading(HeadingLevel, String),
    Body,
}

/// The blocks of a Markdown text with where they stand. They do not overlap, and no text is between them.
fn blocks(text: &str) -> Vec<(Kind, Range<usize>)> {
    let mut blocks = Vec::new();
    let mut depth = 0_usize;
    let mut heading: Option<String> = None;
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(tag) => {
                if depth == 0 {
                    match tag {
                        Tag::Heading { level, .. } => {
                            heading = Some(String::new());
                            blocks.push((Kind::Heading(level, String::new()), range));
                        }
                        Tag::HtmlBlock
                            if is_comment(text.get(range.clone()).unwrap_or_default()) => {}
                        _ => blocks.push((Kind::Body, range)),
                    }
                }
                depth += 1;
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                if let (TagEnd::Heading(_), 0) = (tag, depth)
                    && let (Some(said), Some((Kind::Heading(_, text), _))) =
                        (heading.take(), blocks.last_mut())
                {
                    *text = said.trim().to_owned();
                }
            }
            Event::Text(said) | Event::Code(said) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&said);
                }
            }
            _ => {}
        }
    }
    with_gaps(text, blocks)
}

/// Puts in what Markdown does not show but a document may mean, as a line "[Note]: see below" in plain text, which is a link's address there.
fn with_gaps(text: &str, blocks: Vec<(Kind, Range<usize>)>) -> Vec<(Kind, Range<usize>)> {
    let mut whole = Vec::with_capacity(blocks.len());
    let mut end = 0;
    for (kind, range) in blocks
        .into_iter()
        .map(Some)
        .chain([None])
        .map(|block| block.unwrap_or((Kind::Body, text.len()..text.len())))
    {
        let gap = text.get(end..range.start).unwrap_or_default();
        if !gap.trim().is_empty() && !is_comment(gap) {
            whole.push((Kind::Body, end..range.start));
        }
        end = range.end.max(end);
        whole.push((kind, range));
    }
    whole
}

fn is_comment(html: &str) -> bool {
    let html = html.trim();
    html.starts_with("<!--") && html.ends_with("-->") && html.matches("<!--").count() == 1
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

/// Splits a giant text into pieces near [`PIECE_BYTES`]: at line ends, else after sentences, else between words.
fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > GIANT_BYTES {
        let at = cut_at(rest);
        let (piece, after) = rest.split_at(at);
        pieces.push(piece.trim());
        rest = after;
    }
    pieces.push(rest.trim());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Where the first piece of `text` ends: the last good place before twice [`PIECE_BYTES`] that is not far from it.
fn cut_at(text: &str) -> usize {
    let end = floor(text, PIECE_BYTES + PIECE_BYTES / 3);
    let start = floor(text, PIECE_BYTES / 2);
    let (head, window) = (start, text.get(start..end).unwrap_or_default());
    let line = window.rfind('\n').map(|at| head + at + 1);
    let place = line
        .or_else(|| last_sentence_end(window).map(|at| head + at))
        .or_else(|| window.rfind(char::is_whitespace).map(|at| head + at));
    place
        .filter(|&at| at > 0 && text.is_char_boundary(at))
        .unwrap_or(end)
}

/// The end of the last whole sentence in `text`: a full stop, a space, and what looks like a beginning.
fn last_sentence_end(text: &str) -> Option<usize> {
    let mut last = None;
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let begins = chars
            .peek()
            .is_some_and(|&(_, next)| !next.is_lowercase() && !next.is_whitespace());
        if c.is_whitespace()
            && matches!(before, '.' | '!' | '?' | '…' | '。' | '"' | '”' | '»')
            && begins
        {
            last = Some(at);
        } else if matches!(c, '。' | '！' | '？') {
            last = Some(at + c.len_utf8());
        }
        before = c;
    }
    last
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(number: Option<u32>, text: &str) -> Page {
        Page {
            number,
            text: text.to_owned(),
        }
    }

    fn contents(text: &str) -> Vec<String> {
        cut(&[page(None, text)], "Title")
            .into_iter()
            .map(|piece| piece.content)
            .collect()
    }

    fn sentence(word: &str) -> String {
        format!(
            "This is a paragraph about {word}, which is long enough to stand alone, since it says more than a line can hold."
        )
    }

    #[test]
    fn each_paragraph_is_a_passage_and_the_title_is_none() {
        let (one, two) = (sentence("one"), sentence("two"));

        assert_eq!(
            contents(&format!("# Title\n\n{one}\n\n{two}\n")),
            [one, two]
        );
    }

    #[test]
    fn headings_go_with_what_follows_and_name_what_stands_under_them() {
        let (one, two) = (sentence("one"), sentence("two"));
        let text =
            format!("# Title\n\n## Travel\n\n### By train\n\n{one}\n\n{two}\n\n## Food\n\nNone.");

        let pieces = cut(&[page(None, &text)], "Title");

        let seen: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.content.clone(), piece.headings.as_str()))
            .collect();
        let first = format!("## Travel\n\n### By train\n\n{one}");
        assert_eq!(
            seen,
            [
                (first, "Travel\nBy train"),
                (two, "Travel\nBy train"),
                ("## Food\n\nNone.".to_owned(), "Food")
            ]
        );
    }

    #[test]
    fn tiny_paragraphs_join_their_neighbours_of_the_same_section() {
        let one = sentence("one");
        let text =
            format!("Note.\n\n{one}\n\nThe rules are:\n\n- first\n- second\n\n## Next\n\nTiny.");

        assert_eq!(
            contents(&text),
            [
                format!("Note.\n\n{one}\n\nThe rules are:\n\n- first\n- second"),
                "## Next\n\nTiny.".to_owned()
            ]
        );
    }

    #[test]
    fn a_giant_paragraph_is_split_between_sentences() {
        let text = sentence("one").repeat(2).replace(".This", ". This") + " ";
        let giant = text.repeat(20);

        let pieces = contents(&giant);

        assert!(pieces.len() > 1);
        for piece in &pieces {
            assert!(
                piece.len() <= GIANT_BYTES
                    && piece.starts_with("This is")
                    && piece.ends_with("hold."),
                "{piece}"
            );
        }
        assert_eq!(pieces.join(" "), giant.trim());
    }

    #[test]
    fn pages_are_told_and_a_paragraph_may_run_over_one() {
        let (one, two) = (
            sentence("one").replace('.', ", ").repeat(2),
            sentence("two"),
        );
        let cut_in_two = one.split_at(110);
        let pages = [
            page(Some(3), &format!("{two}\n\n{}", cut_in_two.0)),
            page(Some(4), &format!("{}\n\n{two}", cut_in_two.1)),
        ];

        let pieces = cut(&pages, "Title");

        let seen: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.page_start, piece.page_end))
            .collect();
        assert_eq!(
            seen,
            [(Some(3), Some(3)), (Some(3), Some(4)), (Some(4), Some(4))]
        );
        assert_eq!(collapsed(&pieces[1].content), collapsed(&one));
    }

    #[test]
    fn lines_that_markdown_takes_for_addresses_of_links_are_kept() {
        let one = sentence("one");

        assert_eq!(
            contents(&format!("{one}\n\n[Note]: see\n")),
            [format!("{one}\n\n[Note]: see")]
        );
    }

    #[test]
    fn a_document_of_its_title_alone_is_a_passage() {
        assert_eq!(contents("# Title"), ["Title"]);
        assert_eq!(
            contents("## Part one\n\n## Part two"),
            ["## Part one", "## Part two"]
        );
        assert!(contents(" \n\n <!-- nothing --> ").is_empty());
    }

    fn collapsed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    proptest! {
        #[test]
        fn no_word_is_lost_or_doubled(text in "([a-z]{1,9}[ .\n#|*-]{1,3}|é{1,40}。|<!-- |```|\n\n## ){0,300}", repeated in 1_usize..12) {
            // A heading that repeats the title and comments are left out on purpose.
            let text = text.replace("<!--", "").repeat(repeated);
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();

            let pieces = cut(&[page(None, &text)], "");

            let kept: String = pieces.iter().map(|piece| letters(&piece.content)).collect();
            prop_assert_eq!(kept, letters(&text));
            prop_assert!(pieces.iter().all(|piece| piece.content.len() <= GIANT_BYTES));
        }
    }
}
