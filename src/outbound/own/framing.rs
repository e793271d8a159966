//! Where the body of an answer ends (RFC 9112, 6.3 and 7.1), found in whatever pieces it comes.

use bytes::Bytes;
use http_body::SizeHint;

use super::{Fault, reading::Room};

/// What a body may hold beside its data, in bytes: extensions of chunks and trailers, which nobody here reads.
const MOST_ASIDE: u16 = 16 << 10;

/// The end of a body in chunks, as it follows the last data of most.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// How many digits the size of a chunk has at most that is read at once.
const PLAIN: usize = 8;

/// How a body is framed, and how far it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunks),
    /// All that comes before the neighbour closes the connection.
    UntilClose,
}

impl Framing {
    /// `Transfer-Encoding: chunked`, of which nothing has come.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks {
            place: Place::Size,
            left: 0,
            aside: 0,
        })
    }

    /// Takes the next data off the front of `said`. `None`: the body [is over](Self::is_over), or its next bytes have to come first.
    pub(super) fn cut(&mut self, said: &mut Bytes) -> Result<Option<Bytes>, Fault> {
        let data = match self {
            Self::Length(left) => take(left, said),
            Self::Chunked(chunks) => chunks.cut(said)?,
            Self::UntilClose => std::mem::take(said),
        };
        Ok((!data.is_empty()).then_some(data))
    }

    /// Whether all of the body was taken.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.place == Place::End,
            Self::UntilClose => false,
        }
    }

    /// Whether a body that has come so far may end with its connection.
    pub(super) fn ends_with_connection(&self) -> bool {
        *self == Self::UntilClose
    }

    /// How much is read at once, after a read of so many bytes.
    pub(super) fn room(&self, read: usize) -> Room {
        match self {
            Self::Length(_) => Room::Much,
            Self::Chunked(_) | Self::UntilClose if read >= Room::Little.bytes() => Room::Much,
            Self::Chunked(_) | Self::UntilClose => Room::Little,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) if self.is_over() => SizeHint::with_exact(0),
            Self::Chunked(_) | Self::UntilClose => SizeHint::new(),
        }
    }
}

/// As much of `said` as belongs to what is `left`.
fn take(left: &mut u64, said: &mut Bytes) -> Bytes {
    let taken = usize::try_from(*left).map_or(said.len(), |left| left.min(said.len()));
    *left -= taken as u64;
    split(said, taken)
}

/// The first `length` bytes of `said`; where nothing is left of it, it lets go of what was read into.
pub(super) fn split(said: &mut Bytes, length: usize) -> Bytes {
    if length == said.len() {
        std::mem::take(said)
    } else {
        said.split_to(length)
    }
}

/// A body in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    place: Place,
    /// The size of the chunk as it was read so far, then what of the chunk is still to come; in bytes.
    left: u64,
    /// How much came beside data.
    aside: u16,
}

/// Which byte comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The first digit of a chunk's size.
    Size,
    /// Another one, or what follows them.
    Digits,
    /// A blank between size and extension, or what follows it.
    Blank,
    /// An extension, up to its line's end.
    Extension,
    /// The second half of the end of the size's line.
    SizeLf,
    /// Data.
    Data,
    /// The two halves of the line's end that follows data.
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the line's end that ends the body.
    TrailerStart,
    /// A trailer, up to its line's end.
    Trailer,
    /// The second half of that.
    TrailerLf,
    /// The second half of the line's end that ends the body.
    EndLf,
    /// Nothing: the body is over.
    End,
}

impl Chunks {
    /// The next data at the front of `said`, empty where none is there.
    fn cut(&mut self, said: &mut Bytes) -> Result<Bytes, Fault> {
        if self.place != Place::Data {
            let passed = self.pass(said)?;
            let _ = split(said, passed);
        }
        if self.place != Place::Data {
            return Ok(Bytes::new());
        }
        let data = take(&mut self.left, said);
        if self.left == 0 {
            self.place = Place::DataCr;
            // An end that came along is seen at once: the connection is free for the next request.
            if &said[..] == END {
                *said = Bytes::new();
                self.place = Place::End;
            }
        }
        Ok(data)
    }

    /// How much of `said` is framing, up to the next data or the end.
    fn pass(&mut self, said: &[u8]) -> Result<usize, Fault> {
        if let Some((passed, size)) = self.plain(said) {
            self.place = Place::Data;
            self.left = size;
            return Ok(passed);
        }
        let mut passed = 0;
        for byte in said {
            if matches!(self.place, Place::Data | Place::End) {
                break;
            }
            passed += 1;
            self.step(*byte)?;
        }
        Ok(passed)
    }

    /// What most chunks begin with, read at once: the end of the last one's line, and a size without anything beside it. Gives how much
    /// that is and the size; `None`: it is to be read byte by byte.
    fn plain(&self, said: &[u8]) -> Option<(usize, u64)> {
        let line = match self.place {
            Place::DataCr => said.strip_prefix(b"\r\n")?,
            Place::Size => said,
            _ => return None,
        };
        let mut size = 0;
        for (count, byte) in line.iter().take(PLAIN + 1).enumerate() {
            match char::from(*byte).to_digit(16) {
                Some(digit) => size = size << 4 | u64::from(digit),
                None => {
                    let is_plain = size > 0 && line.get(count..)?.starts_with(b"\r\n");
                    return is_plain.then_some((said.len() - line.len() + count + 2, size));
                }
            }
        }
        None
    }

    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        self.place = match (self.place, byte) {
            (Place::Size | Place::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(Fault::Chunk)?;
                let larger = self.left.checked_mul(16).ok_or(Fault::Chunk)?;
                self.left = larger + u64::from(digit);
                Place::Digits
            }
            (Place::Digits | Place::Blank, b' ' | b'\t') => Place::Blank,
            (Place::Digits | Place::Blank, b';') => self.aside(Place::Extension)?,
            (Place::Digits | Place::Blank | Place::Extension, b'\r') => Place::SizeLf,
            // What takes a lone one for the end of a line would see other chunks here.
            (Place::Extension | Place::Trailer | Place::TrailerStart, b'\n') => {
                return Err(Fault::Chunk);
            }
            (Place::Extension, _) => self.aside(Place::Extension)?,
            (Place::SizeLf, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::TrailerStart, b'\r') => Place::EndLf,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::TrailerStart | Place::Trailer, _) => self.aside(Place::Trailer)?,
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            (Place::EndLf, b'\n') => Place::End,
            _ => return Err(Fault::Chunk),
        };
        Ok(())
    }

    /// Counts a byte that nobody reads; `next` comes after it.
    fn aside(&mut self, next: Place) -> Result<Place, Fault> {
        self.aside += 1;
        if self.aside > MOST_ASIDE {
            return Err(Fault::Aside);
        }
        Ok(next)
    }
}
