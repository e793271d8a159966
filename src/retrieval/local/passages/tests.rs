//! Which passages a document is cut into.

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
    let text = format!("Note.\n\n{one}\n\nThe rules are:\n\n- first\n- second\n\n## Next\n\nTiny.");

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
            piece.len() <= GIANT_BYTES && piece.starts_with("This is") && piece.ends_with("hold."),
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
    let cut_in_two = one.split_at(one.rfind(" is long").unwrap());
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
