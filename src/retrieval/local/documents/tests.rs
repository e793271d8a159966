//! One small file of each format, made here, and what is read out of it; then files that are broken.

use std::io::{Cursor, Write};

use pdf_extract::{
    Dictionary, Document, Object, Stream,
    content::{Content, Operation},
    dictionary,
};
use proptest::prelude::*;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

fn text_of(filename: &str, bytes: &[u8]) -> String {
    let pages = read(filename, bytes).unwrap().pages;
    pages.into_iter().map(|page| page.text).collect()
}

#[test]
fn markdown_keeps_its_text_and_gives_its_first_heading_as_title() {
    let read = read(
        "a.md",
        b"Intro\n\n```\n# no heading\n```\n\n# Data *policy*\n\nText.",
    )
    .unwrap();

    assert_eq!(read.title.as_deref(), Some("Data policy"));
    assert_eq!(read.pages.len(), 1);
    assert_eq!(read.pages[0].number, None);
    assert!(read.pages[0].text.starts_with("Intro\n"));
}

#[test]
fn front_matter_gives_the_title_and_is_no_text() {
    let read = read(
        "a.MD",
        b"---\ntitle: \"Leave\"\ntags: [x]\n---\n# Other\n\nText.",
    )
    .unwrap();

    assert_eq!(read.title.as_deref(), Some("Leave"));
    assert_eq!(read.pages[0].text, "# Other\n\nText.");
}

#[test]
fn plain_text_is_read_in_the_encodings_people_use() {
    let utf16 = |big: bool| {
        let unit = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        "\u{feff}déjà €"
            .encode_utf16()
            .flat_map(unit)
            .collect::<Vec<u8>>()
    };

    assert_eq!(text_of("a.txt", "\u{feff}déjà €".as_bytes()), "déjà €");
    assert_eq!(text_of("a.txt", &utf16(true)), "déjà €");
    assert_eq!(text_of("a.txt", &utf16(false)), "déjà €");
    assert_eq!(text_of("a.txt", b"d\xe9j\xe0 \x80"), "déjà €");
}

#[test]
fn form_feeds_in_plain_text_part_pages() {
    let read = read("a.txt", b"One\x0cTwo").unwrap();

    let pages: Vec<_> = read
        .pages
        .iter()
        .map(|page| (page.number, page.text.as_str()))
        .collect();
    assert_eq!(pages, [(Some(1), "One"), (Some(2), "Two")]);
}

#[test]
fn a_web_page_becomes_markdown_without_its_clutter() {
    let html = "<html><head><title> Data\n policy </title><style>p{}</style></head><body><nav><a>Home</a></nav>
        <h1>Retention</h1><p>Kept <b>seven</b> years.<br>Then deleted.</p><script>alert(1)</script>
        <ul><li>One<ul><li>Two</li></ul></li><li><p>Three</p></li></ul>
        <table><tr><th>Kind</th><th>Years</th></tr><tr><td>Letters</td><td>6 | 7</td></tr></table>
        <pre>a\n  b</pre><div hidden><div>secret</div></div>&amp; so on</body></html>";

    let read = read("a.html", html.as_bytes()).unwrap();

    assert_eq!(read.title.as_deref(), Some("Data policy"));
    assert_eq!(
        read.pages[0].text.trim(),
        "# Retention\n\nKept seven years. Then deleted.\n\n- One\n  - Two\n- Three\n\n\
         | Kind | Years |\n| --- | --- |\n| Letters | 6 \\| 7 |\n\n```\na\n  b\n```\n\n& so on"
    );
}

#[test]
fn a_table_with_its_end_tags_left_out_keeps_its_rows() {
    let html = "<table><tr><td>a<td>b<tr><td>c<table><tr><td>d</table><td>e</table>after";

    let text = text_of("a.html", html.as_bytes());

    assert_eq!(
        text.trim(),
        "| a | b |\n| --- | --- |\n| c d | e |\n\nafter"
    );
}

#[test]
fn a_web_page_nested_without_end_is_read() {
    let html = format!("{}deep", "<div>".repeat(200_000));

    assert_eq!(text_of("a.htm", html.as_bytes()).trim(), "deep");
}

