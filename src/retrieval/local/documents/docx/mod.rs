//! Word documents as Markdown: headings by their style, paragraphs, lists and tables, and pages where Word left marks of them.
//!
//! A `.docx` is a ZIP archive of XML (ECMA-376). Reading is bounded: an archive that unpacks to far more than a text needs is refused.

mod styles;

use std::{
    collections::HashMap,
    io::{Cursor, Read},
    mem,
};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use zip::ZipArchive;

use super::{
    Pages, ReadError,
    html::{collapsed, table_row},
    text,
};
use crate::retrieval::local::Page;

/// What one part of the archive may unpack to, in bytes.
const PART_BYTES: u64 = 128_000_000;

/// Elements deeper than this are no document that a person wrote.
const DEPTH_MAX: usize = 512;

/// Reads a Word document.
pub(super) fn read(bytes: &[u8]) -> Result<Pages, ReadError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| damaged("it is no Word document", error))?;
    let styles = part(&mut archive, "word/styles.xml")?
        .map(|xml| styles::headings(&xml))
        .transpose()?
        .unwrap_or_default();
    let title = part(&mut archive, "docProps/core.xml")?
        .map(|xml| title(&xml))
        .transpose()?
        .flatten();
    let Some(body) = part(&mut archive, "word/document.xml")? else {
        return Err(ReadError::Damaged {
            detail: "it is no Word document: it holds no text part".to_owned(),
        });
    };
    let (pages, first_heading) = Body::new(&styles).read(&body)?;
    Ok(Pages {
        title: title.or(first_heading),
        pages,
    })
}

fn part(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Option<String>, ReadError> {
    let file = match archive.by_name(name) {
        Ok(file) => file,
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(damaged("it cannot be unpacked", error)),
    };
    let mut xml = Vec::new();
    // The size that the archive tells is not believed: what counts is what comes out.
    file.take(PART_BYTES + 1)
        .read_to_end(&mut xml)
        .map_err(|error| damaged("it cannot be unpacked", error))?;
    if xml.len() as u64 > PART_BYTES {
        return Err(ReadError::Damaged {
            detail: format!("it unpacks to more than {} MB", PART_BYTES / 1_000_000),
        });
    }
    Ok(Some(text::decode(&xml)))
}

fn title(xml: &str) -> Result<Option<String>, ReadError> {
    let mut reader = Reader::from_str(xml);
    let mut title: Option<String> = None;
    let mut inside = false;
    loop {
        match reader
            .read_event()
            .map_err(|error| damaged("its properties are no XML", error))?
        {
            Event::Start(tag) if tag.local_name().as_ref() == "title" => inside = true,
            Event::End(tag) if tag.local_name().as_ref() == "title" => inside = false,
            event if inside => title.get_or_insert_default().push_str(&said(&event)),
            Event::Eof => break,
            _ => {}
        }
        if reader.buffer_position() as usize >= xml.len() {
            break;
        }
    }
    Ok(title
        .map(|title| collapsed(&title))
        .filter(|title| !title.is_empty()))
}

/// What an event says: text, with references resolved.
fn said(event: &Event<'_>) -> String {
    match event {
        Event::Text(text) => text.xml_content(XmlVersion::Implicit1_0).into_owned(),
        Event::CData(text) => text.xml_content(XmlVersion::Implicit1_0).into_owned(),
        Event::GeneralRef(reference) => match reference.resolve_char_ref() {
            Ok(Some(c)) => c.to_string(),
            Ok(None) | Err(_) => quick_xml::escape::resolve_predefined_entity(reference)
                .unwrap_or_default()
                .to_owned(),
        },
        _ => String::new(),
    }
}

/// The text part, read from top to bottom.
struct Body<'a> {
    styles: &'a HashMap<String, usize>,
    pages: Vec<String>,
    /// Whether Word left marks of where its pages ended.
    paged: bool,
    /// The paragraph being read.
    paragraph: String,
    rank: Option<usize>,
    listed: bool,
    /// How deep tables are nested; only the outermost keeps its rows.
    tables: usize,
    cell: String,
    row: Vec<String>,
    rows_written: usize,
    first_heading: Option<String>,
    in_text: bool,
}

impl<'a> Body<'a> {
    fn new(styles: &'a HashMap<String, usize>) -> Self {
        Self {
            styles,
            pages: vec![String::new()],
            paged: false,
            paragraph: String::new(),
            rank: None,
            listed: false,
            tables: 0,
            cell: String::new(),
            row: Vec::new(),
            rows_written: 0,
            first_heading: None,
            in_text: false,
        }
    }

