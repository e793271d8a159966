//! What a scripted neighbour answers: a head, pieces of a body, and how it misbehaves in between.
//!
//! ```ignore
//! Reply::json(json!({"results": []}))
//! Reply::status(429).header("retry-after", "1")
//! Reply::stream("text/event-stream").piece("data: {}\n\n").wait(&gate).cut()
//! sse([json!({"choices": []})]).hang()
//! ```

use std::{fmt::Display, time::Duration};

use serde_json::Value;
use tokio::sync::watch;

/// Holds a script back until the test opens it; a clone is the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everything that waits at the gate go on, now and later.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the gate is open.
    pub(crate) async fn opened(&self) {
        let mut state = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = state.wait_for(|open| *open).await;
    }
}

/// One thing the server does in the course of a reply.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes a piece of the body, framed as the head announced.
    Piece(Vec<u8>),
    /// Writes these bytes as they are, outside any framing.
    Raw(Vec<u8>),
    /// Writes nothing until the gate opens.
    Wait(Gate),
    /// Writes nothing for a while.
    Pause(Duration),
    /// Writes nothing until the client hangs up.
    Hang,
    /// Writes this piece over and over until the client hangs up.
    Repeat(Vec<u8>),
    /// Closes the connection in good order, wherever the answer stands.
    Cut,
    /// Resets the connection (RST), wherever the answer stands.
    Reset,
}

/// How the body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By `content-length`, the sum of the pieces unless the test announced another.
    Length,
    /// By chunks, one for each piece.
    Chunked,
    /// By the end of the connection.
    Close,
    /// No head at all: the script writes every byte.
    Raw,
}

/// A scripted answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(super) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    pub(super) before_head: Vec<Step>,
    pub(crate) steps: Vec<Step>,
}

impl Reply {
    /// An answer with `status` and an empty body.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            framing: Framing::Length,
            before_head: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// 200 with a JSON body.
    pub(crate) fn json(body: impl Into<Value>) -> Self {
        Self::body("application/json", body.into().to_string())
    }

    /// 200 with a body and its length.
    pub(crate) fn body(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::status(200)
            .header("content-type", content_type)
            .piece(body)
    }

    /// 200 with a chunked body; each [`piece`](Self::piece) is written and flushed by itself.
    pub(crate) fn stream(content_type: &str) -> Self {
        let mut reply = Self::status(200).header("content-type", content_type);
        reply.framing = Framing::Chunked;
        reply
    }

    /// These bytes in place of head and body, then the end of the connection.
    pub(crate) fn garbage(bytes: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::status(0);
        reply.framing = Framing::Raw;
        reply.raw(bytes).cut()
    }

    /// No byte at all: the connection closes in good order.
    pub(crate) fn closed() -> Self {
        let mut reply = Self::status(0);
        reply.framing = Framing::Raw;
        reply.cut()
    }

    /// No byte at all: the connection is reset.
    pub(crate) fn refused() -> Self {
        let mut reply = Self::status(0);
        reply.framing = Framing::Raw;
        reply.reset()
    }

    /// No byte at all until the client hangs up.
    pub(crate) fn silence() -> Self {
        let mut reply = Self::status(0);
        reply.framing = Framing::Raw;
        reply.hang()
    }

    /// Replaces the status.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header. `content-length` replaces the computed one, which makes a head that lies.
    pub(crate) fn header(mut self, name: &str, value: impl Display) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.to_string()));
        self
    }

    /// Tells the end of the body by the end of the connection.
    pub(crate) fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// Holds the head back until the gate opens.
    pub(crate) fn head_after(mut self, gate: &Gate) -> Self {
        self.before_head.push(Step::Wait(gate.clone()));
        self
    }

    /// Writes a piece of the body and flushes it.
    pub(crate) fn piece(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Piece(bytes.into()))
    }

    /// Writes these bytes outside any framing.
    pub(crate) fn raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Raw(bytes.into()))
    }

    /// Writes a chunk that announces twice the bytes it brings; follow it with [`cut`](Self::cut).
    pub(crate) fn half_chunk(self, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let mut wire = format!("{:x}\r\n", bytes.len() * 2).into_bytes();
        wire.extend(bytes);
        self.raw(wire)
    }

    /// Writes nothing until the gate opens.
    pub(crate) fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Writes nothing for `time`.
    pub(crate) fn pause(self, time: Duration) -> Self {
        self.step(Step::Pause(time))
    }

    /// Writes nothing more until the client hangs up.
    pub(crate) fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// Writes a piece of the body every few milliseconds until the client hangs up.
    pub(crate) fn repeat(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Repeat(bytes.into()))
    }

    /// Closes the connection here, in good order.
    pub(crate) fn cut(self) -> Self {
        self.step(Step::Cut)
    }

    /// Resets the connection here.
    pub(crate) fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The head as it goes out; empty where the script writes every byte.
    pub(super) fn head(&self) -> Vec<u8> {
        if self.framing == Framing::Raw {
            return Vec::new();
        }
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Scripted");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Length if !self.announces_length() && self.status != 204 => {
                head.push_str(&format!("content-length: {}\r\n", self.length()));
            }
            Framing::Length => {}
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::Close => head.push_str("connection: close\r\n"),
            Framing::Raw => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// A piece of the body as it goes out.
    pub(super) fn framed(&self, piece: &[u8]) -> Vec<u8> {
        // An empty chunk would end the body.
        if self.framing != Framing::Chunked || piece.is_empty() {
            return piece.to_vec();
        }
        let mut wire = format!("{:x}\r\n", piece.len()).into_bytes();
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
        wire
    }

    fn announces_length(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, _)| name == "content-length")
    }

    fn length(&self) -> usize {
        let length = |step: &Step| match step {
            Step::Piece(bytes) | Step::Raw(bytes) => bytes.len(),
            Step::Wait(_)
            | Step::Pause(_)
            | Step::Hang
            | Step::Repeat(_)
            | Step::Cut
            | Step::Reset => 0,
        };
        self.steps.iter().map(length).sum()
    }
}

/// An event stream: one `data:` event a piece, then `[DONE]`.
pub(crate) fn sse<T: Display>(events: impl IntoIterator<Item = T>) -> Reply {
    sse_unfinished(events).piece("data: [DONE]\n\n")
}

/// An event stream without `[DONE]`: add to it what should happen instead.
pub(crate) fn sse_unfinished<T: Display>(events: impl IntoIterator<Item = T>) -> Reply {
    let stream = Reply::stream("text/event-stream");
    events.into_iter().fold(stream, |reply, event| {
        reply.piece(format!("data: {event}\n\n"))
    })
}
