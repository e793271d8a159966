//! One connection of a scripted server: HTTP/1.1 by hand, because a well-behaved library would refuse to send what these tests need.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure"
)]

use std::{io, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::Instant,
};

use super::reply::{Framing, Reply, Step};

/// How often a repeated piece is written.
const REPEAT_EVERY: Duration = Duration::from_millis(5);

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without the query.
    pub(crate) path: String,
    /// What follows the `?`; empty where there is none.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Which connection brought it, counted from 0.
    pub(crate) connection: usize,
    /// When it was there as a whole.
    pub(crate) at: Instant,
}

impl Request {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("the body is not JSON ({error}): {text}"))
    }
}

/// The client went before its answer was complete.
pub(super) struct HungUp;

impl From<io::Error> for HungUp {
    fn from(_: io::Error) -> Self {
        Self
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    number: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, number: usize) -> Self {
        let unread = Vec::new();
        Self {
            stream,
            unread,
            number,
        }
    }

    /// Reads a whole request; `None` where the client closed between two of them.
    pub(super) async fn request(
        &mut self,
        body_bytes: &watch::Sender<usize>,
    ) -> Result<Option<Request>, HungUp> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read().await? {
                return if self.unread.is_empty() {
                    Ok(None)
                } else {
                    Err(HungUp)
                };
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end);
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request = Request {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: Vec::new(),
            connection: self.number,
            at: Instant::now(),
        };
        let chunked = request
            .header("transfer-encoding")
            .is_some_and(|coding| coding.contains("chunked"));
        let length = request
            .header("content-length")
            .and_then(|length| length.parse().ok());
        request.body = if chunked {
            self.chunks(body_bytes).await?
        } else {
            self.take(length.unwrap_or(0), body_bytes).await?
        };
        request.at = Instant::now();
        Ok(Some(request))
    }

    async fn chunks(&mut self, body_bytes: &watch::Sender<usize>) -> Result<Vec<u8>, HungUp> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = find(&self.unread, b"\r\n") {
                    break at;
                }
                if !self.read().await? {
                    return Err(HungUp);
                }
            };
            let size = String::from_utf8_lossy(&self.unread[..end]).into_owned();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            self.unread.drain(..end + 2);
            body.extend(self.take(size, body_bytes).await?);
            self.take(2, &watch::Sender::default()).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn take(
        &mut self,
        count: usize,
        body_bytes: &watch::Sender<usize>,
    ) -> Result<Vec<u8>, HungUp> {
        let mut seen = 0;
        loop {
            let ready = self.unread.len().min(count);
            body_bytes.send_modify(|bytes| *bytes += ready - seen);
            seen = ready;
            if ready == count {
                return Ok(self.unread.drain(..count).collect());
            }
            if !self.read().await? {
                return Err(HungUp);
            }
        }
    }

    /// Reads what is there; false at the client's end.
    async fn read(&mut self) -> Result<bool, HungUp> {
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }

    pub(super) async fn play(&mut self, reply: Reply) -> Result<Next, HungUp> {
        for step in &reply.before_head {
            self.step(&reply, step).await?;
        }
        self.stream.write_all(&reply.head()).await?;
        for step in &reply.steps {
            if self.step(&reply, step).await? == Next::End {
                return Ok(Next::End);
            }
        }
        match reply.framing {
            Framing::Length => Ok(Next::Request),
            Framing::Chunked => {
                self.stream.write_all(b"0\r\n\r\n").await?;
                Ok(Next::Request)
            }
            Framing::Close | Framing::Raw => self.close().await,
        }
    }

    async fn step(&mut self, reply: &Reply, step: &Step) -> Result<Next, HungUp> {
        match step {
            Step::Piece(bytes) => self.stream.write_all(&reply.framed(bytes)).await?,
            Step::Raw(bytes) => self.stream.write_all(bytes).await?,
            Step::Wait(gate) => tokio::select! {
                () = gate.opened() => {}
                gone = hangup(&mut self.stream, &mut self.unread) => return Err(gone),
            },
            Step::Pause(time) => tokio::select! {
                () = tokio::time::sleep(*time) => {}
                gone = hangup(&mut self.stream, &mut self.unread) => return Err(gone),
            },
            Step::Hang => return Err(hangup(&mut self.stream, &mut self.unread).await),
            Step::Repeat(bytes) => {
                let framed = reply.framed(bytes);
                loop {
                    self.stream.write_all(&framed).await?;
                    tokio::select! {
                        () = tokio::time::sleep(REPEAT_EVERY) => {}
                        gone = hangup(&mut self.stream, &mut self.unread) => return Err(gone),
                    }
                }
            }
            Step::Cut => return self.close().await,
            Step::Reset => {
                self.stream.set_zero_linger()?;
                return Ok(Next::End);
            }
        }
        Ok(Next::Request)
    }

    async fn close(&mut self) -> Result<Next, HungUp> {
        let _ = self.stream.shutdown().await;
        Ok(Next::End)
    }
}

/// What follows an answer on its connection.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    Request,
    End,
}

/// Waits until the client closes; what it sends meanwhile is kept for the next request.
async fn hangup(stream: &mut TcpStream, unread: &mut Vec<u8>) -> HungUp {
    while let Ok(1..) = stream.read_buf(unread).await {}
    HungUp
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
