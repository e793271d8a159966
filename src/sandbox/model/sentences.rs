//! Passages cut into sentences, by rules that know abbreviations, initials, decimals, lists, tables and headings.

/// A sentence longer than this is cut at a clause or a word: text without full stops must not come out as one endless sentence.
const SENTENCE_CHARS: usize = 700;

/// A title over a paragraph of plain text is not longer.
const TITLE_CHARS: usize = 60;

/// Words that a full stop shortens rather than ends a sentence after, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "al", "approx", "ave", "blvd", "bros", "ca", "capt", "cf", "co", "comdr", "corp", "dept", "dr",
    "ed", "eds", "env", "esp", "etc", "ft", "gen", "gov", "hon", "inc", "jr", "lt", "ltd", "mlle",
    "mm", "mme", "mr", "mrs", "ms", "mt", "prof", "ref", "rep", "rev", "sen", "sgt", "sr", "st",
    "ste", "tel", "tél", "univ", "viz", "vs",
];

/// Words that are shortened like that only before a number (`no. 5`, `Jan. 5`).
const BEFORE_NUMBERS: &[&str] = &[
    "apr", "art", "aug", "chap", "col", "dec", "feb", "fig", "figs", "jan", "jul", "jun", "mar",
    "max", "min", "no", "nos", "nov", "oct", "op", "p", "pp", "sec", "sect", "sep", "sept", "vol",
    "vols",
];

/// A passage as it is read: what stands over it, and its sentences in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sentences {
    /// The words of its headings.
    pub(super) headings: Vec<String>,
    /// Its sentences, white space evened out, list marks taken off.
    pub(super) sentences: Vec<String>,
}

/// Cuts `text`, plain or Markdown, into headings and sentences.
pub(super) fn read(text: &str) -> Sentences {
    let mut read = Sentences::default();
    let mut block = String::new();
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        let title = (block.is_empty() && is_title(line, next)).then_some(line);
        if let Some(heading) = heading(line).or(title) {
            finish(&mut block, &mut read.sentences);
            read.headings.push(heading.to_owned());
        } else if line.is_empty() || is_ruler(line) {
            finish(&mut block, &mut read.sentences);
        } else if let Some(row) = line.strip_prefix('|') {
            finish(&mut block, &mut read.sentences);
            read.sentences.push(cells(row));
        } else if let Some(item) = list_item(line) {
            finish(&mut block, &mut read.sentences);
            block.push_str(item);
        } else {
            if !block.is_empty() {
                block.push(' ');
            }
            block.push_str(line);
        }
    }
    finish(&mut block, &mut read.sentences);
    read
}

fn finish(block: &mut String, sentences: &mut Vec<String>) {
    let text = std::mem::take(block)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (sentence, after) = rest.split_at(first_end(rest));
        push_bounded(sentence.trim(), sentences);
        rest = after.trim_start();
    }
}

/// Where the first sentence of `text` ends, in bytes.
fn first_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if matches!(c, '。' | '！' | '？') {
            return at + c.len_utf8();
        }
        if !matches!(c, '.' | '!' | '?' | '…') {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some(&(next, closing)) = chars.peek() {
            if !matches!(
                closing,
                '.' | '!' | '?' | '…' | '"' | '\'' | '”' | '’' | '»' | ')' | ']'
            ) {
                break;
            }
            end = next + closing.len_utf8();
            chars.next();
        }
        let bare = c == '.' && end == at + 1;
        end += notes(text.get(end..).unwrap_or_default());
        let after = text.get(end..).unwrap_or_default();
        let stop = if bare { Stop::Bare } else { Stop::Strong };
        if ends_here(text.get(..at).unwrap_or_default(), stop, after) {
            return end;
        }
    }
    text.len()
}

/// The length of the notes right behind a sentence (`[3][12]`), in bytes.
fn notes(text: &str) -> usize {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('[') {
        let digits = inner.trim_start_matches(|c: char| c.is_ascii_digit());
        match digits.strip_prefix(']') {
            Some(after) if digits.len() < inner.len() => rest = after,
            _ => break,
        }
    }
    text.len() - rest.len()
}

/// How plainly a mark ends a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// A single full stop, which abbreviations have too.
    Bare,
    /// Anything else: `!`, `?`, `...`, a full stop before a closing quote.
    Strong,
}

fn ends_here(before: &str, stop: Stop, after: &str) -> bool {
    let Some(next) = after.trim_start().chars().next() else {
        return true;
    };
    // French sets a space before `!` and `?` too, and `3.5` or `example.com` has none behind the full stop.
    if !after.starts_with(char::is_whitespace) || next.is_lowercase() {
        return false;
    }
    stop == Stop::Strong || !is_abbreviation(before, next)
}

fn is_abbreviation(before: &str, next: char) -> bool {
    let word = before
        .rsplit(|c: char| !(c.is_alphanumeric() || c == '.'))
        .next()
        .unwrap_or_default();
    let letters = word.chars().filter(|&c| c != '.').count();
    let initial = letters == 1 && word.chars().all(char::is_uppercase);
    let dotted = word.contains('.')
        && word
            .split('.')
            .all(|part| part.chars().count() <= 1 && part.chars().all(char::is_alphabetic));
    let word = word.to_lowercase();
    initial
        || dotted
        || ABBREVIATIONS.contains(&word.as_str())
        || (next.is_numeric() && BEFORE_NUMBERS.contains(&word.as_str()))
}

