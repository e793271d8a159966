//! Giant paragraphs in pieces.

/// Longer paragraphs are split, in bytes: five of them have to fit into the default prompt budget.
pub(super) const GIANT_BYTES: usize = 3000;

/// What the pieces of a giant paragraph aim at, in bytes.
pub(super) const PIECE_BYTES: usize = 1500;

/// Splits a giant text into pieces near [`PIECE_BYTES`]: at line ends, else after sentences, else between words.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > GIANT_BYTES {
        let at = cut_at(rest);
        let (piece, after) = rest.split_at(at);
        pieces.push(piece.trim());
        rest = after;
    }
    pieces.push(rest.trim());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Where the first piece of `text` ends: the last good place before twice [`PIECE_BYTES`] that is not far from it.
fn cut_at(text: &str) -> usize {
    let end = floor(text, PIECE_BYTES + PIECE_BYTES / 3);
    let start = floor(text, PIECE_BYTES / 2);
    let (head, window) = (start, text.get(start..end).unwrap_or_default());
    let line = window.rfind('\n').map(|at| head + at + 1);
    let place = line
        .or_else(|| last_sentence_end(window).map(|at| head + at))
        .or_else(|| window.rfind(char::is_whitespace).map(|at| head + at));
    place
        .filter(|&at| at > 0 && text.is_char_boundary(at))
        .unwrap_or(end)
}

/// The end of the last whole sentence in `text`: a full stop, a space, and what looks like a beginning.
fn last_sentence_end(text: &str) -> Option<usize> {
    let mut last = None;
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let begins = chars
            .peek()
            .is_some_and(|&(_, next)| !next.is_lowercase() && !next.is_whitespace());
        if c.is_whitespace()
            && matches!(before, '.' | '!' | '?' | '…' | '。' | '"' | '”' | '»')
            && begins
        {
            last = Some(at);
        } else if matches!(c, '。' | '！' | '？') {
            last = Some(at + c.len_utf8());
        }
        before = c;
    }
    last
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
