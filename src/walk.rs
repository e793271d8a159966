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
    Walk { text, at: 0 }.fields(names)
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

/// What a string says that is written without an escape; `None` when `text` is something else or a string with one.
pub(crate) fn plain(text: &[u8]) -> Option<&str> {
    let inside = text.strip_prefix(b"\"")?;
    let end = quote_or_backslash(inside)?;
    if inside.get(end) != Some(&b'"') {
        return None;
    }
    std::str::from_utf8(inside.get(..end)?).ok()
}

/// The inside of a string; `None` when `text` is something else.
pub(crate) fn inside(text: &[u8]) -> Option<&str> {
    let inside = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(inside).ok()
}

/// Which of `names` is the key that is written like this. Most objects say them in one order, so that the one `expected` is looked at first.
fn place_of(
    written: &[u8],
    names: &[&str],
    expected: usize,
) -> Result<Option<usize>, serde_json::Error> {
    let is = |name: &&str, key: &[u8]| name.as_bytes() == key;
    if names.get(expected).is_some_and(|name| is(name, written)) {
        return Ok(Some(expected));
    }
    let place = names.iter().position(|name| is(name, written));
    if place.is_some() {
        return Ok(place);
    }
    Ok(match key(written)? {
        Cow::Borrowed(_) => None,
        Cow::Owned(key) => names.iter().position(|name| is(name, &key)),
    })
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
        walk.enter(opening).then_some(walk)
    }

    /// Steps into the value that is next when it begins with `opening`; says whether it does.
    pub(crate) fn enter(&mut self, opening: u8) -> bool {
        self.skip(is_blank);
        let is_there = self.byte() == Some(opening);
        self.at += usize::from(is_there);
        is_there
    }

    /// Steps out of what was entered, when none of its parts is left.
    pub(crate) fn leave(&mut self) {
        self.at += 1;
    }

    /// Where it stands: behind the opening bracket, or behind the part before.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next field of an object.
    pub(crate) fn entry(&mut self) -> Option<Entry> {
        let key = self.key()?;
        let value = self.value();
        Some(Entry { key, value })
    }

    /// The key of the next field of an object; its value is next.
    pub(crate) fn key(&mut self) -> Option<Range<usize>> {
        self.skip(is_between);
        let begin = self.at + 1;
        if self.byte() != Some(b'"') {
            return None;
        }
        self.skip_string();
        let key = begin..self.at.saturating_sub(1);
        self.skip(|byte| is_blank(byte) || byte == b':');
        Some(key)
    }

    /// The next item of an array.
    pub(crate) fn item(&mut self) -> Option<Range<usize>> {
        self.has_item().then(|| self.value())
    }

    /// Whether an array has another item, which is next then.
    pub(crate) fn has_item(&mut self) -> bool {
        self.skip(is_between);
        !matches!(self.byte(), None | Some(b']' | b'}'))
    }

    /// Walks over the value that is next, as [`fields`] does over a whole text.
    pub(crate) fn fields<const N: usize>(
        &mut self,
        names: [&str; N],
    ) -> Option<[Option<&'a [u8]>; N]> {
        let mut found = [None; N];
        let is_clear = self.each_of(names, |place, _, walk| {
            if let Some(found) = found.get_mut(place) {
                *found = walk.value_text();
            }
        });
        is_clear.then_some(found)
    }

    /// Walks over the value that is next, an object, and has `read` walk over the values of the fields with these names, told by their places
    /// in the list and the names; the first of those that stand twice. Says whether it is an object in which none of them does, and whose keys
    /// can be read.
    pub(crate) fn each_of<'n, const N: usize>(
        &mut self,
        names: [&'n str; N],
        mut read: impl FnMut(usize, &'n str, &mut Self),
    ) -> bool {
        if !self.enter(b'{') {
            self.value();
            return false;
        }
        let (mut seen, mut is_clear, mut expected) = ([false; N], true, 0);
        while let Some(written) = self.key() {
            let written = self.text.get(written).unwrap_or_default();
            let place = place_of(written, &names, expected);
            is_clear &= place.is_ok();
            let known = place.ok().flatten().and_then(|place| {
                let (name, seen) = (names.get(place)?, seen.get_mut(place)?);
                Some((place, *name, std::mem::replace(seen, true)))
            });
            match known {
                Some((place, name, false)) => {
                    expected = place + 1;
                    read(place, name, self);
                }
                twice_or_unknown => {
                    is_clear &= twice_or_unknown.is_none();
                    self.value();
                }
            }
        }
        self.leave();
        is_clear
    }

    /// Walks over the value that is next.
    pub(crate) fn value(&mut self) -> Range<usize> {
        let begin = self.at;
        match self.byte() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.skip_nested(),
            _ => self.skip(|byte| !is_between(byte) && !matches!(byte, b']' | b'}')),
        }
        begin..self.at
    }

    /// Walks over the value that is next, and gives it.
    pub(crate) fn value_text(&mut self) -> Option<&'a [u8]> {
        let value = self.value();
        self.text.get(value)
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
            let Some(end) = quote_or_backslash(rest) else {
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

/// Where the first quote or backslash is.
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    // Most strings are short keys, over before a search with wide instructions has begun.
    let mut steps = text.chunks_exact(STEP).take(2);
    let in_step = |step: &[u8]| {
        let word = u64::from_le_bytes(step.try_into().ok()?);
        let marks = bytes_that_are(b'"', word) | bytes_that_are(b'\\', word);
        (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
    };
    let near = (0..)
        .zip(steps.by_ref())
        .find_map(|(count, step)| Some(count * STEP + in_step(step)?));
    near.or_else(|| memchr2(b'"', b'\\', text))
}

/// The bytes of a word.
const STEP: usize = 8;

/// The highest bit of each byte of `word` that is `byte`; above the first of them there may be false ones.
fn bytes_that_are(byte: u8, word: u64) -> u64 {
    const LOWEST: u64 = u64::from_le_bytes([0x01; STEP]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; STEP]);
    let zeros = word ^ (LOWEST * u64::from(byte));
    zeros.wrapping_sub(LOWEST) & !zeros & HIGHEST
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

    /// Reads the value that is next, part by part.
    fn entered(walk: &mut Walk<'_>) -> Value {
        if walk.enter(b'{') {
            let mut fields = serde_json::Map::new();
            while let Some(written) = walk.key() {
                let key = key(&walk.text[written]).unwrap().into_owned();
                fields.insert(String::from_utf8(key).unwrap(), entered(walk));
            }
            walk.leave();
            return Value::Object(fields);
        }
        if walk.enter(b'[') {
            let mut items = Vec::new();
            while walk.has_item() {
                items.push(entered(walk));
            }
            walk.leave();
            return Value::Array(items);
        }
        serde_json::from_slice(&walk.text[walk.value()]).unwrap()
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
        fn a_walk_into_everything_finds_what_a_parser_reads(value in value(), spaced in any::<bool>()) {
            let text = if spaced {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                serde_json::to_string(&value).unwrap()
            };
            let mut walk = Walk { text: text.as_bytes(), at: 0 };
            prop_assert_eq!(entered(&mut walk), value);
            prop_assert_eq!(walk.at(), text.len());
        }

        #[test]
        fn strings_end_where_their_quote_is(text in r#"[a-z"\\é]{0,3}[a-zé]{0,40}["\\]?[a-z"\\]{0,9}"#) {
            let first = text.find(['"', '\\']);
            prop_assert_eq!(quote_or_backslash(text.as_bytes()), first);
        }

        #[test]
        fn a_plain_string_is_what_a_parser_reads(text in r#"[a-z]{0,20}["\\é\n]?[a-z"]{0,20}"#) {
            let written = Value::from(text.as_str()).to_string();
            let is_plain = written.len() == text.len() + 2;
            prop_assert_eq!(plain(written.as_bytes()), is_plain.then_some(&*text));
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
