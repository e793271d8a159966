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
    /// sends it. Those lines, joined by LF; not necessarily UTF-8.
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
                // The line before may be another than it was, and a LF right after its CR would be half of a line end.
                let merges = kept.ends_with(b"\r");
                kept.extend_from_slice(if merges { b"\r" } else { line.whole });
            }
        }
        Some(kept.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(raw: &'static str) -> Event {
        Event::read(Bytes::from_static(raw.as_bytes()), Wholeness::Whole).unwrap()
    }

    fn data(text: &'static str) -> Payload {
        Payload::Data(Bytes::from_static(text.as_bytes()))
    }

    fn stray(text: &'static str) -> Payload {
        Payload::Stray(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_event_says_what_its_lines_say_together() {
        for (raw, payload) in [
            ("data: {\"a\":1}\n\n", data("{\"a\":1}")),
            ("data:{}\n\n", data("{}")),
            ("data:  a \n\n", data(" a ")),
            (
                "data: a\ndata:b\r\ndata\rdata: \u{feff}c\n\n",
                data("a\nb\n\n\u{feff}c"),
            ),
            ("id: 1\n: ping\ndata: a\nerror: b\n\n", data("a")),
            ("data: [DONE]\n\n", Payload::Done),
            ("data:[DONE]\r\n\r\n", Payload::Done),
            ("event: done\ndata: [DONE] \t\n\n", Payload::Done),
            (": ping\n\n", Payload::Comment),
            (":\n: ping\r\r", Payload::Comment),
            ("data:\n\n", Payload::Empty),
            ("data\n\n", Payload::Empty),
            ("data: \ndata:\n\n", Payload::Empty),
            ("event: ping\n\n", Payload::Empty),
            (": ping\nid: 3\n\n", Payload::Empty),
            ("retry: 3000\n\n", Payload::Empty),
            ("error: {\"code\":500}\n\n", stray("error: {\"code\":500}")),
            ("{\n \"error\": {}\r\n}\n\n", stray("{\n \"error\": {}\n}")),
            ("\u{feff}data: a\n\n", stray("\u{feff}data: a")),
            ("{\n: ping\ndata:\n}\n\n", stray("{\n}")),
            (" data: a\n\n", stray(" data: a")),
        ] {
            assert_eq!(event(raw).payload(), &payload, "{raw:?}");
        }
    }

    #[test]
    fn a_clean_event_is_relayed_byte_for_byte() {
        for raw in [
            "data: a\n\n",
            "data:a\r\n\r\n",
            ": ping\r\r",
            ": ping\ndata: a\rdata: b\r\n\n",
            "error: {}\n\n",
            "data: a\nfoo: b\n\n",
        ] {
            assert_eq!(event(raw).relayed().unwrap(), raw);
        }
    }

    #[test]
    fn what_breaks_clients_is_left_out_and_nothing_else() {
        for (raw, relayed) in [
            ("id: 1\ndata: a\n\n", Some("data: a\n\n")),
            ("data: a\r\nid: 1\r\n\r\n", Some("data: a\r\n\r\n")),
            (
                "event: e\n: c\nretry: 1\ndata: a\nid\ndata: b\n\n",
                Some(": c\ndata: a\ndata: b\n\n"),
            ),
            ("data: a\rid: 1\n\n", Some("data: a\r\r")),
            ("data: a\rid: 1\n\r\n", Some("data: a\r\r")),
            ("data: a\nid: 1\r\r", Some("data: a\n\r")),
            (": ping\ndata:\n\n", Some(": ping\n\n")),
            ("event: e\nerror: {}\n\n", Some("error: {}\n\n")),
            ("event: e\ndata: [DONE]\n\n", Some("data: [DONE]\n\n")),
            ("data:\n\n", None),
            ("data: \t\n\n", None),
            ("data\ndata\n\n", None),
            ("event: ping\n\n", None),
            ("id: 3\nretry: 1\ndata:\n\n", None),
        ] {
            assert_eq!(
                event(raw).relayed().as_deref(),
                relayed.map(str::as_bytes),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn leading_lines_are_left_out_without_a_copy() {
        let event = event("id: 1\nevent: e\ndata: a\n\n");
        let raw = event.raw().clone();

        let relayed = event.relayed().unwrap();

        assert_eq!(relayed.as_ptr(), raw[15..].as_ptr());
    }

    #[test]
    fn an_event_of_very_many_lines_is_read_in_linear_time() {
        // eventsource-stream alone moves all that is left after each line: 50,000 lines would be 9 GB.
        let raw = Bytes::from("data:x\n".repeat(50_000) + "\n");

        let event = Event::read(raw, Wholeness::Whole).unwrap();

        let Payload::Data(data) = event.payload() else {
            panic!("no data");
        };
        assert_eq!(data.len(), 2 * 50_000 - 1);
    }
}
