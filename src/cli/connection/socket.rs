//! The socket of one connection: it notes when something comes in, and closes so that the last answer is read.
//!
//! A system that closes a socket into which bytes still come answers them with a reset, and a reset makes the client's system throw away
//! what the client has not read yet: a 413 for a body that is still being sent would be lost. Hence, as nginx does (`lingering_close`), the
//! sending side is closed first and what still comes in is read for a while.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    Life,
    versions::{PREFACE, Spoken},
};

/// How long a client may go on sending a body that was refused.
const LINGER: Duration = Duration::from_secs(30);

/// How much of such a body is read, in bytes.
const LINGER_BYTES: usize = 64 << 20;

/// A socket that notes when something comes in.
pub(super) struct Socket<S> {
    socket: S,
    life: Arc<Life>,
    /// What was read of it already.
    first: Vec<u8>,
    linger: Option<Linger>,
}

/// What may still come in before the socket is closed.
struct Linger {
    bytes: usize,
    end: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + Unpin> Socket<S> {
    pub(super) fn new(socket: S, life: Arc<Life>) -> Self {
        Self {
            socket,
            life,
            first: Vec::new(),
            linger: None,
        }
    }

    /// Reads into `first` until that tells which HTTP the client speaks: the preface of HTTP/2, or anything else.
    pub(super) fn poll_spoken(
        &mut self,
        first: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Spoken>> {
        while first.len() < PREFACE.len() {
            let mut piece = [0; PREFACE.len()];
            let mut room = ReadBuf::new(piece.get_mut(first.len()..).unwrap_or_default());
            ready!(self.poll_socket(cx, &mut room))?;
            first.extend_from_slice(room.filled());
            if room.filled().is_empty() || !PREFACE.starts_with(first) {
                return Poll::Ready(Ok(Spoken::Http1));
            }
        }
        Poll::Ready(Ok(Spoken::Http2))
    }

    /// The same socket, which gives `first` once more.
    pub(super) fn after(self, first: Vec<u8>) -> Self {
        Self { first, ..self }
    }

    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.life.hear(|| self.life.now());
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what comes in and throws it away, until the client has ended its side or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            bytes: LINGER_BYTES,
            end: Box::pin(sleep(LINGER)),
        });
        let mut scratch = [0; 8 << 10];
        loop {
            if linger.bytes == 0 || linger.end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 {
                return Poll::Ready(());
            }
            linger.bytes = linger.bytes.saturating_sub(count);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return self.poll_socket(cx, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..count).unwrap_or_default());
        self.first.drain(..count);
        // Together with what follows: hyper makes the buffer of a head larger that comes in two pieces, and keeps it for as long as the
        // connection lasts.
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.poll_socket(cx, buffer) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        }
        if self.life.is_sent_to() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn spoken(socket: &mut Socket<DuplexStream>, first: &mut Vec<u8>) -> io::Result<Spoken> {
        poll_fn(|cx| socket.poll_spoken(first, cx)).await
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_version_and_are_read_again_with_what_follows() {
        let head = b"POST /v1/chat/completions HTTP/1.1\r\n\r\n{}";
        for (said, expected) in [
            (&head[..], Spoken::Http1),
            (b"G", Spoken::Http1),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n and frames",
                Spoken::Http2,
            ),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t", Spoken::Http1),
            (b"", Spoken::Http1),
        ] {
            let (mut client, socket) = duplex(1024);
            client.write_all(said).await.unwrap();
            drop(client);
            let (mut socket, mut first) = (Socket::new(socket, Arc::default()), Vec::new());

            assert_eq!(spoken(&mut socket, &mut first).await.unwrap(), expected);

            let mut read = [0; 1024];
            let count = socket.after(first).read(&mut read).await.unwrap();
            assert_eq!(
                read[..count].escape_ascii().to_string(),
                said.escape_ascii().to_string()
            );
        }
    }

    #[tokio::test]
    async fn a_preface_may_come_byte_by_byte() {
        let (mut client, socket) = duplex(1);
        let (mut socket, mut first) = (Socket::new(socket, Arc::default()), Vec::new());
        let (said, spoken) =
            tokio::join!(client.write_all(PREFACE), spoken(&mut socket, &mut first));
        said.unwrap();
        assert_eq!(spoken.unwrap(), Spoken::Http2);
        assert_eq!(first, PREFACE);
    }

    #[tokio::test]
    async fn a_buffer_without_room_loses_nothing() {
        let (mut client, socket) = duplex(1024);
        client.write_all(b"GET /").await.unwrap();
        let (mut socket, mut first) = (Socket::new(socket, Arc::default()), Vec::new());
        spoken(&mut socket, &mut first).await.unwrap();
        let (mut socket, mut read) = (socket.after(first), [0; 5]);
        for byte in read.chunks_mut(2) {
            socket.read_exact(byte).await.unwrap();
        }
        assert_eq!(&read, b"GET /");
    }
}
