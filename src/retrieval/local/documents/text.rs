//! Markdown and plain text.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Pages;
use crate::retrieval::local::Page;

/// Reads Markdown as it stands; its title is that of the front matter, else its first heading of the first rank.
pub(super) fn markdown(bytes: &[u8]) -> Pages {
    let text = decode(bytes);
    let (front, body) = front_matter(&text);
    let title = front.and_then(title_in).or_else(|| first_heading(body));
    Pages {
        title,
        pages: vec![Page {
            number: None,
            text: body.to_owned(),
        }],
    }
}

/// Reads plain text. Form feeds part pages, as programs that print text files have it.
pub(super) fn plain(bytes: &[u8]) -> Pages {
    let text = decode(bytes).replace("\r\n", "\n");
    if !text.trim_end().contains('\u{c}') {
        return Pages {
            title: None,
            pages: vec![Page { number: None, text }],
        };
    }
    let pages = (1..).zip(text.split('\u{c}')).map(|(number, text)| Page {
        number: Some(number),
        text: text.to_owned(),
    });
    Pages {
        title: None,
        pages: pages.collect(),
    }
}

/// Turns bytes into text: by their byte-order mark, else as UTF-8, else as Windows-1252, which every byte sequence is.
pub(super) fn decode(bytes: &[u8]) -> String {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|&byte| windows_1252(byte)).collect(),
        },
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    char::decode_utf16(pairs.iter().map(|&pair| unit(pair)))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// One character of Windows-1252, which is Latin-1 but for 0x80 to 0x9f (WHATWG Encoding Standard, index windows-1252).
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    byte.checked_sub(0x80)
        .and_then(|at| HIGH.get(usize::from(at)).copied())
        .unwrap_or(char::from(byte))
}

/// Parts YAML front matter (between lines of `---` at the very top) from the text.
fn front_matter(text: &str) -> (Option<&str>, &str) {
    let Some(rest) = text
        .strip_prefix("---\n")
        .or_else(|| text.strip_prefix("---\r\n"))
    else {
        return (None, text);
    };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") {
            return (
                rest.get(..at),
                rest.get(at + line.len()..).unwrap_or_default(),
            );
        }
        at += line.len();
    }
    (None, text)
}

fn title_in(front: &str) -> Option<String> {
    let title = front.lines().find_map(|line| line.strip_prefix("title:"))?;
    let title = title.trim().trim_matches(['"', '\'']).trim();
    (!title.is_empty()).then(|| title.to_owned())
}

fn first_heading(text: &str) -> Option<String> {
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading {
                level: HeadingLevel::H1,
                ..
            }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(HeadingLevel::H1)) => break,
            Event::Text(said) | Event::Code(said) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&said);
                }
            }
            _ => {}
        }
    }
    heading
        .map(|heading| heading.trim().to_owned())
        .filter(|heading| !heading.is_empty())
}
