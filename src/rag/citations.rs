//! Markers in an answer: where `[1]` stands, and which passage it means.
//!
//! A marker is `[n]` with one to three digits, also in runs (`[1][2]`) and lists (`[1, 2]`), anywhere but in code and Markdown links. What is code
//! and what is a link is decided by a CommonMark parser, not by us.

use std::{ops::Range, rc::Rc, sync::LazyLock};

use memchr::memmem::Finder;
use pulldown_cmark::{Event, Options, Parser, Tag};

use super::{
    links::Links,
    passages::{Selection, Source},
};
use crate::openai::{Json, Writer};

/// A citation in the only shape that OpenAI's schema has for chat messages, with our keys inside.
#[derive(Debug)]
pub struct Annotation<'a> {
    /// In Unicode scalar values of the content.
    start_index: usize,
    /// The same, exclusive.
    end_index: usize,
    cited: Rc<Cited<'a>>,
}

/// What all citations of one source say: to sign its link is most of the work.
#[derive(Debug)]
struct Cited<'a> {
    title: String,
    url: String,
    file_id: i64,
    filename: &'a str,
    page: Option<u32>,
    source: usize,
}

/// The markers of `content`, in order: where each stands, in bytes and with its brackets.
pub fn markers(content: &str) -> Vec<Range<usize>> {
    let mut found = candidates(content.as_bytes());
    if !found.is_empty() && may_hide(content.as_bytes()) {
        let hidden = hidden_ranges(content);
        found.retain(|marker| {
            !hidden
                .iter()
                .any(|range| range.start < marker.end && marker.start < range.end)
        });
    }
    found
}

/// The numbers that a marker names.
fn numbers(marker: &str) -> impl Iterator<Item = usize> {
    let inside = marker.trim_start_matches('[').trim_end_matches(']');
    let numbers = inside.split(',');
    numbers.filter_map(|number| number.trim_start_matches(' ').parse().ok())
}

