//! Connections that rest between two requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Connection, is_open};
use crate::outbound::{REST, connect::Io};

/// How many connections rest for the requests to come, in each shard.
const MOST_IDLE: usize = 1024;

/// Connections that rest, the last one used at the end.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Vec<(Io, Instant)>>);

impl Idle {
    /// One that is open, the last one used first: the others may then rest until they are closed.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Connection> {
        loop {
            let (mut io, since) = self.resting().pop()?;
            if since.elapsed() >= REST {
                continue;
            }
            if is_open(&mut io) {
                let home = Arc::clone(self);
                return Some(Connection { io, home });
            }
        }
    }

    pub(super) fn put(&self, io: Io) {
        let mut resting = self.resting();
        if resting.len() < MOST_IDLE {
            resting.push((io, Instant::now()));
        }
    }

    /// Closes those that rested for long enough, and those whose neighbour hung up, which nobody else would notice.
    pub(crate) fn sweep(&self, now: Instant) {
        let is_kept =
            |(io, since): &mut (Io, Instant)| now.duration_since(*since) < REST && is_open(io);
        let (mut kept, closing): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.resting())
            .into_iter()
            .map(|mut resting| (is_kept(&mut resting), resting))
            .partition(|(is_kept, _)| *is_kept);
        // Closing is a call of the system each: not while others wait for the lock.
        drop(closing);
        let mut resting = self.resting();
        // What came to rest meanwhile is younger.
        kept.extend(resting.drain(..).map(|younger| (true, younger)));
        *resting = kept.into_iter().map(|(_, resting)| resting).collect();
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.resting().len()
    }

    fn resting(&self) -> MutexGuard<'_, Vec<(Io, Instant)>> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Idle").field(&self.resting().len()).finish()
    }
}
