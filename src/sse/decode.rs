//! Bytes, cut anywhere, into whole bounded events.
//!
//! `eventsource-stream` is not given the stream itself: it panics on a byte-order mark, withholds everything after one invalid byte, drops
//! a last event without a blank line, has no limit and takes quadratic time on a long line. So the cutting is done here, and
//! [`super::fields`] hands the crate one whole, bounded event at a time.

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
        if self.piece.is_empty() {
            self.piece = read;
            return;
        }
        // Only for a caller that pushes twice without taking events in between.
        self.piece = [self.piece.as_ref(), read.as_ref()].concat().into();
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
            Place::Between | Place::Mark(0) | Place::Over => (0, Wholeness::Whole),
            Place::BlankCr => (0, Wholeness::Whole),
            Place::LineStart | Place::AfterCr => (1, Wholeness::Cut),
            Place::Line => (2, Wholeness::Cut),
            Place::Mark(matched) => {
                self.carried = mark(matched).to_vec();
                (2, Wholeness::Cut)
            }
        };
        let line_end = missing_line_end(&self.carried);
        self.place = Place::Over;
        let mut raw = std::mem::take(&mut self.carried);
        if raw.is_empty() {
            return None;
        }
        raw.extend_from_slice(&line_end.repeat(line_ends));
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
                (Place::Over, _) => {
                    self.piece = Bytes::new();
                    return None;
                }
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
            self.place = if matched == 0 {
                Place::Between
            } else {
                Place::Line
            };
            return;
        }
        self.piece.advance(1);
        self.place = if matched + 1 == BYTE_ORDER_MARK.len() {
            Place::Between
        } else {
            Place::Mark(matched + 1)
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