    fn read(mut self, xml: &str) -> Result<(Vec<Page>, Option<String>), ReadError> {
        let mut reader = Reader::from_str(xml);
        let mut depth = 0_usize;
        // Inside `mc:Fallback` stands a second copy of what `mc:Choice` says.
        let mut copy_from: Option<usize> = None;
        loop {
            match reader
                .read_event()
                .map_err(|error| damaged("its text is no XML", error))?
            {
                Event::Start(tag) => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(ReadError::Damaged {
                            detail: format!("its elements are nested deeper than {DEPTH_MAX}"),
                        });
                    }
                    if tag.local_name().as_ref() == "Fallback" {
                        copy_from.get_or_insert(depth);
                    }
                    if copy_from.is_none() {
                        self.enter(&tag);
                    }
                }
                Event::Empty(tag) => {
                    if copy_from.is_none() {
                        self.enter(&tag);
                        self.leave(tag.local_name().as_ref());
                    }
                }
                Event::End(tag) => {
                    if copy_from.is_none() {
                        self.leave(tag.local_name().as_ref());
                    } else if copy_from == Some(depth) {
                        copy_from = None;
                    }
                    depth = depth.saturating_sub(1);
                }
                Event::Eof => break,
                event => {
                    if self.in_text && copy_from.is_none() {
                        self.paragraph.push_str(&said(&event));
                    }
                }
            }
        }
        self.end_paragraph();
        let paged = self.paged;
        let number = |at: u32| paged.then_some(at);
        let pages = (1..)
            .zip(self.pages)
            .map(|(at, text)| Page {
                number: number(at),
                text,
            })
            .collect();
        Ok((pages, self.first_heading))
    }

    fn enter(&mut self, tag: &BytesStart<'_>) {
        match tag.local_name().as_ref() {
            "t" => self.in_text = true,
            "tab" | "br" | "cr" => self.paragraph.push(' '),
            "noBreakHyphen" => self.paragraph.push('-'),
            "pStyle" => {
                self.rank = value(tag, "w:val").and_then(|id| self.styles.get(&id).copied())
            }
            "outlineLvl" => {
                self.rank = self.rank.or(value(tag, "w:val")
                    .and_then(|level| level.parse::<usize>().ok())
                    .filter(|&level| level < 9)
                    .map(|level| level + 1))
            }
            "numPr" => self.listed = true,
            "lastRenderedPageBreak" => self.turn_page(),
            "tbl" => {
                self.tables += 1;
                if self.tables == 1 {
                    self.rows_written = 0;
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "p" => self.end_paragraph(),
            "tc" if self.tables == 1 => {
                let cell = collapsed(&mem::take(&mut self.cell)).replace('|', "\\|");
                self.row.push(cell);
            }
            "tr" if self.tables == 1 => {
                let row = mem::take(&mut self.row);
                if !row.iter().all(String::is_empty) {
                    let row = table_row(&row, self.rows_written);
                    self.rows_written += 1;
                    self.write(&row);
                }
            }
            "tbl" => {
                self.tables = self.tables.saturating_sub(1);
                if self.tables == 0 {
                    self.write("\n");
                }
            }
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let text = collapsed(&mem::take(&mut self.paragraph));
        let (rank, listed) = (self.rank.take(), mem::take(&mut self.listed));
        if text.is_empty() {
            return;
        }
        if self.tables > 0 {
            self.cell.push(' ');
            self.cell.push_str(&text);
            return;
        }
        match rank {
            Some(rank) => {
                self.first_heading.get_or_insert_with(|| text.clone());
                self.write(&format!("{} {text}\n\n", "#".repeat(rank.clamp(1, 6))));
            }
            None if listed => self.write(&format!("- {text}\n")),
            None => {
                // A list ends with its last item; without a blank line the paragraph would belong to it.
                let gap = if self
                    .pages
                    .last()
                    .is_some_and(|page| page.ends_with('\n') && !page.ends_with("\n\n"))
                {
                    "\n"
                } else {
                    ""
                };
                self.write(&format!("{gap}{text}\n\n"));
            }
        }
    }

    /// Starts a page where Word last did. What the paragraph said so far stays on the page before.
    fn turn_page(&mut self) {
        self.paged = true;
        if self.tables == 0 && !self.paragraph.trim().is_empty() {
            let (rank, listed) = (self.rank, self.listed);
            self.end_paragraph();
            // The rest of the paragraph is text again, but a list item stays one.
            self.listed = listed && rank.is_none();
        }
        self.pages.push(String::new());
        self.rows_written = 0;
    }

    fn write(&mut self, text: &str) {
        if let Some(page) = self.pages.last_mut() {
            page.push_str(text);
        }
    }
}

fn value(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok().flatten()?;
    Some(
        attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .ok()?
            .into_owned(),
    )
}

fn damaged(what: &str, error: impl std::fmt::Display) -> ReadError {
    ReadError::Damaged {
        detail: format!("{what}: {error}"),
    }
}
