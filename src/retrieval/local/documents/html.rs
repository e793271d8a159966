//! Web pages as Markdown: headings, paragraphs, lists, tables and code, without what surrounds them on every page.
//!
//! Only the tokenizer of `html5ever` is used, no tree: the time a tree takes grows with the square of its depth, so that 100 kB of `<div>`
//! would take minutes. Tags that authors leave open end where the next of their kind begins.

use std::{cell::RefCell, mem};

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};

use super::{Pages, text};
use crate::retrieval::local::Page;

/// Reads a web page.
pub(super) fn read(bytes: &[u8]) -> Pages {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(text::decode(bytes)));
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    // The tokenizer stops only at scripts, and this sink never says that it met one.
    let _done = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner().finish()
}

/// What the tokenizer hands its tokens to, one borrow for each.
#[derive(Default)]
struct Sink(RefCell<Writer>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut writer = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => {
                writer.start(&tag);
                return contents_of(&tag.name);
            }
            Token::TagToken(tag) => writer.end(&tag.name),
            Token::CharacterTokens(said) => writer.say(&said),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// How the inside of an element is read (WHATWG HTML, section 13.2.6.4): in most there are tags, in some only text.
fn contents_of(name: &str) -> TokenSinkResult<()> {
    match name {
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
            TokenSinkResult::RawData(RawKind::Rawtext)
        }
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        "plaintext" => TokenSinkResult::Plaintext,
        _ => TokenSinkResult::Continue,
    }
}

/// What a browser does not show, or shows on every page alike. Elements without an end tag, or whose end tag may be left out, are not looked
/// at: what is left out with them could not be told.
fn is_clutter(tag: &Tag) -> bool {
    let name: &str = &tag.name;
    if matches!(
        name,
        "script"
            | "style"
            | "nav"
            | "noscript"
            | "template"
            | "svg"
            | "math"
            | "iframe"
            | "object"
            | "canvas"
            | "audio"
            | "video"
            | "select"
            | "button"
            | "textarea"
    ) {
        return !tag.self_closing;
    }
    let says = |name: &str| {
        tag.attrs
            .iter()
            .find(|attribute| &*attribute.name.local == name)
            .map(|attribute| &*attribute.value)
    };
    let hidden = says("hidden").is_some() || says("aria-hidden") == Some("true");
    hidden
        && matches!(
            name,
            "div"
                | "span"
                | "section"
                | "aside"
                | "header"
                | "footer"
                | "form"
                | "ul"
                | "ol"
                | "table"
                | "a"
                | "i"
                | "b"
                | "em"
        )
}

/// Writes Markdown while tags and text come in.
#[derive(Default)]
struct Writer {
    out: String,
    /// The line being written, without its mark.
    line: String,
    /// What the next line begins with: `## `, `- `.
    mark: String,
    title: Option<String>,
    first_heading: Option<String>,
    in_title: bool,
    /// How deep lists are nested.
    lists: usize,
    /// How deep tables are nested: only the outermost keeps its rows, for those within are layout more often than not.
    tables: usize,
    /// The cells of the row being read.
    row: Option<Vec<String>>,
    in_cell: bool,
    rows_written: usize,
    preformatted: usize,
    /// The element that is passed over, and how often its name is open.
    passed_over: Option<(String, usize)>,
}

