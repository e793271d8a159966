//! JSON kept as it was written: a checked text, and an object whose fields are such texts.
//!
//! A gateway that parses a number and prints it again changes it (`1.10e+2`, integers beyond 64 bits). So only what is read is parsed, a
//! change replaces one text, and everything else goes out to the last byte as it came in.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use bytes::Bytes;
use serde::{
    Deserialize, Serialize,
    de::{Error, IgnoredAny, Unexpected},
};

use super::escape;
use crate::walk::{self, Walk};

/// One JSON text, known to be valid; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Takes `bytes` when they hold exactly one JSON text.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes what was written as one JSON text.
    pub(super) fn written(text: Vec<u8>) -> Self {
        Self(text.into())
    }

    /// Writes `text` as a JSON string.
    pub fn string(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + text.len() / 16 + 2);
        escape::write(text, &mut out);
        Self(out.into())
    }

    /// Writes `value` as JSON. A value that JSON cannot hold (a map with keys that are no strings) becomes `null`.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(serde_json::to_vec(value).map_or_else(|_| Bytes::from_static(b"null"), Bytes::from))
    }

    /// A JSON array of `items`, each as it was written.
    pub fn array<'a>(items: impl IntoIterator<Item = &'a Json>) -> Self {
        let mut out = vec![b'['];
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&item.0);
        }
        out.push(b']');
        Self(out.into())
    }

    /// Reads the text as a `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The items of an array, each as it was written; `None` when the text is no array.
    pub fn items(&self) -> Option<Vec<Json>> {
        let mut walk = Walk::array(&self.0)?;
        let mut items = Vec::new();
        while let Some(item) = walk.item() {
            items.push(Json(part(&self.0, item)));
        }
        Some(items)
    }

    /// The text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text, alone.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Whether the text is `null`.
    pub fn is_null(&self) -> bool {
        &self.0[..] == b"null"
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// A JSON object: its fields in order, each value as it was written, and every byte between them.
#[derive(Clone, Debug)]
pub struct Object {
    source: Bytes,
    fields: Vec<Field>,
    /// Where in the source the first entry begins, and where the last one ends.
    inside: Range<usize>,
    changed: bool,
}

/// How many fields are compared with each other to find one that stands twice; a set of them costs more until there are many.
const FEW: usize = 16;

#[derive(Clone, Debug)]
struct Field {
    /// What it means, with no escape.
    key: Bytes,
    value: Json,
    /// Where the entry begins in the source (after the value before it) and where its own value does. `None`: it was added.
    span: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    gap: usize,
    value: usize,
}

impl Object {
    /// Reads an object; `None` when the text is valid JSON but no object.
    pub fn parse(json: &Json) -> Option<Self> {
        Self::walked(json.bytes().clone()).ok()
    }

    /// Reads an object from bytes that may hold anything.
    pub fn read(source: Bytes) -> Result<Self, serde_json::Error> {
        check(&source)?;
        Self::walked(source)
    }

    /// Finds the fields of a text that is known to be JSON.
    fn walked(source: Bytes) -> Result<Self, serde_json::Error> {
        let mut walk = Walk::object(&source).ok_or_else(|| {
            serde_json::Error::invalid_type(Unexpected::Other("another value"), &"a JSON object")
        })?;
        let mut fields = Vec::with_capacity(8);
        let start = walk.at();
        let mut gap = start;
        while let Some(entry) = walk.entry() {
            let key = match walk::key(source.get(entry.key).unwrap_or_default())? {
                Cow::Borrowed(key) => source.slice_ref(key),
                Cow::Owned(key) => key.into(),
            };
            let span = Some(Span {
                gap,
                value: entry.value.start,
            });
            gap = entry.value.end;
            let value = Json(part(&source, entry.value));
            fields.push(Field { key, value, span });
        }
        Ok(Self {
            source,
            fields,
            inside: start..gap,
            changed: false,
        })
    }

    /// An object without fields.
    pub fn empty() -> Self {
        Self {
            source: Bytes::from_static(b"{}"),
            fields: Vec::new(),
            inside: 1..1,
            changed: false,
        }
    }

    /// The value of `key`, as it was written.
    pub fn value(&self, key: &str) -> Option<&Json> {
        self.fields
            .iter()
            .find(|field| field.key == key.as_bytes())
            .map(|field| &field.value)
    }

    /// The value of `key` as a `T`; `None` when it is missing, `null`, or something else.
    pub fn read_value<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Option<T> {
        self.value(key)
            .filter(|value| !value.is_null())?
            .read()
            .ok()
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(Field::key)
    }

    /// Keys and values in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.fields.iter().map(|field| (field.key(), &field.value))
    }

    /// The first key that stands twice: two readers could take two meanings from it.
    pub fn duplicate_key(&self) -> Option<&str> {
        if self.fields.len() <= FEW {
            let twice = |at: &usize| {
                let key = self.fields.get(*at).map(|field| &field.key);
                let before = self.fields.iter().take(*at);
                before.map(|field| Some(&field.key)).any(|one| one == key)
            };
            let at = (0..self.fields.len()).find(twice)?;
            return self.fields.get(at).map(Field::key);
        }
        // A request of many megabytes holds millions of keys.
        let mut seen = HashSet::with_capacity(self.fields.len());
        self.keys().find(|key| !seen.insert(*key))
    }

    /// Replaces the value of `key`, or adds it at the end.
    pub fn set(&mut self, key: &str, value: Json) {
        self.changed = true;
        match self
            .fields
            .iter_mut()
            .find(|field| field.key == key.as_bytes())
        {
            Some(field) => field.value = value,
            None => self.fields.push(Field {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value,
                span: None,
            }),
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        let index = self
            .fields
            .iter()
            .position(|field| field.key == key.as_bytes())?;
        self.changed = true;
        Some(self.fields.remove(index).value)
    }

    /// The object as text: the source itself when nothing was changed, else the source with just the changes.
    pub fn to_json(&self) -> Json {
        if !self.changed {
            return Json(self.source.clone());
        }
        self.with(&[])
    }

    /// The object as text, with `changes` as [`Object::set`] makes them: a copy of the object is spared.
    pub fn with(&self, changes: &[(&str, Json)]) -> Json {
        let changed = |key: &Bytes| {
            let mut changes = changes.iter();
            let change = changes.find(|(name, _)| name.as_bytes() == key);
            change.map(|(_, value)| value)
        };
        let added = changes.iter().filter(|(key, _)| self.value(key).is_none());
        let own = self.fields.iter().map(|field| &field.value);
        let values = own.chain(changes.iter().map(|(_, value)| value));
        let length: usize = values.map(|value| value.bytes().len()).sum();

        let Range { start, end } = self.inside;
        let mut out = Vec::with_capacity(length + self.source.len() / 2 + 64);
        out.extend_from_slice(self.source.get(..start).unwrap_or_default());
        for (index, field) in self.fields.iter().enumerate() {
            match field.span {
                Some(span) => {
                    let gap = self.source.get(span.gap..span.value).unwrap_or_default();
                    let (comma, rest) = split_comma(gap);
                    match (index, comma) {
                        (0, _) => out.extend_from_slice(rest),
                        (_, true) => out.extend_from_slice(gap),
                        (_, false) => {
                            out.push(b',');
                            out.extend_from_slice(rest);
                        }
                    }
                }
                None => write_key(field.key(), index == 0, &mut out),
            }
            let value = changed(&field.key).unwrap_or(&field.value);
            out.extend_from_slice(value.bytes());
        }
        for (index, (key, value)) in added.enumerate() {
            write_key(key, self.fields.is_empty() && index == 0, &mut out);
            out.extend_from_slice(value.bytes());
        }
        out.extend_from_slice(self.source.get(end..).unwrap_or_default());
        Json(out.into())
    }
}

/// Writes the beginning of a field that has none in the source.
fn write_key(key: &str, is_first: bool, out: &mut Vec<u8>) {
    if !is_first {
        out.push(b',');
    }
    escape::write(key, out);
    out.push(b':');
}

impl Field {
    fn key(&self) -> &str {
        std::str::from_utf8(&self.key).unwrap_or_default()
    }
}

/// Splits the text between two values (`, "key": `) into whether it began with a comma, and what follows the comma.
fn split_comma(gap: &[u8]) -> (bool, &[u8]) {
    let blank = gap
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    match gap.get(blank) {
        Some(b',') => (true, gap.get(blank + 1..).unwrap_or_default()),
        _ => (false, gap),
    }
}

/// Checks that `bytes` are one JSON text.
fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let text = std::str::from_utf8(bytes).map_err(Error::custom)?;
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(())
}

