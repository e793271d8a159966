//! Bytes, cut anywhere, into whole bounded events.
//!
//! `eventsource-stream` is not given the stream itself: it panics on a byte-order mark, withholds everything after one invalid byte, drops
//! a last event without blank line, has no limit and takes quadratic time on a long line. It gets one whole event at a time ([`super::fields`]).

use bytes::{Buf, Bytes};
use memchr::memchr2;

use super::event::{Event, Wholeness};

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Cuts a body into events, whatever the sizes of the reads.
///
/// Push a read, then take events until there are none, then push the next; at the end of the body take what [`Decoder::finish`] gives. An
/// event that lies whole inside one read is a slice of it; only one that spans reads is copied. The search for line ends never goes back,
/// so the time is linear in the bytes for reads of any size. Line ends between events belong to none of them.
#[derive(Debug)]
pub struct Decoder {
    limit_bytes: usize,
    /// What was pushed and not read yet.
    piece: Bytes,
    /// The beginning of an event whose end has not come.
    carried: Vec<u8>,
    place: Place,
}

/// Why there is no event where one was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The event is longer than the limit; nothing can be read after it.
    #[error("an event is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit the decoder was made with, in bytes.
        limit_bytes: usize,
    },
    /// The event's data is not UTF-8; the events after it are not concerned.
    #[error("the data of an event is not valid UTF-8")]
    InvalidUtf8,
    /// The event's fields cannot be read; the events after it are not concerned.
    #[error("the fields of an event cannot be read")]
    Unreadable,
}

/// What the last byte read was the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but this many bytes of a byte-order mark.
    Mark(usize),
    /// An event, or the line ends after one.
    Between,
    /// Part of a line.
    Line,
    /// A line, by LF or CRLF.
    LineStart,
    /// A line, by a CR that may yet turn out to be half of a CRLF.
    AfterCr,
    /// An event, by a CR that may yet turn out to be half of a CRLF.
    BlankCr,
    /// The body, or all of it that can be read.
    Over,
}

