//! The load generator: connections that ask, read, and ask again, with as little work as HTTP allows.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    Error,
    cases::Shape,
    standin::{self, STAMP},
};

/// The key that the gateway's configuration knows.
pub(crate) const KEY: &str = "bench-key";

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all connections of one measurement saw. Times are nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers that were whole and right.
    pub(crate) answers: u64,
    /// Answers that were not.
    pub(crate) failed: u64,
    /// Events of the right answers.
    pub(crate) events: u64,
    /// From sending a request to the end of its answer.
    pub(crate) latencies: Vec<u64>,
    /// From sending a request to its first event.
    pub(crate) firsts: Vec<u64>,
    /// From the upstream's sending of an event to its arrival.
    pub(crate) delays: Vec<u64>,
}

/// One connection that is kept.
pub(crate) struct Connection {
    address: SocketAddr,
    socket: TcpStream,
    /// The answer so far.
    heard: Vec<u8>,
}

/// The bytes of a request.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Opens connections.
pub(crate) async fn connect(address: SocketAddr, clients: usize) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
    Ok(connections)
}

/// Asks once, and says whether the answer was right.
pub(crate) async fn once(connections: &mut [Connection], request: &[u8]) -> Result<bool, Error> {
    let connection = connections.first_mut().ok_or("no connection")?;
    let mut tally = Tally::default();
    connection.ask(request, &Shape::Whole, &mut tally).await?;
    Ok(tally.answers == 1)
}

/// Asks over all connections at once, each again and again until `time` is over.
pub(crate) async fn load(
    connections: &mut [Connection],
    request: &[u8],
    shape: &Shape,
    time: Duration,
) -> Tally {
    let until = Instant::now() + time;
    let clients = connections
        .iter_mut()
        .enumerate()
        .map(|(index, connection)| async move {
            let mut tally = Tally::default();
            if let Shape::Stream { gap, .. } = shape {
                // Streams of many users do not beat in time: spread over ten gaps, in an order that mixes the phases.
                sleep(*gap * (index as u32 * 7 % 10) + *gap * (index as u32 % 97) / 97).await;
            }
            loop {
                if connection.ask(request, shape, &mut tally).await.is_err() {
                    tally.failed += 1;
                    if connection.reopen().await.is_err() {
                        break;
                    }
                }
                if Instant::now() >= until {
                    break;
                }
            }
            tally
        });
    let mut all = Tally::default();
    for tally in join_all(clients).await {
        all.merge(tally);
    }
    all
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            address,
            socket,
            heard: Vec::with_capacity(64 << 10),
        })
    }

    async fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.address).await?;
        Ok(())
    }

    /// Asks, reads the whole answer and counts it.
    async fn ask(&mut self, request: &[u8], shape: &Shape, tally: &mut Tally) -> Result<(), Error> {
        let began = Instant::now();
        self.socket.write_all(request).await?;
        timeout(PATIENCE, self.hear(began, tally)).await??;
        tally.latencies.push(nanoseconds(began.elapsed()));
        match self.judge(shape) {
            Some(events) => {
                tally.answers += 1;
                tally.events += events;
            }
            None => {
                if tally.failed == 0 {
                    eprintln!("a wrong answer: {}", String::from_utf8_lossy(&self.heard));
                }
                tally.failed += 1;
            }
        }
        Ok(())
    }

    /// Reads until the answer has ended, and notes when its events came.
    async fn hear(&mut self, began: Instant, tally: &mut Tally) -> io::Result<()> {
        self.heard.clear();
        let (mut scanned, mut framing, mut first) = (0, None, None);
        loop {
            if self.socket.read_buf(&mut self.heard).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let now = Instant::now();
            framing = framing.or_else(|| Framing::read(&self.heard));
            while let Some(stamp) = standin::next_stamp(&self.heard, &mut scanned) {
                first.get_or_insert(now);
                tally.delays.push(standin::age(stamp, now));
            }
            if framing.is_some_and(|framing| framing.is_over(&self.heard)) {
                break;
            }
        }
        if let Some(first) = first {
            tally.firsts.push(nanoseconds(first - began));
        }
        Ok(())
    }

    /// The number of events of the answer that was read, where it is whole and right.
    fn judge(&self, shape: &Shape) -> Option<u64> {
        let heard = &self.heard;
        let has = |text: &str| memmem::find(heard, text.as_bytes()).is_some();
        if !heard.starts_with(b"HTTP/1.1 200") {
            return None;
        }
        match shape {
            Shape::Whole => has(r#""finish_reason":"stop""#).then_some(0),
            Shape::Stream { events, .. } => {
                let right = has("data: [DONE]") && has(r#""usage":{"#);
                // A proxy may cut an event in two, so that a stamp or two are not seen.
                let seen = memmem::find_iter(heard, STAMP.as_bytes()).count() as u64;
                (right && seen + 16 > u64::from(*events)).then_some(u64::from(*events) + 2)
            }
        }
    }
}

/// How the end of an answer is known.
#[derive(Debug, Clone, Copy)]
enum Framing {
    /// At this many bytes, head included.
    Length(usize),
    Chunked,
}

impl Framing {
    /// Reads it from the head, once that is there.
    fn read(heard: &[u8]) -> Option<Self> {
        let head = heard.get(..memmem::find(heard, b"\r\n\r\n")? + 4)?;
        Some(match standin::content_length(head) {
            Some(length) => Self::Length(head.len() + length),
            None => Self::Chunked,
        })
    }

    fn is_over(self, heard: &[u8]) -> bool {
        match self {
            Self::Length(length) => heard.len() >= length,
            Self::Chunked => heard.ends_with(b"\r\n0\r\n\r\n"),
        }
    }
}

impl Tally {
    fn merge(&mut self, other: Self) {
        self.answers += other.answers;
        self.failed += other.failed;
        self.events += other.events;
        self.latencies.extend(other.latencies);
        self.firsts.extend(other.firsts);
        self.delays.extend(other.delays);
    }
}

/// A time that fits: five centuries are not measured.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
