//! The escapes of JSON strings, read and written without a detour.

use std::borrow::Cow;

use memchr::memchr;

/// The character that an escape stands for, and how many bytes of `escape`, which follows a backslash, it takes. What JSON does not know, half
/// of a surrogate pair among it, is the replacement character.
pub fn character(escape: &str) -> Option<(char, usize)> {
    let simple = match escape.as_bytes().first() {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return Some(by_number(escape)),
        Some(_) => char::REPLACEMENT_CHARACTER,
        None => return None,
    };
    Some((simple, 1))
}

/// How many bytes of `escape`, which follows a backslash, it takes; `None` where it is half of a surrogate pair, or none that JSON knows.
pub fn length(escape: &[u8]) -> Option<usize> {
    match escape {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(1),
        [b'u', digits @ ..] => {
            let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
            let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let unit = u32::from_str_radix(digits, 16).ok()?;
            (is_hexadecimal && char::from_u32(unit).is_some()).then_some(5)
        }
        _ => None,
    }
}

/// What the inside of a JSON string says.
pub fn read(inside: &str) -> Cow<'_, str> {
    let Some(first) = memchr(b'\\', inside.as_bytes()) else {
        return Cow::Borrowed(inside);
    };
    let mut text = String::with_capacity(inside.len());
    let (mut rest, mut next) = (inside, Some(first));
    while let Some(at) = next {
        text.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some((character, length)) = character(rest) {
            text.push(character);
            rest = rest.get(length..).unwrap_or_default();
        }
        next = memchr(b'\\', rest.as_bytes());
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// A character that is written as `u` and four digits, or as two of those with a backslash between where it is beyond U+FFFF.
fn by_number(escape: &str) -> (char, usize) {
    let unit = |from: usize| {
        let digits = escape.get(from..from + 4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(high) = unit(1) else {
        return (char::REPLACEMENT_CHARACTER, 1);
    };
    let low = escape
        .get(5..7)
        .filter(|next| *next == "\\u")
        .and_then(|_| unit(7));
    match (char::from_u32(high.into()), low) {
        (Some(character), _) => (character, 5),
        (None, Some(low)) => match char::decode_utf16([high, low]).next() {
            Some(Ok(character)) => (character, 11),
            _ => (char::REPLACEMENT_CHARACTER, 5),
        },
        (None, None) => (char::REPLACEMENT_CHARACTER, 5),
    }
}

/// Writes `text` as a JSON string.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_inside(text, out);
    out.push(b'"');
}

/// Writes `text` as the inside of a JSON string.
pub fn write_inside(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len());
    let mut rest = text.as_bytes();
    while let Some((plain, [byte, after @ ..])) = rest.split_at_checked(plain(rest)) {
        out.extend_from_slice(plain);
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x8 => out.extend_from_slice(b"\\b"),
            0xc => out.extend_from_slice(b"\\f"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// How many bytes at the beginning of `text` stand for themselves.
fn plain(text: &[u8]) -> usize {
    let far = plain_steps::<32>(text);
    let near = far + plain_steps::<8>(text.get(far..).unwrap_or_default());
    let rest = text.iter().skip(near);
    near + rest.take_while(|byte| is_plain(**byte)).count()
}

/// The same in steps of so many bytes, each looked at without a branch for each byte, so that the compiler takes wide instructions.
fn plain_steps<const STEP: usize>(text: &[u8]) -> usize {
    let (steps, _) = text.as_chunks::<STEP>();
    let all_plain = |step: &&[u8; STEP]| step.iter().fold(true, |all, byte| all & is_plain(*byte));
    STEP * steps.iter().take_while(all_plain).count()
}

fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_written_as_a_serializer_writes_them(text in "(?s)([a-zé日\"\\\\\u{0}-\u{1f}\u{7f}]|[a-z ]{30,70}){0,8}") {
            let mut written = Vec::new();
            write(&text, &mut written);
            let written = String::from_utf8(written).unwrap();
            prop_assert_eq!(&written, &serde_json::to_string(&text).unwrap());
            prop_assert_eq!(read(&written[1..written.len() - 1]), text);
        }

        #[test]
        fn escapes_are_as_long_as_a_parser_takes_them(escape in r#"[u"\/bfnrtx+0][0-9a-fA-FdD"+]{4}"#) {
            let parse = |escape: &str| serde_json::from_str::<String>(&format!("\"\\{escape}\""));
            match length(escape.as_bytes()) {
                Some(length) => prop_assert_eq!(parse(&escape[..length]).unwrap().chars().count(), 1),
                None => prop_assert!(parse(&escape).is_err()),
            }
        }
    }
}
