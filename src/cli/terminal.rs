//! Writing to a person: data to stdout, talk to stderr, colour only where somebody sees it.

use std::io::Write;

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
