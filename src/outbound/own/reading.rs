//! What is read into: two blocks of memory that all connections of a thread have in common.
//!
//! What is read is given on as a slice of a block, without a copy. In most cases nobody holds it any more when the next read comes, of
//! whichever connection, and the block is read into from its start again. A slice that somebody keeps, such as a queue to a client that does
//! not read, keeps its block: hence a small one for the events of a stream, which come one by one.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// How much is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// An event or two.
    Little,
    /// Whole answers, and events that come faster than they are read.
    Much,
}

impl Room {
    /// The size of a block, in bytes.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Little => 1 << 10,
            Self::Much => 16 << 10,
        }
    }
}

#[derive(Default)]
struct Blocks {
    little: BytesMut,
    much: BytesMut,
}

/// Reads what is there. Empty: the neighbour hung up.
pub(super) fn poll_read<R: AsyncRead + Unpin>(
    io: &mut R,
    room: Room,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    thread_local! {
        static BLOCKS: RefCell<Blocks> = RefCell::default();
    }
    BLOCKS.with_borrow_mut(|blocks| {
        let block = match room {
            Room::Little => &mut blocks.little,
            Room::Much => &mut blocks.much,
        };
        // Where a part of it is still held, what is left of it does while that is a quarter.
        if !block.try_reclaim(room.bytes()) && block.capacity() < room.bytes() / 4 {
            block.reserve(room.bytes());
        }
        ready!(poll_read_buf(Pin::new(io), cx, block))?;
        Poll::Ready(Ok(block.split().freeze()))
    })
}
