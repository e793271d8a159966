//! Web pages as Markdown: headings, paragraphs, lists, tables and code, without what surrounds them on every page.

use scraper::{Html, Node, node::Element};

use super::{Pages, text};
use crate::retrieval::local::Page;

/// Reads a web page.
pub(super) fn read(bytes: &[u8]) -> Pages {
    let html = Html::parse_document(&text::decode(bytes));
    let mut writer = Writer::default();
    let root = html.tree.root();
    let mut at = root;
    // The tree is walked by hand: recursion would overflow the stack on pages nested deeply enough.
    'walk: loop {
        let descend = match at.value() {
            Node::Element(element) => writer.enter(element),
            Node::Text(said) => {
                writer.say(said);
                false
            }
            _ => true,
        };
        if descend && let Some(child) = at.first_child() {
            at = child;
            continue;
        }
        loop {
            if descend_ends(at.value())
                && let Node::Element(element) = at.value()
            {
                writer.leave(element);
            }
            if let Some(next) = at.next_sibling() {
                at = next;
                break;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => break 'walk,
            }
        }
    }
    writer.finish()
}

fn descend_ends(node: &Node) -> bool {
    matches!(node, Node::Element(element) if !is_clutter(element))
}

/// What a browser does not show, or shows on every page alike.
fn is_clutter(element: &Element) -> bool {
    let hidden = element.attr("hidden").is_some() || element.attr("aria-hidden") == Some("true");
    hidden
        || matches!(
            element.name(),
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
        )
}

/// Writes Markdown while the tree is walked.
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
    rows_written: usize,
    preformatted: usize,
}

impl Writer {
    /// Takes note of an opening tag; tells whether to look inside.
    fn enter(&mut self, element: &Element) -> bool {
        if is_clutter(element) {
            return false;
        }
        match element.name() {
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
            "tr" if self.tables == 1 => self.row = Some(Vec::new()),
            _ if self.row.is_some() => self.line.push(' '),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.paragraph();
                let rank = element
                    .name()
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
        true
    }

    /// Takes note of a closing tag.
    fn leave(&mut self, element: &Element) {
        match element.name() {
            "title" => self.in_title = false,
            "table" => {
                self.tables = self.tables.saturating_sub(1);
                if self.tables == 0 {
                    self.end_row();
                    self.paragraph();
                }
            }
            "td" | "th" if self.tables == 1 => {
                let cell = collapsed(&std::mem::take(&mut self.line)).replace('|', "\\|");
                if let Some(row) = &mut self.row {
                    row.push(cell);
                }
            }
            "tr" if self.tables == 1 => self.end_row(),
            _ if self.row.is_some() => self.line.push(' '),
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
                let code = std::mem::take(&mut self.line);
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
        let line = collapsed(&std::mem::take(&mut self.line));
        if line.is_empty() {
            return;
        }
        self.out.push_str(&std::mem::take(&mut self.mark));
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

    fn end_row(&mut self) {
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
