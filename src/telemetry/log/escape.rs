//! Values as parts of a line: nothing in them may end the line, or drive the terminal that shows it.
//!
//! Nearly every value is plain, and a loop without branches tells so; the others take the slow way.

use std::fmt::Write;

/// A text between quotes, as `Debug` writes it.
pub(super) fn quoted(line: &mut String, text: &str) {
    let is_plain = |byte| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if all(text, is_plain) {
        line.push('"');
        line.push_str(text);
        line.push('"');
    } else {
        // Writing to a string cannot fail.
        let _ = write!(line, "{text:?}");
    }
}

/// A text between quotes, as JSON has it.
pub(super) fn json(line: &mut String, text: &str) {
    if is_plain_in_json(text) {
        line.push('"');
        line.push_str(text);
        line.push('"');
        return;
    }
    // JSON leaves some of the control characters as they are, which terminals know too.
    let quoted = serde_json::Value::from(text).to_string();
    for c in quoted.chars() {
        if c.is_control() {
            // Writing to a string cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
}

/// What `write` adds to the line, between quotes as JSON has it.
pub(super) fn json_of(line: &mut String, write: impl FnOnce(&mut String)) {
    line.push('"');
    let began = line.len();
    write(line);
    if line.get(began..).is_some_and(is_plain_in_json) {
        line.push('"');
    } else {
        let text = line.split_off(began);
        line.pop();
        json(line, &text);
    }
}

/// What `write` adds to the line, without quotes, its control characters made visible.
///
/// A line break too: what a neighbour says must not be able to look like a line of ours.
pub(super) fn tamed(line: &mut String, write: impl FnOnce(&mut String)) {
    let began = line.len();
    write(line);
    let is_tame = |text| all(text, |byte| !begins_control(byte));
    if line.get(began..).is_none_or(is_tame) {
        return;
    }
    let text = line.split_off(began);
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '\t' => line.write_char(c),
            '\n' | '\r' => write!(line, "{}", c.escape_default()),
            c if c.is_ascii_control() => write!(line, "\\x{:02x}", u32::from(c)),
            c if c.is_control() => write!(line, "{}", c.escape_unicode()),
            c => line.write_char(c),
        };
    }
}

fn is_plain_in_json(text: &str) -> bool {
    all(text, |byte| {
        !begins_control(byte) & (byte != b'"') & (byte != b'\\')
    })
}

/// Whether a control character begins with this byte; of those beyond ASCII a few others do too.
const fn begins_control(byte: u8) -> bool {
    (byte < b' ') | (byte == 0x7f) | (byte == 0xc2)
}

/// Whether all bytes are what `is_so` says; it looks at each, because several at a time are faster than the first that is not.
fn all(text: &str, is_so: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & is_so(byte))
}
