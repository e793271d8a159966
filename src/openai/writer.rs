//! JSON written member by member, for objects that every answer has: no value is made of them first.

use serde::Serialize;

use super::{escape, json::Json};

/// A JSON text on its way. Commas come by themselves; that what is opened is closed is the caller's to see to.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A text that will have about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Opens an object or, with `[`, an array.
    pub fn open(&mut self, bracket: char) {
        self.separate();
        self.0
            .extend_from_slice(bracket.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Closes it with `}` or `]`.
    pub fn close(&mut self, bracket: char) {
        self.0
            .extend_from_slice(bracket.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Begins a member whose key needs no escape.
    pub fn key(&mut self, key: &str) {
        self.separate();
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// Writes a string.
    pub fn string(&mut self, text: &str) {
        self.separate();
        escape::write(text, &mut self.0);
    }

    /// Writes whatever serializes. What JSON cannot hold becomes `null`.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        self.separate();
        let begin = self.0.len();
        if serde_json::to_writer(&mut self.0, value).is_err() {
            self.0.truncate(begin);
            self.0.extend_from_slice(b"null");
        }
    }

    /// Writes a whole number.
    pub fn number(&mut self, number: impl itoa::Integer) {
        self.separate();
        let mut digits = itoa::Buffer::new();
        self.0.extend_from_slice(digits.format(number).as_bytes());
    }

    /// Writes what is JSON already.
    pub fn json(&mut self, json: &Json) {
        self.separate();
        self.0.extend_from_slice(json.bytes());
    }

    /// The text.
    pub fn finish(self) -> Json {
        Json::written(self.0)
    }

    /// Puts a comma where something stands before.
    fn separate(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_are_separated_by_commas() {
        let mut writer = Writer::default();
        writer.open('{');
        writer.key("a");
        writer.open('[');
        writer.number(1);
        writer.string("{[:\n");
        writer.open('{');
        writer.close('}');
        writer.value(&Some(1.5));
        writer.close(']');
        writer.key("b");
        writer.json(&Json::of(&None::<u8>));
        writer.key("c");
        writer.open('[');
        writer.close(']');
        writer.close('}');
        assert_eq!(
            writer.finish().bytes(),
            r#"{"a":[1,"{[:\n",{},1.5],"b":null,"c":[]}"#
        );
    }
}
