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

use super::Life;

/// How long a client may go on sending a body that was refused.
const LINGER: Duration = Duration::from_secs(30);

/// How much of such a body is read, in bytes.
const LINGER_BYTES: usize = 64 << 20;

/// A socket that notes when something comes in.
pub(super) struct Socket<S> {
    socket: S,
    life: Arc<Life>,
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
            linger: None,
        }
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
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.life.hear(|| self.life.now());
        }
        Poll::Ready(Ok(()))
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
