//! JSON kept as it was written: a checked text, and an object whose fields are such texts.
//!
//! A gateway that parses a number and prints it again changes it (`1.10e+2`, integers beyond 64 bits). So only what is read is parsed, a
//! change replaces one text, and everything else goes out to the last byte as it came in.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use bytes::{Bytes, BytesMut};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// One JSON text, known to be valid; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Takes `bytes` when they hold exactly one JSON text.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<IgnoredAny>(&bytes)?;
        Ok(Self(bytes))
    }

    /// Writes `value` as JSON. A value that JSON cannot hold (a map with keys that are no strings) becomes `null`.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(serde_json::to_vec(value).map_or_else(|_| Bytes::from_static(b"null"), Bytes::from))
    }

    /// A JSON array of `items`, each as it was written.
    pub fn array<'a>(items: impl IntoIterator<Item = &'a Json>) -> Self {
        let mut out = BytesMut::from(&b"["[..]);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            out.extend_from_slice(&item.0);
        }
        out.extend_from_slice(b"]");
        Self(out.freeze())
    }

    /// Reads the text as a `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The items of an array, each as it was written; `None` when the text is no array.
    pub fn items(&self) -> Option<Vec<Json>> {
        struct Items<'b>(&'b Bytes);
        impl<'de> Visitor<'de> for Items<'_> {
            type Value = Vec<Json>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Json>, A::Error> {
                let mut items = Vec::new();
                while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                    items.push(Json(self.0.slice_ref(raw.get().as_bytes())));
                }
                Ok(items)
            }
        }
        serde_json::Deserializer::from_slice(&self.0)
            .deserialize_seq(Items(&self.0))
            .ok()
    }

    /// The text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
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

#[derive(Clone, Debug)]
struct Field {
    key: String,
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
        Self::read(json.bytes().clone()).ok()
    }

    /// Reads an object from bytes that may hold anything.
    pub fn read(source: Bytes) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(&source);
        let (fields, inside) = deserializer.deserialize_map(Fields(&source))?;
        deserializer.end()?;
        Ok(Self {
            source,
            fields,
            inside,
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
            .find(|field| field.key == key)
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
        self.fields.iter().map(|field| field.key.as_str())
    }

    /// Keys and values in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.fields
            .iter()
            .map(|field| (field.key.as_str(), &field.value))
    }

    /// The first key that stands twice: two readers could take two meanings from it.
    pub fn duplicate_key(&self) -> Option<&str> {
        // By a set: a request of many megabytes holds millions of keys.
        let mut seen = HashSet::with_capacity(self.fields.len());
        self.fields
            .iter()
            .map(|field| field.key.as_str())
            .find(|key| !seen.insert(*key))
    }

    /// Replaces the value of `key`, or adds it at the end.
    pub fn set(&mut self, key: &str, value: Json) {
        self.changed = true;
        match self.fields.iter_mut().find(|field| field.key == key) {
            Some(field) => field.value = value,
            None => self.fields.push(Field {
                key: key.to_owned(),
                value,
                span: None,
            }),
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        let index = self.fields.iter().position(|field| field.key == key)?;
        self.changed = true;
        Some(self.fields.remove(index).value)
    }

    /// The object as text: the source itself when nothing was changed, else the source with just the changes.
    pub fn to_json(&self) -> Json {
        if !self.changed {
            return Json(self.source.clone());
        }
        let length: usize = self
            .fields
            .iter()
            .map(|field| field.value.bytes().len() + field.key.len() + 8)
            .sum();
        let Range { start, end } = self.inside;
        let mut out = BytesMut::with_capacity(length + 16);
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
                            out.extend_from_slice(b",");
                            out.extend_from_slice(rest);
                        }
                    }
                }
                None => {
                    if index > 0 {
                        out.extend_from_slice(b",");
                    }
                    out.extend_from_slice(Json::of(&field.key).bytes());
                    out.extend_from_slice(b":");
                }
            }
            out.extend_from_slice(field.value.bytes());
        }
        out.extend_from_slice(self.source.get(end..).unwrap_or_default());
        Json(out.freeze())
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

struct Fields<'b>(&'b Bytes);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = (Vec<Field>, Range<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Vec<Field> = Vec::with_capacity(8);
        let begin = self.0.as_ptr() as usize;
        let mut gap = self
            .0
            .iter()
            .position(|byte| *byte == b'{')
            .map_or(0, |at| at + 1);
        let start = gap;
        while let Some(key) = map.next_key_seed(Text)? {
            let raw = map.next_value::<&'de RawValue>()?.get().as_bytes();
            let value = (raw.as_ptr() as usize).saturating_sub(begin);
            fields.push(Field {
                key: key.into_owned(),
                value: Json(self.0.slice_ref(raw)),
                span: Some(Span { gap, value }),
            });
            gap = value + raw.len();
        }
        Ok((fields, start..gap))
    }
}

/// Reads a string, borrowed where it holds no escape.
pub(crate) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
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
