//! Where the parts of a JSON text begin and end.
//!
//! The text is known to be JSON, so nothing is checked a second time: it is only walked over, strings by the search for their ends. Over
//! anything else a walk gives nonsense, but ends.

use std::{borrow::Cow, ops::Range};

use memchr::memchr2;

/// A walk from part to part of an object or an array.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

/// A field of an object.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its key as it is written, without the quotes.
    pub(crate) key: Range<usize>,
    /// Its value.
    pub(crate) value: Range<usize>,
}

/// The values of the fields of an object that have these names; `None` when `text` is no object, when one of them stands twice, or when a key
/// cannot be read.
pub(crate) fn fields<'a, const N: usize>(
    text: &'a [u8],
    names: [&str; N],
) -> Option<[Option<&'a [u8]>; N]> {
    let mut found = [None; N];
    let mut walk = Walk::object(text)?;
    while let Some(entry) = walk.entry() {
        let key = key(text.get(entry.key)?).ok()?;
        let Some(place) = names.iter().position(|name| name.as_bytes() == &*key) else {
            continue;
        };
        let found = found.get_mut(place)?;
        if found.replace(text.get(entry.value)?).is_some() {
            return None;
        }
    }
    Some(found)
}

/// What a key means that is written like this.
pub(crate) fn key(written: &[u8]) -> Result<Cow<'_, [u8]>, serde_json::Error> {
    if !written.contains(&b'\\') {
        return Ok(Cow::Borrowed(written));
    }
    let quoted = [b"\"", written, b"\""].concat();
    let key: String = serde_json::from_slice(&quoted)?;
    Ok(Cow::Owned(key.into_bytes()))
}

/// The inside of a string; `None` when `text` is something else.
pub(crate) fn inside(text: &[u8]) -> Option<&str> {
    let inside = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(inside).ok()
}

impl<'a> Walk<'a> {
    /// Steps into an object; `None` when `text` is something else.
    pub(crate) fn object(text: &'a [u8]) -> Option<Self> {
        Self::into(text, b'{')
    }

    /// Steps into an array; `None` when `text` is something else.
    pub(crate) fn array(text: &'a [u8]) -> Option<Self> {
        Self::into(text, b'[')
    }

    fn into(text: &'a [u8], opening: u8) -> Option<Self> {
        let mut walk = Self { text, at: 0 };
        walk.skip(is_blank);
        let is_there = walk.byte() == Some(opening);
        walk.at += 1;
        is_there.then_some(walk)
    }

    /// Where it stands: behind the opening bracket, or behind the part before.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next field of an object.
    pub(crate) fn entry(&mut self) -> Option<Entry> {
        self.skip(is_between);
        let begin = self.at + 1;
        if self.byte() != Some(b'"') {
            return None;
        }
        self.skip_string();
        let key = begin..self.at.saturating_sub(1);
        self.skip(|byte| is_blank(byte) || byte == b':');
        let value = self.value();
        Some(Entry { key, value })
    }

    /// The next item of an array.
    pub(crate) fn item(&mut self) -> Option<Range<usize>> {
        self.skip(is_between);
        match self.byte() {
            None | Some(b']' | b'}') => None,
            Some(_) => Some(self.value()),
        }
    }

    fn value(&mut self) -> Range<usize> {
        let begin = self.at;
        match self.byte() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.skip_nested(),
            _ => self.skip(|byte| !is_between(byte) && !matches!(byte, b']' | b'}')),
        }
        begin..self.at
    }

    fn skip_nested(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips a string whose opening quote is next.
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(rest) = self.text.get(self.at..) {
            let Some(end) = memchr2(b'"', b'\\', rest) else {
                break;
            };
            self.at += end + 1;
            if rest.get(end) == Some(&b'"') {
                return;
            }
            // Whatever is escaped, a quote or a backslash among it, ends nothing.
            self.at += 1;
        }
        self.at = self.text.len();
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        while self.byte().is_some_and(&is_skipped) {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_between(byte: u8) -> bool {
    is_blank(byte) || byte == b','
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn fields_are_found_by_what_their_keys_mean() {
        let text = br#" { "role" : "user", "c\u006fntent":["\"}",{"role":1}] , "x":-1.5e3} "#;
        let found = fields(text, ["content", "role", "name"]);
        let expected: [Option<&[u8]>; 3] =
            [Some(br#"["\"}",{"role":1}]"#), Some(br#""user""#), None];
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_field_that_stands_twice_is_not_chosen() {
        assert_eq!(fields(br#"{"a":1,"\u0061":2}"#, ["a"]), None);
        assert_eq!(fields(br#"["a"]"#, ["a"]), None);
        assert_eq!(
            fields(br#"{"a":1,"b":1,"b":2}"#, ["a"]),
            Some([Some(&b"1"[..])])
        );
    }

    /// Values within each other, with strings that hold what means something outside of them.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            r#"[\[\]{}:,"\\ a\né]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((r#"[a-c"\\:}]{0,3}"#, inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_a_parser_reads(value in value(), spaced in any::<bool>()) {
            let text = if spaced {
                serde_json::to_vec_pretty(&value).unwrap()
            } else {
                serde_json::to_vec(&value).unwrap()
            };
            let read = |range: Range<usize>| serde_json::from_slice::<Value>(&text[range]).unwrap();

            if let Some(mut walk) = Walk::object(&text) {
                let mut fields = serde_json::Map::new();
                while let Some(entry) = walk.entry() {
                    let key = key(&text[entry.key]).unwrap().into_owned();
                    fields.insert(String::from_utf8(key).unwrap(), read(entry.value));
                }
                prop_assert_eq!(Value::Object(fields), value);
            } else if let Some(mut walk) = Walk::array(&text) {
                let items: Vec<Value> = std::iter::from_fn(|| walk.item()).map(read).collect();
                prop_assert_eq!(Value::Array(items), value);
            } else {
                prop_assert!(!value.is_object() && !value.is_array());
            }
        }

        #[test]
        fn a_walk_over_anything_ends(text in r#"[\[\]{}:,"\\ a1]{0,40}"#) {
            let text = text.as_bytes();
            let parts = Walk::object(text).map_or(0, |mut walk| std::iter::from_fn(|| walk.entry()).count());
            let items = Walk::array(text).map_or(0, |mut walk| std::iter::from_fn(|| walk.item()).count());
            prop_assert!(parts + items <= text.len());
        }
    }
}