impl Writer {
    fn start(&mut self, tag: &Tag) {
        let name: &str = &tag.name;
        if let Some((passed, open)) = &mut self.passed_over {
            *open += usize::from(passed == name);
            return;
        }
        if is_clutter(tag) {
            self.passed_over = Some((name.to_owned(), 1));
            return;
        }
        match name {
            "title" => self.in_title = true,
            "br" if self.row.is_none() && self.preformatted > 0 => self.line.push('\n'),
            "br" | "wbr" => self.line.push(' '),
            "table" => {
                self.tables += 1;
                if self.tables == 1 {
                    self.paragraph();
                    self.rows_written = 0;
                }
            }
            "tr" if self.tables == 1 => {
                self.end_row();
                self.row = Some(Vec::new());
            }
            "td" | "th" if self.tables == 1 => {
                self.end_cell();
                self.row.get_or_insert_default();
                self.line.clear();
                self.in_cell = true;
            }
            _ if self.row.is_some() => self.line.push_str(if parts_words(name) { " " } else { "" }),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.paragraph();
                let rank = name
                    .bytes()
                    .next_back()
                    .map_or(1, |digit| usize::from(digit.saturating_sub(b'0')));
                self.mark = format!("{} ", "#".repeat(rank.clamp(1, 6)));
            }
            "ul" | "ol" => {
                self.break_line();
                self.lists += 1;
            }
            "li" => {
                self.break_line();
                self.mark = format!("{}- ", "  ".repeat(self.lists.saturating_sub(1).min(8)));
            }
            "pre" => {
                self.paragraph();
                self.preformatted += 1;
            }
            name if is_block(name) => self.block(),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((passed, open)) = &mut self.passed_over {
            *open -= usize::from(passed == name);
            if *open == 0 {
                self.passed_over = None;
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "table" => {
                self.tables = self.tables.saturating_sub(1);
                if self.tables == 0 {
                    self.end_row();
                    self.paragraph();
                }
            }
            "td" | "th" if self.tables == 1 => self.end_cell(),
            "tr" if self.tables == 1 => self.end_row(),
            _ if self.row.is_some() => self.line.push_str(if parts_words(name) { " " } else { "" }),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                if self.first_heading.is_none() {
                    self.first_heading =
                        Some(collapsed(&self.line)).filter(|heading| !heading.is_empty());
                }
                self.paragraph();
            }
            "ul" | "ol" => {
                self.break_line();
                self.lists = self.lists.saturating_sub(1);
                if self.lists == 0 {
                    self.paragraph();
                }
            }
            "li" => self.break_line(),
            "pre" => {
                let code = mem::take(&mut self.line);
                self.preformatted = self.preformatted.saturating_sub(1);
                if !code.trim().is_empty() {
                    self.out
                        .push_str(&format!("```\n{}\n```\n\n", code.trim_matches('\n')));
                }
            }
            name if is_block(name) => self.block(),
            _ => {}
        }
    }

    fn say(&mut self, said: &str) {
        if self.passed_over.is_some() {
            return;
        }
        if self.in_title {
            self.title.get_or_insert_default().push_str(said);
        } else {
            self.line.push_str(said);
        }
    }

    /// Ends a block: inside a list only its line, for an item may hold paragraphs.
    fn block(&mut self) {
        if self.preformatted > 0 {
            return;
        }
        if self.lists > 0 {
            self.break_line()
        } else {
            self.paragraph()
        }
    }

    fn break_line(&mut self) {
        if self.preformatted > 0 {
            return;
        }
        let line = collapsed(&mem::take(&mut self.line));
        if line.is_empty() {
            return;
        }
        self.out.push_str(&mem::take(&mut self.mark));
        self.out.push_str(&line);
        self.out.push('\n');
    }

    fn paragraph(&mut self) {
        self.break_line();
        self.mark.clear();
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn end_cell(&mut self) {
        if !mem::take(&mut self.in_cell) {
            return;
        }
        let cell = collapsed(&mem::take(&mut self.line)).replace('|', "\\|");
        if let Some(row) = &mut self.row {
            row.push(cell);
        }
    }

    fn end_row(&mut self) {
        self.end_cell();
        let Some(cells) = self.row.take() else { return };
        self.line.clear();
        if cells.iter().all(String::is_empty) {
            return;
        }
        self.out.push_str(&table_row(&cells, self.rows_written));
        self.rows_written += 1;
    }

    fn finish(mut self) -> Pages {
        self.end_row();
        self.paragraph();
        let title = self
            .title
            .map(|title| collapsed(&title))
            .filter(|title| !title.is_empty())
            .or(self.first_heading);
        Pages {
            title,
            pages: vec![Page {
                number: None,
                text: self.out,
            }],
        }
    }
}

/// A row of a Markdown table; the first one is followed by the line that makes it a table.
pub(super) fn table_row(cells: &[String], rows_before: usize) -> String {
    let row = format!("| {} |\n", cells.join(" | "));
    if rows_before > 0 {
        return row;
    }
    format!("{row}|{}\n", " --- |".repeat(cells.len()))
}

/// Whether a tag inside a table cell parts the words around it, as `</p>` does and `</b>` does not.
fn parts_words(name: &str) -> bool {
    is_block(name)
        || matches!(
            name,
            "li" | "pre" | "tr" | "td" | "th" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6"
        )
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "caption"
            | "dd"
            | "details"
            | "dialog"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "hgroup"
            | "hr"
            | "legend"
            | "main"
            | "p"
            | "search"
            | "section"
            | "summary"
    )
}

/// `text` with every run of white space as one space, and none around it.
pub(super) fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
