//! Accepts connections and serves them until told to stop.
//!
//! `axum::serve` has no way to bound slow heads or to drain with a deadline, so the loop over hyper is our own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    net::TcpStream,
    signal::unix::{Signal, SignalKind, signal},
    task::coop::unconstrained,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use super::{
    connection::Versions,
    door::{Door, Doors},
    workers::Workers,
};
use crate::http::Parts;

/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the last words of cut answers may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves what comes in through `doors` until one of `signals` tells the process to stop, then drains.
pub(super) async fn serve(
    doors: Doors,
    workers: &Workers,
    parts: Parts,
    mut signals: Signals,
    stop: CancellationToken,
) {
    let (connections, end) = (TaskTracker::new(), CancellationToken::new());
    let versions = Arc::new(Versions::default());
    let connect = |door: &Door, socket, peer| {
        connect(&versions, workers, door, (socket, peer), &connections, &end);
    };

    let mut draining = false;
    let drained = sleep(Duration::MAX);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            (door, accepted) = doors.accept() => match accepted {
                Ok((socket, peer)) => connect(door, socket, peer),
                Err(error) => {
                    warn!(error = %error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            signal = signals.next() => {
                if draining {
                    info!("told to stop twice: stopping now");
                    return;
                }
                draining = true;
                let app = parts.load();
                app.drain();
                // At a terminal nobody has to be told by `/readyz` first.
                let delay = if signal == Told::Interrupted { Duration::ZERO } else { app.config.timeouts.drain_delay };
                info!(delay_ms = delay.as_millis(), "stopping: `/readyz` says so, new requests are still answered for a moment");
                drained.as_mut().reset(tokio::time::Instant::now() + delay);
            }
            () = &mut drained, if draining => break,
        }
    }
    // Whoever is connected already may have sent a request that no balancer repeats: closing the socket would reset them.
    while let Some((door, Ok((socket, peer)))) = unconstrained(doors.accept()).now_or_never() {
        connect(door, socket, peer);
    }
    drop(doors);

    let patience = parts.load().config.timeouts.shutdown;
    info!(
        shutdown_ms = patience.as_millis(),
        "no longer accepting: open answers may finish"
    );
    end.cancel();
    connections.close();
    let closing = connections.wait();
    tokio::pin!(closing);
    tokio::select! {
        () = &mut closing => return,
        () = sleep(patience) => {}
        _ = signals.next() => return,
    }
    warn!("answers are still open after {patience:?}: ending them");
    stop.cancel();
    let _ = timeout(LAST_WORDS, closing).await;
}

fn connect(
    versions: &Arc<Versions>,
    workers: &Workers,
    door: &Door,
    (socket, peer): (TcpStream, SocketAddr),
    connections: &TaskTracker,
    closing: &CancellationToken,
) {
    // Small pieces must not wait for the acknowledgement of the one before.
    let _ = socket.set_nodelay(true);
    let serve = door.serve(Arc::clone(versions), closing.clone());
    // A connection lives beside the others; it ends with its client, or at the drain's deadline with the process.
    workers.serve(socket, connections, move |socket| async move {
        if let Err(error) = serve(socket).await {
            debug!(error = %error, %peer, "a connection ended early");
        }
    });
}

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// SIGTERM: an orchestrator.
    Terminated,
    /// SIGINT: a person at a terminal.
    Interrupted,
}

/// The signals that tell the process to stop, caught from now on.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Terminated,
            _ = self.interrupt.recv() => Told::Interrupted,
        }
    }
}
