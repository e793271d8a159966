//! Protocol Buffers as they are written: the four kinds of fields that OTLP has.
//!
//! Messages are written straight from what they tell, and none is ever read but for one number. A library for both, with a tree of messages
//! in between, would be the larger part of all this; the tests read what is written by the official definitions instead.

/// A message being written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// How the value of a field is written.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

impl Message {
    /// Its bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Writes a number of variable length; 0 is what is not written.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    /// Writes a number of variable length, 0 too: one of several fields of which the written one counts.
    pub(super) fn chosen_number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// Writes eight bytes.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes four bytes.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a number with a fraction.
    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// Writes a text; an empty one is what is not written.
    pub(super) fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    /// Writes bytes.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Writes numbers of eight bytes each, in one.
    pub(super) fn packed64(&mut self, field: u32, values: impl ExactSizeIterator<Item = u64>) {
        self.tag(field, LENGTH);
        self.varint(values.len() as u64 * 8);
        values.for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
    }

    /// Writes a message inside this one: its length is known when it stands there, and is then put before it.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH);
        let start = self.0.len();
        write(self);
        let end = self.0.len();
        self.varint((end - start) as u64);
        let length = self.0.len() - end;
        if let Some(inner) = self.0.get_mut(start..) {
            inner.rotate_right(length);
        }
    }

    /// Writes fields that were written before.
    pub(super) fn append(&mut self, fields: &Self) {
        self.0.extend_from_slice(&fields.0);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from((field << 3) | kind));
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

/// What an attribute says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'a> {
    Text(&'a str),
    Texts(&'a [String]),
    Number(u64),
    Fraction(f64),
    Flag(bool),
}

/// Writes an attribute.
pub(super) fn attribute(message: &mut Message, field: u32, key: &str, said: Said<'_>) {
    message.message(field, |pair| {
        pair.text(1, key);
        pair.message(2, |value| said.write(value));
    });
}

impl Said<'_> {
    fn write(self, value: &mut Message) {
        match self {
            Self::Text(text) => value.bytes(1, text.as_bytes()),
            Self::Flag(flag) => value.chosen_number(2, flag.into()),
            Self::Number(number) => value.chosen_number(3, number),
            Self::Fraction(number) => value.double(4, number),
            Self::Texts(texts) => value.message(5, |list| {
                for text in texts {
                    list.message(1, |value| Self::Text(text).write(value));
                }
            }),
        }
    }
}

/// How many spans or points the collector says that it refused (`partial_success`, in its answer to either); nothing where it says nothing.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let partial = field(answer, 1).and_then(|found| match found {
        Found::Bytes(bytes) => field(bytes, 1),
        Found::Number(_) => None,
    });
    match partial {
        Some(Found::Number(count)) => count,
        Some(Found::Bytes(_)) | None => 0,
    }
}

enum Found<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Finds a field of a message that came.
fn field(mut message: &[u8], wanted: u32) -> Option<Found<'_>> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let found = match tag & 7 {
            0 => Found::Number(varint(&mut message)?),
            1 => Found::Bytes(take(&mut message, 8)?),
            2 => {
                let length = varint(&mut message)?;
                Found::Bytes(take(&mut message, usize::try_from(length).ok()?)?)
            }
            5 => Found::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        if tag >> 3 == u64::from(wanted) {
            return Some(found);
        }
    }
    None
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte, rest @ ..] = *message else {
            return None;
        };
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_documentation_of_protocol_buffers_shows_them() {
        let mut message = Message::default();
        message.number(1, 150);
        message.text(2, "testing");
        message.message(3, |inner| inner.number(1, 150));
        message.number(4, 0);

        assert_eq!(
            message.into_bytes(),
            b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01"
        );
    }

    #[test]
    fn what_a_collector_refused_is_read() {
        let mut answer = Message::default();
        answer.message(1, |partial| {
            partial.text(2, "no room");
            partial.number(1, 300);
        });
        assert_eq!(rejected(&answer.into_bytes()), 300);
    }

    #[test]
    fn an_answer_that_is_no_message_says_nothing() {
        for answer in [
            &b""[..],
            b"{}",
            b"\x0a",
            b"\x0a\xff\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0a\x02\x08",
        ] {
            assert_eq!(rejected(answer), 0, "{answer:?}");
        }
    }
}
