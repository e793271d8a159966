//! Writing to a person: data to stdout, talk to stderr, colour only where somebody sees it.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};

/// Told how many of how many documents were read.
pub(super) type Progress = Box<dyn FnMut(usize, usize) + Send>;

/// Writes a line of talk. A terminal that went away is no reason to stop.
pub(super) fn talk(line: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{line}");
}

/// Writes a line of data. A reader that went away is no reason to stop.
pub(super) fn data(line: &str) {
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "{line}");
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
