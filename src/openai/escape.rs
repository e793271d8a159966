//! The escapes of JSON strings, read and written without a detour.

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
