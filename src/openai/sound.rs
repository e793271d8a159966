//! What the grammar of JSON allows and readers disagree on: halves of characters, and values too deep for many a parser.
//!
//! The gateway passes on what it does not read. A text that it takes for one thing and an upstream for another, or that ends the upstream's
//! parser, is refused here.

use memchr::{memchr2, memchr2_iter, memmem};

use super::{
    chat::Invalid,
    json::{Json, Object},
};

/// How deep values may stand in each other: as deep as the least patient parsers in use go.
const DEPTH: usize = 128;

/// Checks a text that is known to be JSON.
pub(super) fn check(json: &[u8]) -> Result<(), Invalid> {
    // Most requests hold fewer brackets than that and no such escape, which is found out faster than the text is read.
    let may_be_deep = memchr2_iter(b'[', b'{', json).nth(DEPTH).is_some();
    let may_be_half = memmem::find_iter(json, b"\\u").any(|at| {
        let next = json.get(at + 2..at + 4);
        matches!(
            next,
            Some([b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F'])
        )
    });
    if !may_be_deep && !may_be_half {
        return Ok(());
    }
    let mut depth = 0_usize;
    let mut rest = json;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH {
                    let why = format!("it is nested deeper than {DEPTH} levels");
                    return Err(Invalid::Json(why));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => rest = behind_text(rest)?,
            _ => {}
        }
    }
    Ok(())
}

/// A key that stands twice in an object, however deep in `json`.
pub(super) fn repeated_key(json: &Json) -> Option<String> {
    if let Some(object) = Object::parse(json) {
        let here = object.duplicate_key().map(str::to_owned);
        return here.or_else(|| object.entries().find_map(|(_, value)| repeated_key(value)));
    }
    json.items()?.iter().find_map(repeated_key)
}

/// What follows a text whose quote was read.
fn behind_text(mut rest: &[u8]) -> Result<&[u8], Invalid> {
    loop {
        let Some(at) = memchr2(b'"', b'\\', rest) else {
            return Ok(&[]);
        };
        match rest.get(at..).unwrap_or_default() {
            [b'\\', b'u', escape @ ..] => {
                rest = escape.get(4..).unwrap_or_default();
                match unit(escape) {
                    0xd800..=0xdbff => match rest {
                        [b'\\', b'u', low @ ..] if (0xdc00..=0xdfff).contains(&unit(low)) => {
                            rest = low.get(4..).unwrap_or_default();
                        }
                        _ => return Err(half(escape)),
                    },
                    0xdc00..=0xdfff => return Err(half(escape)),
                    _ => {}
                }
            }
            [b'\\', _, after @ ..] => rest = after,
            [_, after @ ..] => return Ok(after),
            [] => return Ok(&[]),
        }
    }
}

/// The four hexadecimal digits at the beginning.
fn unit(escape: &[u8]) -> u32 {
    let digits = escape
        .get(..4)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

fn half(escape: &[u8]) -> Invalid {
    let unit = unit(escape);
    Invalid::Json(format!(
        "`\\u{unit:04x}` is half of a surrogate pair, which is no character"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Option<String> {
        check(json.as_bytes()).err().map(|fault| fault.to_string())
    }

    #[test]
    fn half_a_pair_is_no_character_wherever_it_stands() {
        for text in [
            r#""\ud800""#,
            r#""\uDFFF""#,
            r#"{"a":["x\udc00y"]}"#,
            r#""\ud83d\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\n""#,
            r#""\\\ud83d""#,
            r#"{"\ud800":1}"#,
        ] {
            let told = fault(text).unwrap_or_default();
            assert!(told.contains("half of a surrogate pair"), "{text}: {told}");
        }
    }

    #[test]
    fn whole_pairs_and_what_only_looks_like_halves_pass() {
        for text in [
            r#""\ud83e\udd80""#,
            r#""\uD83E\uDD80\ud83e\udd80""#,
            r#""\\ud800""#,
            r#""\\\\ud800 \" \ud83e\udd80""#,
            r#""\u00e9\u0000""#,
            "\"🦀\"",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_found_at_any_depth() {
        let repeated = |text: &'static str| repeated_key(&Json::parse(text.into()).unwrap());
        assert_eq!(repeated(r#"{"a":[{"b":{"c":1,"c":2}}]}"#), Some("c".into()));
        assert_eq!(repeated(r#"{"a":{"b":1},"c":{"b":2},"d":["b","b"]}"#), None);
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(fault(&nest(DEPTH)), None);
        assert!(fault(&nest(DEPTH + 1)).is_some());
        let brackets = format!("{{\"a\":\"{}\",\"b\":[1]}}", "[{\\\"".repeat(1000));
        assert_eq!(fault(&brackets), None);
        let wide = format!("[{}1]", "[1],".repeat(1000));
        assert_eq!(fault(&wide), None);
    }
}