fn docx(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, xml) in parts {
        archive
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(xml.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn body(inner: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><w:document xmlns:w="w" xmlns:mc="mc"><w:body>{inner}</w:body></w:document>"#
    )
}

#[test]
fn a_word_document_becomes_markdown_with_its_pages() {
    // A German Word: the id is translated, the name is not; the second style is based on the first.
    let styles = r#"<w:styles xmlns:w="w"><w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
        <w:style w:styleId="Eigene"><w:name w:val="Eigene"/><w:basedOn w:val="berschrift1"/></w:style></w:styles>"#;
    let core = r#"<cp:coreProperties xmlns:cp="c" xmlns:dc="d"><dc:title>R&amp;D rules</dc:title></cp:coreProperties>"#;
    let text = body(
        r#"<w:p><w:pPr><w:pStyle w:val="Eigene"/></w:pPr><w:r><w:t>Travel</w:t></w:r></w:p>
        <w:p><w:r><w:t xml:space="preserve">Book </w:t></w:r><w:r><w:t>early &amp; cheap.</w:t><w:delText>no</w:delText></w:r></w:p>
        <w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>by train</w:t></w:r></w:p>
        <w:p><w:r><w:t>It goes</w:t></w:r><w:r><w:lastRenderedPageBreak/><w:t>on here.</w:t></w:r></w:p>
        <w:tbl><w:tr><w:tc><w:p><w:r><w:t>Class</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>2</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
        <mc:AlternateContent><mc:Choice><w:p><w:r><w:t>Box</w:t></w:r></w:p></mc:Choice><mc:Fallback><w:p><w:r><w:t>Box</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>"#,
    );
    let bytes = docx(&[
        ("word/document.xml", &text),
        ("word/styles.xml", styles),
        ("docProps/core.xml", core),
    ]);

    let read = read("a.docx", &bytes).unwrap();

    assert_eq!(read.title.as_deref(), Some("R&D rules"));
    let pages: Vec<_> = read
        .pages
        .iter()
        .map(|page| (page.number, page.text.as_str()))
        .collect();
    assert_eq!(
        pages,
        [
            (
                Some(1),
                "# Travel\n\nBook early & cheap.\n\n- by train\n\nIt goes\n\n"
            ),
            (
                Some(2),
                "on here.\n\n| Class | 2 |\n| --- | --- |\n\nBox\n\n"
            ),
        ]
    );
}

#[test]
fn a_word_document_without_marks_of_pages_has_no_page_numbers() {
    let bytes = docx(&[(
        "word/document.xml",
        &body("<w:p><w:r><w:t>Text</w:t></w:r></w:p>"),
    )]);

    let read = read("a.docx", &bytes).unwrap();

    assert_eq!(read.title, None);
    assert_eq!(
        read.pages,
        [Page {
            number: None,
            text: "Text\n\n".to_owned()
        }]
    );
}

/// A PDF with one page for each list of lines; `form` says what its one form draws besides.
fn pdf(pages: &[&[&str]], title: Option<&str>, form: &str) -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let tree = document.new_object_id();
    let font = document.add_object(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding" });
    let resources = document.new_object_id();
    let drawn = document.add_object(Stream::new(
        dictionary! { "Type" => "XObject", "Subtype" => "Form" },
        form.as_bytes().to_vec(),
    ));
    let of_resources = dictionary! { "Font" => dictionary! { "F1" => font }, "XObject" => dictionary! { "X1" => drawn } };
    document
        .objects
        .insert(resources, Object::Dictionary(of_resources));
    let kids: Vec<Object> = pages
        .iter()
        .map(|lines| {
            let mut operations = vec![
                Operation::new("BT", vec![]),
                Operation::new("Tf", vec!["F1".into(), 12.into()]),
                Operation::new("TL", vec![14.into()]),
                Operation::new("Td", vec![50.into(), 700.into()]),
            ];
            for line in *lines {
                operations.push(Operation::new("Tj", vec![Object::string_literal(*line)]));
                operations.push(Operation::new("T*", vec![]));
            }
            operations.push(Operation::new("ET", vec![]));
            operations.push(Operation::new("Do", vec!["X1".into()]));
            let content = document.add_object(Stream::new(
                Dictionary::new(),
                Content { operations }.encode().unwrap(),
            ));
            document
                .add_object(
                    dictionary! { "Type" => "Page", "Parent" => tree, "Contents" => content },
                )
                .into()
        })
        .collect();
    let count = kids.len() as i64;
    let of_tree = dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => count, "Resources" => resources, "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()] };
    document.objects.insert(tree, Object::Dictionary(of_tree));
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", catalog);
    if let Some(title) = title {
        let info = document.add_object(dictionary! { "Title" => Object::string_literal(title) });
        document.trailer.set("Info", info);
    }
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_pdf_is_read_page_by_page_with_its_lines_joined() {
    let bytes = pdf(
        &[
            &[
                "Records are kept for seven",
                "years after the con-",
                "tract ends.",
            ],
            &["Holidays are paid."],
        ],
        Some("Data policy"),
        "",
    );

    let read = read("a.pdf", &bytes).unwrap();

    assert_eq!(read.title.as_deref(), Some("Data policy"));
    let pages: Vec<_> = read
        .pages
        .iter()
        .map(|page| (page.number, page.text.as_str()))
        .collect();
    assert_eq!(
        pages,
        [
            (
                Some(1),
                "Records are kept for seven years after the contract ends."
            ),
            (Some(2), "Holidays are paid.")
        ]
    );
}

#[test]
fn a_pdf_whose_form_draws_itself_is_read_all_the_same() {
    // pdf-extract would follow it until the stack overflows, which nothing can catch.
    let bytes = pdf(&[&["Records are kept."]], None, "/X1 Do");

    assert_eq!(text_of("a.pdf", &bytes).trim(), "Records are kept.");
}

#[test]
fn a_pdf_without_text_says_what_it_lacks() {
    let error = read("scan.pdf", &pdf(&[&[]], None, "")).unwrap_err();

    assert_eq!(
        error.to_string(),
        "it holds no text; a scan needs text recognition first"
    );
}

#[test]
fn broken_files_give_a_reason() {
    let deep = body(&"<w:p>".repeat(5_000));
    let broken: &[(&str, Vec<u8>)] = &[
        ("a.pdf", b"no pdf".to_vec()),
        ("a.pdf", pdf(&[&["Text"]], None, "")[..300].to_vec()),
        ("a.docx", b"no zip".to_vec()),
        ("a.docx", docx(&[("other.xml", "<a/>")])),
        (
            "a.docx",
            docx(&[("word/document.xml", "<w:p><w:t>never closed</w:p>")]),
        ),
        ("a.docx", docx(&[("word/document.xml", &deep)])),
        ("a.png", Vec::new()),
        ("README", Vec::new()),
    ];

    for (filename, bytes) in broken {
        let error = read(filename, bytes).expect_err(filename);
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn an_archive_that_unpacks_without_measure_is_refused() {
    let bytes = docx(&[("word/document.xml", &" ".repeat(128_000_001))]);

    let error = read("bomb.docx", &bytes).unwrap_err();

    assert!(bytes.len() < 1_000_000);
    assert_eq!(error.to_string(), "it unpacks to more than 128 MB");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
        let whole = [
            pdf(&[&["Records are kept."]], Some("Title"), ""),
            docx(&[("word/document.xml", &body("<w:p><w:r><w:t>Text</w:t></w:r></w:p>"))]),
            b"<html><table><tr><td>a<ul><li>b</table><p>c".to_vec(),
        ];
        for (extension, whole) in ["pdf", "docx", "html"].iter().zip(whole) {
            let mut damaged = whole;
            let from = at.index(damaged.len());
            for (old, new) in damaged.iter_mut().skip(from).zip(&bytes).take(8) {
                *old = *new;
            }
            let filename = format!("a.{extension}");
            let _ = read(&filename, &damaged);
            let _ = read(&filename, &bytes);
        }
        for extension in ["md", "txt"] {
            let filename = format!("a.{extension}");
            prop_assert!(read(&filename, &bytes).is_ok());
        }
    }
}
