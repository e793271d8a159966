//! A real Redis server of a test's own: on a free port, in a folder of its own, keeping nothing.
//!
//! The variable REDIS_SERVER names another program in its place, such as `valkey-server`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure"
)]

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{authority::Issued, server::nobody};

/// How long a server may take to start before its test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);

/// A running `redis-server`; it is killed when this is dropped.
pub(crate) struct RedisServer {
    address: SocketAddr,
    folder: TempDir,
    tls: Option<Issued>,
    child: Child,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_as(None).await
    }

    /// Starts one that speaks TLS alone.
    pub(crate) async fn start_with_tls(issued: &Issued) -> Self {
        Self::start_as(Some(issued.clone())).await
    }

    async fn start_as(tls: Option<Issued>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        loop {
            // Another process may take the port before the server does: then there is another one.
            let address = nobody();
            let child = spawn(address, tls.as_ref(), &folder);
            let mut server = Self {
                address,
                tls: tls.clone(),
                folder: tempfile::tempdir_in(folder.path()).unwrap(),
                child,
            };
            if server.answers().await {
                server.folder = folder;
                return server;
            }
            assert!(began.elapsed() < PATIENCE, "redis-server did not start");
        }
    }

    /// Its address as the configuration takes it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.address, self.tls.as_ref(), &self.folder);
        assert!(self.answers().await, "redis-server did not start again");
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it answers; false where it ended instead.
    async fn answers(&mut self) -> bool {
        let waiting = async {
            loop {
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                let is_there = match self.tls {
                    // It listens when it is ready.
                    Some(_) => TcpStream::connect(self.address).await.is_ok(),
                    None => ping(self.address).await.is_some(),
                };
                if is_there {
                    return true;
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or(false)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: SocketAddr, tls: Option<&Issued>, folder: &TempDir) -> Child {
    let program = std::env::var_os("REDIS_SERVER");
    let mut command = Command::new(program.unwrap_or_else(|| "redis-server".into()));
    let port = address.port().to_string();
    match tls {
        None => command.args(["--port", &port]),
        Some(issued) => command
            .args(["--port", "0", "--tls-port", &port])
            .args(["--tls-auth-clients", "no"])
            .arg("--tls-cert-file")
            .arg(&issued.certificate)
            .arg("--tls-key-file")
            .arg(&issued.private_key)
            .arg("--tls-ca-cert-file")
            .arg(&issued.certificate),
    };
    let spawned = command
        .args(["--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.unwrap_or_else(|error| {
        panic!(
            "these tests run a real `redis-server`, which cannot be started ({error}): install it, on Debian with `apt-get install redis-server`"
        )
    })
}

/// Says PING; `None` where nobody answers it.
async fn ping(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.ok()?;
    (&answer == b"+PONG\r\n").then_some(())
}