fn push_bounded(sentence: &str, sentences: &mut Vec<String>) {
    let mut rest = sentence;
    while let Some((limit, _)) = rest.char_indices().nth(SENTENCE_CHARS) {
        let head = rest.get(..limit).unwrap_or_default();
        let cut = head
            .rfind("; ")
            .or_else(|| head.rfind(", "))
            .map(|at| at + 1)
            .or_else(|| head.rfind(' '))
            .unwrap_or(limit);
        let (piece, after) = rest.split_at(cut);
        sentences.push(piece.trim().to_owned());
        rest = after.trim_start();
    }
    if rest.chars().any(char::is_alphanumeric) {
        sentences.push(rest.to_owned());
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let marks = line.len() - text.len();
    ((1..=6).contains(&marks) && text.starts_with(' '))
        .then(|| text.trim().trim_end_matches('#').trim_end())
}

/// Whether `line` is the title of the paragraph that `next` begins, as plain text has them: a few words without an end, over a long line.
fn is_title(line: &str, next: &str) -> bool {
    line.chars().count() <= TITLE_CHARS
        && line.ends_with(char::is_alphanumeric)
        && line.starts_with(char::is_uppercase)
        && next.starts_with(char::is_uppercase)
        && next.len() > 2 * line.len()
}

/// Rulers of Markdown and the line under a table's head: nothing to read.
fn is_ruler(line: &str) -> bool {
    line.len() >= 3
        && line
            .chars()
            .all(|c| matches!(c, '-' | '=' | '*' | '_' | '|' | ':' | ' '))
}

fn cells(row: &str) -> String {
    row.split('|')
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect::<Vec<_>>()
        .join(" | ")
}

fn list_item(line: &str) -> Option<&str> {
    let bulleted = ["- ", "* ", "+ ", "• ", "– "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark));
    if let Some(item) = bulleted {
        return Some(
            item.strip_prefix("[ ] ")
                .or_else(|| item.strip_prefix("[x] "))
                .unwrap_or(item),
        );
    }
    let text = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - text.len();
    let item = text
        .strip_prefix(". ")
        .or_else(|| text.strip_prefix(") "))?;
    (1..=3).contains(&digits).then_some(item)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str) -> Vec<String> {
        read(text).sentences
    }

    #[test]
    fn a_full_stop_that_shortens_a_word_ends_no_sentence() {
        for whole in [
            "Dr. Smith met J. R. R. Tolkien in the U.S. Senate on Jan. 5 for approx. 3.5 hours.",
            "It costs 7.50 euros at example.com and no. 4 is cheaper.",
            "They asked \"Why now?\" and left.",
            "M. Dupont et Mme. Martin signent l'art. 5 du contrat.",
        ] {
            assert_eq!(cut(whole), [whole]);
        }
    }

    #[test]
    fn sentences_end_where_a_reader_would_end_them() {
        assert_eq!(
            cut("It rained. \"Go home!\" She did... Then (finally.) Sun\ncame out in 1999. Fin ?"),
            [
                "It rained.",
                "\"Go home!\"",
                "She did...",
                "Then (finally.)",
                "Sun came out in 1999.",
                "Fin ?"
            ]
        );
        assert_eq!(
            cut("保存期間は五年です。例外はない。"),
            ["保存期間は五年です。", "例外はない。"]
        );
    }

    #[test]
    fn notes_belong_to_the_sentence_before_them() {
        assert_eq!(
            cut("It rained.[3][12] It stopped. [4] It snowed."),
            ["It rained.[3][12]", "It stopped.", "[4] It snowed."]
        );
    }

    #[test]
    fn markdown_gives_headings_items_and_rows() {
        let read = read(
            "# Leave\n\n## Days off\nEveryone has 25 days.\n- Ask your\n  manager\n2. Book them\n\n| Grade | Days |\n|---|---|\n| A | 28 |\n---\n",
        );

        assert_eq!(read.headings, ["Leave", "Days off"]);
        assert_eq!(
            read.sentences,
            [
                "Everyone has 25 days.",
                "Ask your manager",
                "Book them",
                "Grade | Days",
                "A | 28"
            ]
        );
    }

    #[test]
    fn a_title_over_plain_text_is_a_heading_and_a_wrapped_line_is_not() {
        let titled = read("Hotels\nThe limit for a night is 140 euros.");
        let wrapped = read("The limit in France and\nItaly is 140 euros.");

        assert_eq!(
            (titled.headings, titled.sentences),
            (
                vec!["Hotels".to_owned()],
                vec!["The limit for a night is 140 euros.".to_owned()]
            )
        );
        assert_eq!(
            wrapped.sentences,
            ["The limit in France and Italy is 140 euros."]
        );
    }

    #[test]
    fn text_without_full_stops_is_cut_at_words() {
        let sentences = cut(&"lorem ipsum ".repeat(300));

        assert!(sentences.len() > 4);
        assert!(
            sentences
                .iter()
                .all(|sentence| sentence.chars().count() <= SENTENCE_CHARS
                    && !sentence.starts_with("psum"))
        );
    }

    proptest! {
        #[test]
        fn no_word_is_lost_or_made_up(text in "[a-zA-Z0-9 .!?;,\"()é。\n]{0,400}") {
            let letters = |text: &str| {
                let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
                letters.sort_unstable();
                letters
            };
            let Sentences { headings, sentences } = read(&text);

            prop_assert_eq!(letters(&(headings.concat() + &sentences.concat())), letters(&text));
        }

        #[test]
        fn any_text_can_be_read(text in "\\PC{0,300}") {
            read(&text);
        }
    }
}
