//! Markers in an answer: where `[1]` stands, and which passage it means.
//!
//! A marker is `[n]` with one to three digits, also in runs (`[1][2]`) and lists (`[1, 2]`), anywhere but in code and Markdown links. What is code
//! and what is a link is decided by a CommonMark parser, not by us.

use std::{ops::Range, sync::LazyLock};

use memchr::memmem::Finder;
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde::Serialize;

use super::{links::Links, passages::Selection};
use crate::openai::{Json, Writer};

/// One marker: where it stands, in bytes, and the numbers it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The brackets and what is between them.
    pub range: Range<usize>,
    /// The numbers.
    pub numbers: Vec<usize>,
}

/// A citation in the only shape that OpenAI's schema has for chat messages, with our keys inside.
#[derive(Debug, Clone, Serialize)]
pub struct Annotation<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url_citation: Citation<'a>,
}

#[derive(Debug, Clone, Serialize)]
struct Citation<'a> {
    /// In Unicode scalar values of the content.
    start_index: usize,
    /// The same, exclusive.
    end_index: usize,
    title: String,
    url: String,
    file_id: String,
    filename: &'a str,
    page: Option<u32>,
    source: usize,
}

/// The markers of `content`, in order.
pub fn markers(content: &str) -> Vec<Marker> {
    let mut found = candidates(content);
    if !found.is_empty() && may_hide(content.as_bytes()) {
        let hidden = hidden_ranges(content);
        found.retain(|marker| {
            !hidden
                .iter()
                .any(|range| range.start < marker.range.end && marker.range.start < range.end)
        });
    }
    found
}

/// The annotations of `content`, and a line for each marker that names no source.
pub fn annotate<'a>(
    content: &str,
    selection: &'a Selection,
    links: &Links,
) -> (Vec<Annotation<'a>>, Vec<String>) {
    let mut annotations = Vec::new();
    // Where the first annotation of each source is: to sign a link is most of the work, and one source is cited many times.
    let mut firsts: Vec<(usize, usize)> = Vec::new();
    let mut unknown: Vec<usize> = Vec::new();
    let (mut bytes, mut characters) = (0, 0);
    for marker in markers(content) {
        characters += content
            .get(bytes..marker.range.start)
            .map_or(0, |text| text.chars().count());
        bytes = marker.range.start;
        // A marker is ASCII: as many characters as bytes.
        let end_index = characters + marker.range.len();
        for number in marker.numbers {
            let first = firsts.iter().find(|(source, _)| *source == number);
            if let Some(first) = first.and_then(|(_, at)| annotations.get(*at)) {
                let mut again = Annotation::clone(first);
                again.url_citation.start_index = characters;
                again.url_citation.end_index = end_index;
                annotations.push(again);
                continue;
            }
            let Some(source) = selection.source(number) else {
                if !unknown.contains(&number) {
                    unknown.push(number);
                }
                continue;
            };
            firsts.push((number, annotations.len()));
            let document = &source.passage.source;
            annotations.push(Annotation {
                kind: "url_citation",
                url_citation: Citation {
                    start_index: characters,
                    end_index,
                    title: source.title(),
                    url: links.to(document),
                    file_id: document.file_id.to_string(),
                    filename: &document.filename,
                    page: document.page_start,
                    source: number,
                },
            });
        }
    }
    let warnings = unknown
        .into_iter()
        .map(|number| format!("the answer cites [{number}], but there is no such source"))
        .collect();
    (annotations, warnings)
}

