//! The blocks of a Markdown text: headings, and everything between them.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What a block of Markdown is.
pub(super) enum Kind {
    /// A heading, with its rank and its bare text.
    Heading(HeadingLevel, String),
    /// Anything else.
    Body,
}

/// The blocks of a Markdown text with where they stand. They do not overlap, and no text is between them.
pub(super) fn blocks(text: &str) -> Vec<(Kind, Range<usize>)> {
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

/// Puts in what Markdown does not show but a document may mean, as a line `[Note]: see below` in plain text, which is a link's address there.
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
