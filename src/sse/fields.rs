//! The lines of one whole event, and what they mean together.

use std::convert::Infallible;

use bytes::Bytes;
use eventsource_stream::EventStream;
use futures_util::{FutureExt, StreamExt, stream};
use memchr::memchr2;

use super::event::{Cleanness, Payload};
use super::{DecodeError, encode};

/// One line of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// Where it begins in the event.
    pub(super) start: usize,
    /// What it says.
    pub(super) text: &'a [u8],
    /// The same with its line end.
    pub(super) whole: &'a [u8],
    pub(super) kind: Kind,
}

/// What a line is to an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Comment,
    /// `event`, `id`, `retry`.
    Named,
    /// A field that no standard knows, or no field at all.
    Stray,
    Blank,
}

/// Reads an event's meaning, and whether its bytes may go on as they are.
pub(super) fn read(raw: &Bytes) -> Result<(Payload, Cleanness), DecodeError> {
    if let Some(simple) = read_simple(raw) {
        return simple;
    }

    let (mut data, mut named, mut stray) = (false, false, false);
    for line in lines(raw) {
        match line.kind {
            Kind::Data => data = true,
            Kind::Named => named = true,
            Kind::Stray => stray = true,
            Kind::Comment | Kind::Blank => {}
        }
    }
    let text = if data {
        Bytes::from(joined_data(raw)?)
    } else {
        Bytes::new()
    };
    let emptiness = data && text.trim_ascii().is_empty();
    let cleanness = if named || emptiness {
        Cleanness::Unclean
    } else {
        Cleanness::Clean
    };
    let payload = if data && !emptiness {
        from_data(text)
    } else if stray {
        Payload::Stray(stray_text(raw))
    } else if data || named {
        Payload::Empty
    } else {
        Payload::Comment
    };
    Ok((payload, cleanness))
}

/// Reads what nearly every event is, one `data:` line or one comment, without a copy.
fn read_simple(raw: &Bytes) -> Option<Result<(Payload, Cleanness), DecodeError>> {
    let end = raw
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'))?
        + 1;
    let line = raw.get(..end)?;
    if memchr2(b'\r', b'\n', line).is_some() {
        return None;
    }
    if line.starts_with(b":") {
        return Some(Ok((Payload::Comment, Cleanness::Clean)));
    }
    let value = line.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    if value.trim_ascii().is_empty() {
        return Some(Ok((Payload::Empty, Cleanness::Unclean)));
    }
    if std::str::from_utf8(value).is_err() {
        return Some(Err(DecodeError::InvalidUtf8));
    }
    let data = raw.slice(end - value.len()..end);
    Some(Ok((from_data(data), Cleanness::Clean)))
}

fn from_data(data: Bytes) -> Payload {
    if data.trim_ascii() == encode::DONE_DATA {
        Payload::Done
    } else {
        Payload::Data(data)
    }
}

/// Cuts an event into its lines; the last is the blank one.
pub(super) fn lines(event: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = event.get(start..).filter(|rest| !rest.is_empty())?;
        let text_end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (text, line_end) = rest.split_at_checked(text_end)?;
        let line_end_len = match line_end {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] => 0,
        };
        let whole = rest.get(..text_end + line_end_len)?;
        let line = Line {
            start,
            text,
            whole,
            kind: kind(text),
        };
        start += whole.len();
        Some(line)
    })
}

fn kind(text: &[u8]) -> Kind {
    if text.is_empty() {
        return Kind::Blank;
    }
    let name_end = memchr::memchr(b':', text).unwrap_or(text.len());
    match text.get(..name_end).unwrap_or(text) {
        b"" => Kind::Comment,
        b"data" => Kind::Data,
        b"event" | b"id" | b"retry" => Kind::Named,
        _ => Kind::Stray,
    }
}

/// Joins the `data:` lines of an event, as `eventsource-stream` reads them.
///
/// The crate gets the lines one at a time, because its time is quadratic in what it has buffered; only fields, because it panics on a
/// byte-order mark at the start, which a stray line may begin with; only UTF-8, because it withholds everything after a byte that
/// is not; and each with LF, because it waits after a CR for what comes next.
fn joined_data(raw: &[u8]) -> Result<String, DecodeError> {
    let mut parts: Vec<Result<&[u8], Infallible>> = Vec::new();
    for line in lines(raw) {
        match line.kind {
            Kind::Comment | Kind::Stray => continue,
            Kind::Named | Kind::Data | Kind::Blank => {}
        }
        if std::str::from_utf8(line.text).is_err() {
            if line.kind == Kind::Data {
                return Err(DecodeError::InvalidUtf8);
            }
            continue;
        }
        parts.extend([Ok(line.text), Ok(b"\n".as_slice())]);
    }
    let event = EventStream::new(stream::iter(parts)).next().now_or_never();
    match event.flatten() {
        Some(Ok(event)) => Ok(event.data),
        Some(Err(_)) | None => Err(DecodeError::Unreadable),
    }
}

/// Joins the stray lines of an event.
fn stray_text(raw: &[u8]) -> Bytes {
    let stray: Vec<_> = lines(raw)
        .filter(|line| line.kind == Kind::Stray)
        .map(|line| line.text)
        .collect();
    stray.join(b"\n".as_slice()).into()
}