/// The annotations of `content`, and a line for each marker that names no source.
pub fn annotate<'a>(
    content: &str,
    selection: &'a Selection,
    links: &Links,
) -> (Vec<Annotation<'a>>, Vec<String>) {
    let mut annotations = Vec::new();
    let mut known: Vec<Rc<Cited<'a>>> = Vec::new();
    let mut unknown: Vec<usize> = Vec::new();
    let (mut bytes, mut characters) = (0, 0);
    for marker in markers(content) {
        let before = content.get(bytes..marker.start).unwrap_or_default();
        characters += before.chars().count();
        bytes = marker.start;
        // A marker is ASCII: as many characters as bytes.
        let end_index = characters + marker.len();
        for number in numbers(content.get(marker).unwrap_or_default()) {
            let cited = match known.iter().find(|cited| cited.source == number) {
                Some(cited) => Rc::clone(cited),
                None => {
                    let Some(source) = selection.source(number) else {
                        if !unknown.contains(&number) {
                            unknown.push(number);
                        }
                        continue;
                    };
                    let cited = Rc::new(Cited::new(source, links));
                    known.push(Rc::clone(&cited));
                    cited
                }
            };
            annotations.push(Annotation {
                start_index: characters,
                end_index,
                cited,
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
        annotation.write(&mut out);
    }
    out.close(']');
    out.finish()
}

impl Annotation<'_> {
    fn write(&self, out: &mut Writer) {
        let cited = &self.cited;
        out.open('{');
        out.key("type");
        out.string("url_citation");
        out.key("url_citation");
        out.open('{');
        out.key("start_index");
        out.number(self.start_index);
        out.key("end_index");
        out.number(self.end_index);
        out.key("title");
        out.string(&cited.title);
        out.key("url");
        out.string(&cited.url);
        out.key("file_id");
        out.string(itoa::Buffer::new().format(cited.file_id));
        out.key("filename");
        out.string(cited.filename);
        out.key("page");
        out.value(&cited.page);
        out.key("source");
        out.number(cited.source);
        out.close('}');
        out.close('}');
    }
}

impl<'a> Cited<'a> {
    fn new(source: &'a Source, links: &Links) -> Self {
        let document = &source.passage.source;
        Self {
            title: source.title(),
            url: links.to(document),
            file_id: document.file_id,
            filename: &document.filename,
            page: document.page_start,
            source: source.index,
        }
    }
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
        let before = content.get(from..marker.start).unwrap_or_default();
        out.push_str(before.trim_end_matches(' '));
        from = marker.end;
    }
    out.push_str(content.get(from..).unwrap_or_default());
    Some(out)
}

fn candidates(content: &[u8]) -> Vec<Range<usize>> {
    let ends = |start: usize| Some(start..start + marker_length(content.get(start..)?)?);
    memchr::memchr_iter(b'[', content)
        .filter_map(ends)
        .collect()
}

/// How long the marker is that `text` begins with.
fn marker_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        at += digits + 1;
        match rest.get(digits)? {
            b']' => return Some(at),
            b',' => {
                at += text
                    .get(at..)?
                    .iter()
                    .take_while(|byte| **byte == b' ')
                    .count()
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
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        access::Scope,
        config,
        rag::{
            links::Signer,
            passages::{Bounds, Style},
        },
        retrieval::{Passage, Scores, Source as Document},
    };

    fn numbers(content: &str) -> Vec<Vec<usize>> {
        let markers = markers(content).into_iter();
        markers
            .map(|marker| super::numbers(&content[marker]).collect())
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

    #[test]
    fn each_number_of_a_marker_is_an_annotation_of_its_own() {
        let found = |number: i64| Passage {
            chunk_id: number.to_string(),
            content: format!("text {number}"),
            score: 1.0,
            scores: Scores::default(),
            source: Document {
                file_id: 510 + number,
                filename: format!("\"{number}\".pdf"),
                page_start: (number == 1).then_some(3),
                external_metadata: Some(
                    json!({"external_url": format!("https://d.example/{number}")}),
                ),
                ..Document::default()
            },
            workspace: None,
            image: None,
            bboxes: None,
        };
        let mut selection = Selection::default();
        let bounds = Bounds {
            scope: &Scope::Every,
            min_relevance: 0.0,
            budget: 100,
            style: Style::Numbered,
        };
        selection.add(vec![found(2), found(1)], &bounds);
        let settings = config::Links {
            secret: None,
            ttl: Duration::from_secs(60),
        };
        let links = Signer::new(&settings).unwrap().links("http://gateway");

        let (annotations, warnings) = annotate("é [1, 2] [7][1]", &selection, &links);
        let upstreams = Json::parse("[{\"own\": 1.0}]".into()).unwrap();
        let joined = joined(Some(&upstreams), &annotations);

        assert_eq!(
            warnings,
            ["the answer cites [7], but there is no such source"]
        );
        let first = r#""title":"\"2\".pdf","url":"https://d.example/2","file_id":"512","filename":"\"2\".pdf","page":null,"source":1"#;
        let second = r#""title":"\"1\".pdf, p.3","url":"https://d.example/1","file_id":"511","filename":"\"1\".pdf","page":3,"source":2"#;
        let expected = [(2, 8, first), (2, 8, second), (12, 15, first)].map(|(start, end, source)| {
            format!(
                r#"{{"type":"url_citation","url_citation":{{"start_index":{start},"end_index":{end},{source}}}}}"#
            )
        });
        let expected = format!("[{{\"own\": 1.0}},{}]", expected.join(","));
        assert_eq!(joined.bytes(), expected.as_bytes());
    }

    proptest! {
        #[test]
        fn what_is_not_parsed_hides_nothing(content in r"([\[\]()<>`~:#*|!0-9a-c\n\t-]|https://|    |\n  |> |- |1\. | ){0,40}") {
            prop_assert!(may_hide(content.as_bytes()) || hidden_ranges(&content).is_empty());
        }

        #[test]
        fn every_marker_is_where_it_says(content in r"[\[\]0-9, `a-cé\n()]{0,60}") {
            for marker in markers(&content) {
                let text = &content[marker];
                prop_assert!(text.starts_with('[') && text.ends_with(']'));
                prop_assert_eq!(super::numbers(text).count(), 1 + text.matches(',').count());
            }
        }
    }
}
