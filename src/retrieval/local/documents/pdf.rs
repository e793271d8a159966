//! PDF pages as text, with their real numbers.
//!
//! `pdf-extract` places glyphs well and panics on odd files, so each page is read behind `catch_unwind` and a page that fails is tried with
//! `lopdf`'s plainer extraction. What cannot be caught, recursion without an end, is looked for before: forms that draw themselves, and
//! pages that are their own parents. (A panic that is caught still prints one line where the program's panic hook prints to.)

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{
    Dictionary, Document, Object, ObjectId, PlainTextOutput, Stream, content::Content,
    decode_text_string, output_doc_page,
};

use super::{Pages, ReadError, html::collapsed};
use crate::retrieval::local::Page;

/// Forms within forms, at most.
const FORM_DEPTH_MAX: usize = 16;

/// Forms drawn on one page, at most: a few that draw each other ten times over would never end.
const FORMS_MAX: usize = 2_000;

/// Steps from a page to the root of the page tree, at most.
const ANCESTORS_MAX: usize = 64;

/// Reads a PDF.
pub(super) fn read(bytes: &[u8]) -> Result<Pages, ReadError> {
    let document =
        catch_unwind(|| load(bytes)).unwrap_or_else(|_| Err(damaged("it is damaged")))?;
    let mut pages = Vec::new();
    for (number, id) in document.get_pages() {
        let text = page_text(&document, number, id);
        pages.push(Page {
            number: Some(number),
            text: paragraphs(&text),
        });
    }
    if pages.iter().all(|page| page.text.trim().is_empty()) {
        return Err(damaged(
            "it holds no text; a scan needs text recognition first",
        ));
    }
    Ok(Pages {
        title: title(&document),
        pages,
    })
}

fn load(bytes: &[u8]) -> Result<Document, ReadError> {
    let mut document =
        Document::load_mem(bytes).map_err(|error| damaged(&format!("it is damaged: {error}")))?;
    if document.is_encrypted() && document.decrypt("").is_err() {
        return Err(damaged("it is locked with a password"));
    }
    // Images say nothing here, and their bytes would be parsed for drawing operators.
    for object in document.objects.values_mut() {
        if let Object::Stream(stream) = object
            && stream
                .dict
                .get(b"Subtype")
                .and_then(Object::as_name)
                .is_ok_and(|subtype| subtype == b"Image")
        {
            *stream = Stream::new(Dictionary::new(), Vec::new());
        }
    }
    Ok(document)
}

/// The text of one page; empty when nothing can read it.
fn page_text(document: &Document, number: u32, id: ObjectId) -> String {
    let by_glyphs = || {
        if !ends(document, id) {
            return None;
        }
        let mut text = String::new();
        output_doc_page(document, &mut PlainTextOutput::new(&mut text), number).ok()?;
        Some(text)
    };
    let plainly = || document.extract_text(&[number]).ok();
    // Neither closure leaves anything behind that a panic could have broken: both write only what they return.
    let tried = catch_unwind(AssertUnwindSafe(by_glyphs))
        .ok()
        .flatten()
        .filter(|text| !text.trim().is_empty());
    tried
        .or_else(|| catch_unwind(AssertUnwindSafe(plainly)).ok().flatten())
        .unwrap_or_default()
}

/// Whether drawing the page comes to an end.
fn ends(document: &Document, page: ObjectId) -> bool {
    let mut above = page;
    let mut rooted = false;
    for _ in 0..ANCESTORS_MAX {
        match document
            .get_dictionary(above)
            .and_then(|dict| dict.get(b"Parent"))
            .and_then(Object::as_reference)
        {
            Ok(parent) => above = parent,
            Err(_) => {
                rooted = true;
                break;
            }
        }
    }
    if !rooted {
        return false;
    }
    let Ok(content) = document.get_page_content(page) else {
        return false;
    };
    let resources = page_resources(document, page);
    let mut left = FORMS_MAX;
    draws(document, &content, resources, FORM_DEPTH_MAX, &mut left)
}

/// The resources of a page, its own or its nearest ancestor's.
fn page_resources(document: &Document, page: ObjectId) -> Option<&Dictionary> {
    let mut at = page;
    for _ in 0..ANCESTORS_MAX {
        let dict = document.get_dictionary(at).ok()?;
        if let Some(resources) = resources_in(document, dict) {
            return Some(resources);
        }
        at = dict.get(b"Parent").and_then(Object::as_reference).ok()?;
    }
    None
}

fn resources_in<'a>(document: &'a Document, dict: &'a Dictionary) -> Option<&'a Dictionary> {
    dict.get_deref(b"Resources", document)
        .and_then(Object::as_dict)
        .ok()
}

/// Walks the forms that `content` draws as `pdf-extract` will; `false` when they nest too deep or are too many.
fn draws(
    document: &Document,
    content: &[u8],
    resources: Option<&Dictionary>,
    depth: usize,
    left: &mut usize,
) -> bool {
    let Some(forms) = resources.and_then(|dict| {
        dict.get_deref(b"XObject", document)
            .and_then(Object::as_dict)
            .ok()
    }) else {
        return true;
    };
    let Ok(content) = Content::decode(content) else {
        return true;
    };
    for operation in content
        .operations
        .iter()
        .filter(|operation| operation.operator == "Do")
    {
        let Some(name) = operation
            .operands
            .first()
            .and_then(|name| name.as_name().ok())
        else {
            continue;
        };
        let Ok(form) = forms.get_deref(name, document).and_then(Object::as_stream) else {
            continue;
        };
        let (Some(below), Some(fewer)) = (depth.checked_sub(1), left.checked_sub(1)) else {
            return false;
        };
        *left = fewer;
        let content = form
            .decompressed_content()
            .unwrap_or_else(|_| form.content.clone());
        // A form without resources of its own draws with those of its caller.
        if !draws(
            document,
            &content,
            resources_in(document, &form.dict).or(resources),
            below,
            left,
        ) {
            return false;
        }
    }
    true
}

/// The title that the file itself tells, unless a program made it up.
fn title(document: &Document) -> Option<String> {
    let info = document
        .trailer
        .get_deref(b"Info", document)
        .and_then(Object::as_dict)
        .ok()?;
    let title = collapsed(&decode_text_string(info.get_deref(b"Title", document).ok()?).ok()?);
    let lower = title.to_lowercase();
    let made_up = lower.is_empty()
        || lower.starts_with("microsoft word")
        || lower.starts_with("untitled")
        || lower.starts_with("powerpoint");
    (!made_up).then_some(title)
}

/// Joins the lines of each paragraph, and the words that a line end cut in two.
fn paragraphs(text: &str) -> String {
    let mut out = String::new();
    let mut open = false;
    for line in text.lines().map(collapsed) {
        if line.is_empty() {
            open = false;
            continue;
        }
        if !open {
            if !out.is_empty() {
                out.push_str("\n\n");
            }
        } else if begins_item(&line) {
            out.push('\n');
        } else if is_cut(&out, &line) {
            out.pop();
        } else {
            out.push(' ');
        }
        out.push_str(&line);
        open = true;
    }
    out
}

fn is_cut(before: &str, line: &str) -> bool {
    let mut end = before.chars().rev();
    end.next() == Some('-')
        && end.next().is_some_and(char::is_alphabetic)
        && line.chars().next().is_some_and(char::is_lowercase)
}

fn begins_item(line: &str) -> bool {
    line.starts_with(['•', '▪', '◦', '‣', '·']) || line.starts_with("- ") || line.starts_with("– ")
}

fn damaged(detail: &str) -> ReadError {
    ReadError::Damaged {
        detail: detail.to_owned(),
    }
}