/// The list of what the upstream annotated itself and of `annotations`.
pub fn joined(upstreams: Option<&Json>, annotations: &[Annotation<'_>]) -> Json {
    let mut out = Writer::with_capacity(400 * annotations.len() + 2);
    out.open('[');
    for own in upstreams.and_then(Json::items).into_iter().flatten() {
        out.json(&own);
    }
    for annotation in annotations {
        out.value(annotation);
    }
    out.close(']');
    out.finish()
}

/// `content` without its markers and the spaces before them; `None` when it has none.
pub fn without_markers(content: &str) -> Option<String> {
    let markers = markers(content);
    if markers.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(content.len());
    let mut from = 0;
    for marker in markers {
        let before = content.get(from..marker.range.start).unwrap_or_default();
        out.push_str(before.trim_end_matches(' '));
        from = marker.range.end;
    }
    out.push_str(content.get(from..).unwrap_or_default());
    Some(out)
}

fn candidates(content: &str) -> Vec<Marker> {
    let bytes = content.as_bytes();
    memchr::memchr_iter(b'[', bytes)
        .filter_map(|start| candidate(bytes, start))
        .collect()
}

fn candidate(bytes: &[u8], start: usize) -> Option<Marker> {
    let mut numbers = Vec::new();
    let mut at = start + 1;
    loop {
        let digits = bytes
            .get(at..)?
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        let text = std::str::from_utf8(bytes.get(at..at + digits)?).ok()?;
        numbers.push(text.parse().ok()?);
        at += digits;
        match bytes.get(at)? {
            b']' => {
                return Some(Marker {
                    range: start..at + 1,
                    numbers,
                });
            }
            b',' => {
                at += 1;
                at += bytes
                    .get(at..)?
                    .iter()
                    .take_while(|byte| **byte == b' ')
                    .count();
            }
            _ => return None,
        }
    }
}

/// Whether a text can hold code or a link at all: most answers do not, and a parser takes longer than all the rest.
///
/// Code stands between backticks, behind a fence or behind a deep indent; a link has its address behind its text, between angle brackets or in
/// a definition.
fn may_hide(content: &[u8]) -> bool {
    static INDENT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("    "));
    let follows = |at: usize| matches!(content.get(at + 1), Some(b'(' | b':'));
    memchr::memchr3(b'`', b'~', b'<', content).is_some()
        || memchr::memchr(b'\t', content).is_some()
        || memchr::memchr_iter(b']', content).any(follows)
        || INDENT.find(content).is_some()
}

/// Where code and links are.
fn hidden_ranges(content: &str) -> Vec<Range<usize>> {
    let parser = Parser::new_ext(
        content,
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH,
    );
    let mut hidden: Vec<Range<usize>> = parser
        .reference_definitions()
        .iter()
        .map(|(_, definition)| definition.span.clone())
        .collect();
    for (event, range) in parser.into_offset_iter() {
        if matches!(
            event,
            Event::Code(_) | Event::Start(Tag::CodeBlock(_) | Tag::Link { .. } | Tag::Image { .. })
        ) {
            hidden.push(range);
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(content: &str) -> Vec<Vec<usize>> {
        markers(content)
            .into_iter()
            .map(|marker| marker.numbers)
            .collect()
    }

    #[test]
    fn markers_are_found_alone_in_runs_and_in_lists() {
        assert_eq!(
            numbers("Five years [1]. Then deleted [2][3]. Both [1, 2,10]."),
            [vec![1], vec![2], vec![3], vec![1, 2, 10]]
        );
    }

    #[test]
    fn what_only_looks_like_a_marker_is_none() {
        for text in [
            "[1234]", "[]", "[a]", "[1 2]", "[1", "1]", "[1,]", "[-1]", "[1-3]", "[ 1 ]",
        ] {
            assert_eq!(numbers(text), Vec::<Vec<usize>>::new(), "{text}");
        }
    }

    #[test]
    fn code_and_links_hold_no_markers() {
        let hidden = "`a[1]` and ``b[2]``\n\n```\nc[3]\n```\n\n    d[4]\n\n[5](https://x) [see [6] here](https://x) ![7](i.png)\n\n[8]\n\n[8]: https://x\n";
        assert_eq!(numbers(hidden), Vec::<Vec<usize>>::new());
        assert_eq!(
            numbers("an open ` backtick [1] and [2] (aside)"),
            [vec![1], vec![2]]
        );
        assert_eq!(
            numbers("- item [1]\n  1. nested [2]\n\n| a [3] |\n|---|\n| b [4] |"),
            [vec![1], vec![2], vec![3], vec![4]]
        );
    }

    #[test]
    fn markers_go_with_the_space_before_them() {
        assert_eq!(
            without_markers("Five years [1]. `a[2]` stays [3, 4]").as_deref(),
            Some("Five years. `a[2]` stays")
        );
        assert_eq!(without_markers("none"), None);
    }

    proptest! {
        #[test]
        fn what_is_not_parsed_hides_nothing(content in r"([\[\]()<>`~:#*|!0-9a-c\n\t-]|https://|    |\n  |> |- |1\. | ){0,40}") {
            prop_assert!(may_hide(content.as_bytes()) || hidden_ranges(&content).is_empty());
        }

        #[test]
        fn every_marker_is_where_it_says(content in r"[\[\]0-9, `a-cé\n()]{0,60}") {
            for marker in markers(&content) {
                let text = &content[marker.range.clone()];
                prop_assert!(text.starts_with('[') && text.ends_with(']') && !marker.numbers.is_empty());
            }
        }
    }
}
