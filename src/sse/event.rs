//! One whole event: what it says, and its bytes to send on.

use bytes::Bytes;

use super::DecodeError;
use super::fields::{self, Kind, Line};

/// One event of a stream: its exact bytes and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    raw: Bytes,
    payload: Payload,
    cleanness: Cleanness,
    wholeness: Wholeness,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The `data:` lines, joined by LF; valid UTF-8, and more than blanks.
    Data(Bytes),
    /// `data: [DONE]`, OpenAI's last event.
    Done,
    /// Nothing but comments: a heartbeat.
    Comment,
    /// No data: a bare `data:`, or only `event:`, `id:`, `retry:`.
    Empty,
    /// No data, but lines that are no field of event streams: a JSON body under the wrong content type, or `error: {..}` as old llama.cpp
    /// sends it. As they came, joined by line ends; not necessarily UTF-8.
    Stray(Bytes),
}

/// Whether an event may be sent on as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleanness {
    Clean,
    /// It has lines that break OpenAI's own clients.
    Unclean,
}

/// Whether the blank line that ends an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wholeness {
    Whole,
    /// The body ended first; the line ends were added.
    Cut,
}

impl Event {
    /// Reads the event that has the bytes `raw`, which end in its blank line.
    pub(super) fn read(raw: Bytes, wholeness: Wholeness) -> Result<Self, DecodeError> {
        let (payload, cleanness) = fields::read(&raw)?;
        Ok(Self {
            raw,
            payload,
            cleanness,
            wholeness,
        })
    }

    /// Gives the event's exact bytes, its blank line included, without a byte-order mark.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Gives what the event says.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Tells whether the blank line came that ends the event, and not the end of the body, which may have cut it short.
    pub fn is_whole(&self) -> bool {
        self.wholeness == Wholeness::Whole
    }

    /// Gives the bytes to send on: as they came, but without `id:`, `retry:`, `event:` and empty data; `None` when nothing is left.
    ///
    /// OpenAI's clients dispatch an event for each of those and then fail to read its missing JSON (openai-python `_streaming.py`).
    pub fn relayed(self) -> Option<Bytes> {
        match self.cleanness {
            Cleanness::Clean => Some(self.raw),
            Cleanness::Unclean => self.rewritten(),
        }
    }

    fn rewritten(self) -> Option<Bytes> {
        let has_data = matches!(self.payload, Payload::Data(_) | Payload::Done);
        let is_kept = |line: &Line<'_>| match line.kind {
            Kind::Data => has_data,
            Kind::Comment | Kind::Stray => true,
            Kind::Named | Kind::Blank => false,
        };

        let first = fields::lines(&self.raw).find(is_kept)?;
        let tail = self.raw.slice(first.start..);
        if fields::lines(&tail).all(|line| is_kept(&line) || line.kind == Kind::Blank) {
            return Some(tail);
        }

        let mut kept = Vec::with_capacity(tail.len());
        for line in fields::lines(&tail) {
            if is_kept(&line) {
                kept.extend_from_slice(line.whole);
            }
            if line.kind == Kind::Blank {
                // A line that ended in CR stood before a line that is gone: a LF right after it would be half of a line end.
                let merges = kept.ends_with(b"\r") && line.whole.starts_with(b"\n");
                kept.extend_from_slice(if merges { b"\r" } else { line.whole });
            }
        }
        Some(kept.into())
    }
}