impl Decoder {
    /// Makes a decoder that refuses events of more than `limit_bytes`, their line ends included.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            piece: Bytes::new(),
            carried: Vec::new(),
            place: Place::Mark(0),
        }
    }

    /// Takes the next read of the body.
    pub fn push(&mut self, read: Bytes) {
        if self.place == Place::Over {
            return;
        }
        self.piece = if self.piece.is_empty() {
            read
        } else {
            // Only for a caller that pushes twice without taking events in between.
            [self.piece.as_ref(), &read].concat().into()
        };
    }

    /// Gives the next event that ended in what was pushed.
    #[expect(
        clippy::should_implement_trait,
        reason = "`None` here means `push more`, and an iterator that goes on after `None` would mislead"
    )]
    pub fn next(&mut self) -> Option<Result<Event, DecodeError>> {
        let raw = self.cut()?;
        Some(raw.and_then(|raw| Event::read(raw, Wholeness::Whole)))
    }

    /// Gives what is left when the body has ended: call it until it gives `None`.
    ///
    /// An event without its blank line gets the missing line ends and says so ([`Event::is_whole`]).
    pub fn finish(&mut self) -> Option<Result<Event, DecodeError>> {
        if let Some(event) = self.next() {
            return Some(event);
        }
        let (line_ends, wholeness) = match self.place {
            Place::Mark(0) | Place::Between | Place::BlankCr | Place::Over => (0, Wholeness::Whole),
            Place::LineStart | Place::AfterCr => (1, Wholeness::Cut),
            Place::Line => (2, Wholeness::Cut),
            Place::Mark(matched) => {
                self.carried = mark(matched).to_vec();
                (2, Wholeness::Cut)
            }
        };
        self.place = Place::Over;
        let mut raw = std::mem::take(&mut self.carried);
        if raw.is_empty() {
            return None;
        }
        raw.extend_from_slice(&missing_line_end(&raw).repeat(line_ends));
        Some(Event::read(raw.into(), wholeness))
    }

    /// Gives how many bytes of an unfinished event the decoder holds room for.
    pub fn held_bytes(&self) -> usize {
        self.carried.capacity()
    }

    /// Cuts off the exact bytes of the next event.
    fn cut(&mut self) -> Option<Result<Bytes, DecodeError>> {
        let mut read = 0;
        while let Some(rest) = self.piece.get(read..)
            && let Some(&byte) = rest.first()
        {
            match (self.place, byte) {
                (Place::Over, _) => return None,
                (Place::Mark(matched), _) => self.read_mark(matched, byte),
                (Place::Between, CR | LF) => self.piece.advance(1),
                (Place::Between, _) => self.place = Place::Line,
                (Place::Line, _) => match memchr2(CR, LF, rest) {
                    Some(end) if rest.get(end) == Some(&CR) => {
                        read += end + 1;
                        self.place = Place::AfterCr;
                    }
                    Some(end) => {
                        read += end + 1;
                        self.place = Place::LineStart;
                    }
                    None => read += rest.len(),
                },
                (Place::AfterCr, LF) => {
                    read += 1;
                    self.place = Place::LineStart;
                }
                // A line that ended in a lone CR, and now a blank one: the event goes out at once. If a LF follows, it is the second half
                // of this line end and, like all line ends between events, of no event, so that the bytes are the same for any cut.
                (Place::AfterCr, CR) | (Place::LineStart | Place::BlankCr, LF) => {
                    return Some(self.take(read + 1));
                }
                // After LF or CRLF a lone CR is not expected, but a CRLF cut in two is: its LF belongs to the event's bytes.
                (Place::LineStart, CR) => {
                    read += 1;
                    self.place = Place::BlankCr;
                }
                (Place::BlankCr, _) => return Some(self.take(read)),
                (Place::LineStart | Place::AfterCr, _) => self.place = Place::Line,
            }
            if self.carried.len() + read > self.limit_bytes {
                return Some(Err(self.give_up()));
            }
        }
        self.carry();
        None
    }

    fn read_mark(&mut self, matched: usize, byte: u8) {
        if BYTE_ORDER_MARK.get(matched) != Some(&byte) {
            // It was no mark: what looked like one is the beginning of the first line.
            self.carried.extend_from_slice(mark(matched));
            self.place = match matched {
                0 => Place::Between,
                _ => Place::Line,
            };
            return;
        }
        self.piece.advance(1);
        self.place = match matched + 1 {
            3 => Place::Between,
            matched => Place::Mark(matched),
        };
    }

    /// Takes the event that ends after the next `read` bytes.
    fn take(&mut self, read: usize) -> Result<Bytes, DecodeError> {
        if self.carried.len() + read > self.limit_bytes {
            return Err(self.give_up());
        }
        self.place = Place::Between;
        let end = self.piece.split_to(read);
        if self.carried.is_empty() {
            return Ok(end);
        }
        // Taking the vector away is also what lets go of the room that a large event needed.
        let mut raw = std::mem::take(&mut self.carried);
        raw.reserve_exact(end.len());
        raw.extend_from_slice(&end);
        Ok(raw.into())
    }

    /// Keeps the beginning of an event for the next read. It is copied: a slice would keep the whole read alive.
    fn carry(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        let needed = self.carried.len() + piece.len();
        if needed > self.carried.capacity() {
            // Doubling keeps many small reads linear; the limit keeps doubling from passing it.
            let room = (self.carried.capacity() * 2).min(self.limit_bytes);
            self.carried
                .reserve_exact(room.max(needed) - self.carried.len());
        }
        self.carried.extend_from_slice(&piece);
    }

    fn give_up(&mut self) -> DecodeError {
        self.place = Place::Over;
        self.piece = Bytes::new();
        self.carried = Vec::new();
        DecodeError::TooLong {
            limit_bytes: self.limit_bytes,
        }
    }
}

fn mark(matched: usize) -> &'static [u8] {
    const ALL: &[u8] = &BYTE_ORDER_MARK;
    ALL.get(..matched).unwrap_or(ALL)
}

