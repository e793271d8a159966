//! A load balancer as small as one can be: it looks after `/readyz` and hands each connection to an instance that is ready.

#![expect(
    clippy::disallowed_methods,
    reason = "the balancer's task ends with the balancer"
)]

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::interval,
};

/// How often each instance is looked at; much less than the `drain_delay` of the instances.
const EVERY: Duration = Duration::from_millis(100);

/// A running balancer; it ends when this is dropped.
pub(crate) struct Balancer {
    address: SocketAddr,
    ready: watch::Receiver<Vec<SocketAddr>>,
    balancing: JoinHandle<()>,
}

impl Balancer {
    /// Starts it in front of `instances`.
    pub(crate) async fn before(instances: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, ready) = watch::channel(look(&instances).await);
        let balancing = tokio::spawn(balance(listener, instances, seen));
        Self {
            address,
            ready,
            balancing,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has seen that many instances ready.
    pub(crate) async fn ready(&self, count: usize) {
        let mut ready = self.ready.clone();
        ready.changed().await.unwrap();
        ready.wait_for(|ready| ready.len() == count).await.unwrap();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.balancing.abort();
    }
}

async fn balance(
    listener: TcpListener,
    instances: Vec<SocketAddr>,
    ready: watch::Sender<Vec<SocketAddr>>,
) {
    let (mut connections, mut turn) = (JoinSet::new(), 0);
    let mut clock = interval(EVERY);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut client, _) = accepted.unwrap();
                turn += 1;
                let instance = {
                    let ready = ready.borrow();
                    ready.get(turn % ready.len().max(1)).copied()
                };
                connections.spawn(async move {
                    let instance = instance.expect("one of the instances is ready");
                    let mut instance = TcpStream::connect(instance).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut instance).await;
                });
            }
            _ = clock.tick() => { ready.send_replace(look(&instances).await); }
            Some(ended) = connections.join_next() => ended.unwrap(),
        }
    }
}

/// Those that say that they are ready.
async fn look(instances: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut ready = Vec::new();
    for instance in instances {
        let asked = reqwest::get(format!("http://{instance}/readyz")).await;
        if asked.is_ok_and(|answer| answer.status() == 200) {
            ready.push(*instance);
        }
    }
    ready
}