/// A part of `text`, which shares its memory.
fn part(text: &Bytes, range: Range<usize>) -> Bytes {
    text.slice_ref(text.get(range).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &'static str) -> Object {
        Object::read(Bytes::from_static(text.as_bytes())).unwrap()
    }

    fn text(object: &Object) -> String {
        String::from_utf8(object.to_json().bytes().to_vec()).unwrap()
    }

    #[test]
    fn an_object_nobody_changes_keeps_every_byte() {
        let source = " { \"a\" : 1.10e+2 ,\n \"big\": 123456789012345678901234567890, \"e\\u0041\": [ 1 ,2 ] } ";
        assert_eq!(text(&object(source)), source);
    }

    #[test]
    fn a_change_touches_one_value_only() {
        let mut changed =
            object("{ \"model\" : \"a\", \"t\": 1.10, \"x\": {\"deep\": [ 1e400 ]} }\n");
        changed.set("model", Json::of("b"));
        assert_eq!(
            text(&changed),
            "{ \"model\" : \"b\", \"t\": 1.10, \"x\": {\"deep\": [ 1e400 ]} }\n"
        );
    }

    #[test]
    fn a_removed_field_takes_its_comma_along() {
        for (source, key, expected) in [
            (r#"{"a":1,"b":2,"c":3}"#, "a", r#"{"b":2,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, "b", r#"{"a":1,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, "c", r#"{"a":1,"b":2}"#),
            (r#"{"a":1}"#, "a", "{}"),
            (r#"{"a":1 , "b" : 2}"#, "a", r#"{ "b" : 2}"#),
            (
                "\n{\n  \"a\": 1,\n  \"b\": 2\n}\n",
                "b",
                "\n{\n  \"a\": 1\n}\n",
            ),
            ("{\n  \"a\": 1\n} ", "a", "{\n} "),
        ] {
            let mut changed = object(source);
            changed.remove(key);
            assert_eq!(text(&changed), expected);
        }
    }

    #[test]
    fn a_new_field_goes_to_the_end() {
        let mut changed = object(r#"{"a":1}"#);
        changed.set("b\"", Json::of(&2));
        assert_eq!(text(&changed), r#"{"a":1,"b\"":2}"#);

        let mut empty = object("{ }");
        empty.set("b", Json::of(&2));
        assert_eq!(text(&empty), r#"{"b":2 }"#);
    }

    #[test]
    fn changes_can_be_written_without_being_made() {
        for source in [r#"{"a": 1, "b" :2}"#, r#"{"b":1}"#, "{}"] {
            let changes = [
                ("b", Json::of(&3)),
                ("c", Json::of(&4)),
                ("d", Json::of(&5)),
            ];
            let own = object(source);
            let mut changed = own.clone();
            for (key, value) in &changes {
                changed.set(key, value.clone());
            }
            assert_eq!(own.with(&changes), changed.to_json());
            assert_eq!(text(&own), source);
        }
    }

    #[test]
    fn escaped_keys_are_known_by_their_meaning() {
        assert_eq!(
            object(r#"{"mod\u0065l": "x", "model": "y"}"#).duplicate_key(),
            Some("model")
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_found_among_very_many() {
        let mut source: String = (0..200_000).map(|key| format!("\"{key}\":0,")).collect();
        source = format!("{{{source}\"7\":1}}");
        let many = Object::read(Bytes::from(source)).unwrap();
        assert_eq!(many.duplicate_key(), Some("7"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for source in ["", "[]", "1", "{", "{}{}", "{\"a\":}", "nul", "{\"a\":1,}"] {
            assert!(
                Object::read(Bytes::from(source)).is_err(),
                "{source} was taken"
            );
        }
    }
}
