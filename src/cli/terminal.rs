//! Writing to a person: data to stdout, talk to stderr, colour only where somebody sees it.

use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::Failure;

/// What matters less than the text around it.
pub(super) const DIM: Style = Style::new().dimmed();

/// What the eye should find first.
pub(super) const BOLD: Style = Style::new().bold();

/// Lines longer than this are hard to read, in characters.
const READABLE: usize = 100;

/// Told how many of how many documents were read.
pub(super) type Progress = Box<dyn FnMut(usize, usize) + Send>;

/// Writes a line of talk. A terminal that went away is no reason to stop.
pub(super) fn talk(line: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{line}");
}

/// Writes talk that only a person at a terminal wants, dimmed, as it is: without a line end of its own.
pub(super) fn murmur(text: &str) {
    if io::stderr().is_terminal() {
        let mut err = anstream::stderr().lock();
        let _ = write!(err, "{DIM}{text}{DIM:#}").and_then(|()| err.flush());
    }
}

/// Writes a line of data.
pub(super) fn data(line: &str) -> Result<(), Failure> {
    piece(&format!("{line}\n"))
}

/// Writes a piece of data, and sees to it that it is seen at once.
pub(super) fn piece(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes a JSON value: laid out for a person at a terminal, on one line for a program.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    raw(&if io::stdout().is_terminal() {
        format!("{value:#}\n").into_bytes()
    } else {
        format!("{value}\n").into_bytes()
    })
}

/// Writes bytes as they are, whatever reads them.
pub(super) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    outcome.map_err(|error| match error.kind() {
        // `groundwire … | head` has read enough.
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::running("the output cannot be written", error),
    })
}

/// How wide text for a person is set, in characters; `None` where a program reads, which wants whole lines.
pub(super) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    // Some terminals (a serial line, an editor's) do not say how wide they are.
    let columns = terminal_size::terminal_size_of(io::stdout())
        .map_or(80, |(terminal_size::Width(columns), _)| columns);
    Some(usize::from(columns).clamp(20, READABLE))
}

/// Text from elsewhere, without the characters that would command the terminal: it could move the cursor, recolour, or type.
pub(super) fn tame(text: &str) -> String {
    let harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(harmless).collect()
}

/// `text` with `indent` spaces before each line, and, given a width, with lines broken between words to fit it.
///
/// A word that is longer than a line stays whole: it is likely an address, which is copied.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(1));
    let margin = " ".repeat(indent);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut length = 0;
        for word in paragraph.split_whitespace() {
            let long = word.chars().count();
            if length > 0 && length + 1 + long > room {
                lines.push(format!("{margin}{line}"));
                line.clear();
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += long;
        }
        let margin = if line.is_empty() { "" } else { &margin };
        lines.push(format!("{margin}{line}"));
    }
    lines.join("\n")
}

/// A progress bar on a terminal, and nothing elsewhere.
pub(super) fn progress(what: &'static str) -> (Progress, ProgressBar) {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
    let bar = ProgressBar::new(0)
        .with_message(what)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let shown = bar.clone();
    let progress = move |done: usize, all: usize| {
        shown.set_length(u64::try_from(all).unwrap_or(u64::MAX));
        shown.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    };
    (Box::new(progress), bar)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_stay_whole() {
        let text = "one two three\n\nhttps://a.very/long/address end";

        assert_eq!(
            wrapped(text, 2, Some(10)),
            "  one two\n  three\n\n  https://a.very/long/address\n  end"
        );
        assert_eq!(
            wrapped(text, 2, None),
            "  one two three\n\n  https://a.very/long/address end"
        );
    }

    #[test]
    fn text_from_elsewhere_cannot_command_the_terminal() {
        assert_eq!(
            tame("a\u{1b}[31mred\u{9b}2J\r\u{7}\n\tb é"),
            "a[31mred2J\n\tb é"
        );
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_fits(text in "[a-zé]{1,8}( [a-zé]{1,8}){0,30}", width in 12..40usize) {
            let wrapped = wrapped(&text, 3, Some(width));

            prop_assert_eq!(wrapped.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= width));
        }
    }
}