/// Gives the line end that completes an event: of the kind it uses, and never one that merges with the last.
fn missing_line_end(event: &[u8]) -> &'static [u8] {
    let used = match event {
        [.., CR, LF] => Some((CR, Some(LF))),
        [.., last @ (CR | LF)] => Some((*last, None)),
        _ => memchr2(CR, LF, event).and_then(|end| {
            let first = event.get(end).copied()?;
            Some((first, event.get(end + 1).copied()))
        }),
    };
    match used {
        Some((CR, Some(LF))) => b"\r\n",
        Some((CR, _)) => b"\r",
        _ => b"\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Payload;

    const LIMIT_BYTES: usize = 1 << 20;

    #[test]
    fn every_kind_of_line_end_ends_an_event_as_soon_as_it_can() {
        // given: reads, and how many events must have come out after each
        let cases: &[&[(&str, usize)]] = &[
            &[("data: a\n", 0), ("\n", 1)],
            &[("data: a\r\n", 0), ("\r\n", 1)],
            &[("data: a\r\n\r", 0), ("\n", 1)],
            &[("data: a\r", 0), ("\r", 1)],
            &[("data: a\r\r", 1), ("\ndata: b\r", 1), ("\r", 2)],
            &[("data: a\n\r", 0), ("data: b\n\n", 2)],
            &[("\u{feff}data: a\n\n", 1)],
            &[("\n\n\r\n", 0), ("data: a\n\n\n\n", 1)],
        ];
        for reads in cases {
            let mut decoder = Decoder::new(LIMIT_BYTES);
            let mut events = 0;
            for (read, expected) in *reads {
                decoder.push(Bytes::from_static(read.as_bytes()));
                events += std::iter::from_fn(|| decoder.next()).count();
                assert_eq!(events, *expected, "after {read:?} of {reads:?}");
            }
        }
    }

    #[test]
    fn an_event_inside_one_read_is_a_slice_of_it() {
        let read = Bytes::from_static(b": ping\n\ndata: {}\n\ndata: [DONE]\n\n");
        let mut decoder = Decoder::new(LIMIT_BYTES);

        decoder.push(read.clone());
        let events: Vec<_> = std::iter::from_fn(|| decoder.next()).collect();

        let starts = [0, 8, 18].map(|start| read[start..].as_ptr());
        let raws = events.iter().map(|event| event.as_ref().unwrap().raw());
        assert!(raws.map(|raw| raw.as_ptr()).eq(starts));
        let Payload::Data(data) = events[1].as_ref().unwrap().payload() else {
            panic!("{events:?}");
        };
        assert_eq!(data.as_ptr(), read[14..].as_ptr());
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn an_endless_line_is_refused_at_the_limit_and_its_room_given_back() {
        let mut decoder = Decoder::new(1000);
        for _ in 0..125 {
            decoder.push(Bytes::from_static(b"data: 89"));
            assert_eq!(decoder.next(), None);
        }

        decoder.push(Bytes::from_static(b"d"));
        let refused = DecodeError::TooLong { limit_bytes: 1000 };
        assert_eq!(decoder.next(), Some(Err(refused)));
        assert_eq!(decoder.held_bytes(), 0);
        decoder.push(Bytes::from_static(b"\n\ndata: a\n\n"));
        assert_eq!((decoder.next(), decoder.finish()), (None, None));
    }

    #[test]
    fn the_limit_is_the_same_for_an_event_in_one_read_and_in_many() {
        for (limit_bytes, fits) in [(9, true), (8, false)] {
            for size in [1, 3, 9] {
                let mut decoder = Decoder::new(limit_bytes);
                for read in b"data: a\n\n".chunks(size) {
                    decoder.push(Bytes::from_static(read));
                    if let Some(event) = decoder.next() {
                        assert_eq!(event.is_ok(), fits, "limit {limit_bytes}, reads of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_room_of_a_large_event_is_given_back() {
        let mut decoder = Decoder::new(LIMIT_BYTES);
        decoder.push(Bytes::from(vec![b':'; 500_000]));
        assert_eq!(decoder.next(), None);
        assert!(decoder.held_bytes() >= 500_000);

        decoder.push(Bytes::from_static(b"\n\ndata: "));
        let event = decoder.next().unwrap().unwrap();
        assert_eq!(decoder.next(), None);

        assert_eq!(event.raw().len(), 500_002);
        assert!(decoder.held_bytes() < 100);
    }

    #[test]
    fn invalid_utf_8_is_an_error_of_that_event_alone() {
        let mut decoder = Decoder::new(LIMIT_BYTES);
        decoder.push(Bytes::from_static(
            b"data: \xFF\n\ndata: a\ndata: \xC3\n\n: \xFF\nid: \xFF\ndata: b\n\ndata: c\n\n",
        ));

        let events: Vec<_> = std::iter::from_fn(|| decoder.next())
            .map(|event| event.map(|event| event.payload().clone()))
            .collect();

        let data = |text: &'static str| Ok(Payload::Data(Bytes::from_static(text.as_bytes())));
        let invalid = || Err(DecodeError::InvalidUtf8);
        assert_eq!(events, [invalid(), invalid(), data("b"), data("c")]);
    }

    #[test]
    fn what_is_left_at_the_end_of_the_body_is_completed_and_says_so() {
        for (body, raw, is_whole) in [
            ("data: a", "data: a\n\n", false),
            ("data: a\n", "data: a\n\n", false),
            ("data: a\r\n", "data: a\r\n\r\n", false),
            ("data: a\r", "data: a\r\r", false),
            (": b\r\ndata: a", ": b\r\ndata: a\r\n\r\n", false),
            (": b\rdata: a", ": b\rdata: a\r\r", false),
            ("data: a\n\r", "data: a\n\r", true),
        ] {
            let mut decoder = Decoder::new(LIMIT_BYTES);
            decoder.push(Bytes::from_static(body.as_bytes()));
            assert_eq!(decoder.next(), None, "{body:?}");

            let event = decoder.finish().unwrap().unwrap();

            assert_eq!(event.raw(), raw, "{body:?}");
            assert_eq!(event.is_whole(), is_whole, "{body:?}");
            assert_eq!(decoder.finish(), None, "{body:?}");
        }
    }

    #[test]
    fn finish_gives_nothing_where_nothing_is_left() {
        for body in ["", "\u{feff}", "\n\r\n"] {
            let mut decoder = Decoder::new(LIMIT_BYTES);
            decoder.push(Bytes::from_static(body.as_bytes()));
            assert_eq!(decoder.finish(), None, "{body:?}");
        }
    }
}
