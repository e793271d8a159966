//! Measures what a client costs that asks for a stream and reads nothing of it, while the upstream sends as fast as it can.
//!
//! ```sh
//! cargo run --release --example idle_readers        # a thousand clients
//! cargo run --release --example idle_readers 5000
//! ```
//!
//! The gateway runs as a process of its own, so that its memory is its own (`VmRSS`, Linux). What the system's sockets hold is not in that
//! number: it is the kernel's, and bounded by `net.ipv4.tcp_rmem` and `tcp_wmem`.

#![expect(
    clippy::print_stdout,
    reason = "printing what was measured is what it is for"
)]

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    process::{Child, ChildStderr, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use groundwire::cli::{self, Cli};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// The argument that makes this program the gateway.
const GATEWAY: &str = "gateway";

/// How long nothing may move until everything is taken to be full.
const STILL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let argument = env::args().nth(1);
    if argument.as_deref() == Some(GATEWAY) {
        let cli = Cli::parse_from(["groundwire", "serve", "--listen", "127.0.0.1:0"]);
        return cli::run(cli).await;
    }
    let clients = argument.and_then(|count| count.parse().ok());
    match measure(clients.unwrap_or(1000)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("it could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(clients: u64) -> io::Result<()> {
    let upstream = TcpListener::bind("127.0.0.1:0").await?;
    let address = upstream.local_addr()?;
    let sent = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(upstream, Arc::clone(&sent)));

    let gateway = Gateway::start(&format!("http://{address}/v1"))?;
    let (id, listening) = (gateway.child.id(), &gateway.address);
    // The first one pays for what all of them share.
    let mut open = vec![ask(listening).await?];
    settled(&sent).await;
    let before = resident(id)?;
    for _ in 0..clients {
        open.push(ask(listening).await?);
    }
    settled(&sent).await;
    let after = resident(id)?;

    let each = after.saturating_sub(before) / clients;
    println!(
        "{clients} clients that read nothing: {before} KiB before, {after} KiB after, {each} KiB each"
    );
    println!(
        "{} MiB came from the upstream, most of it in sockets",
        sent.load(Ordering::Relaxed) >> 20
    );
    drop(open);
    Ok(())
}

/// The gateway as a child of this process; it ends with this.
struct Gateway {
    child: Child,
    address: String,
    _log: BufReader<ChildStderr>,
}

impl Gateway {
    fn start(upstream: &str) -> io::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg(GATEWAY)
            .env("GROUNDWIRE_UPSTREAMS__MODEL__BASE_URL", upstream)
            .env("GROUNDWIRE_RAG__MODE", "off")
            .env("GROUNDWIRE_ALLOW_OVERRIDES", "false")
            .env("GROUNDWIRE_TIMEOUTS__IDLE", "1h")
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take();
        let mut log = BufReader::new(log.ok_or_else(|| io::Error::other("it has no log"))?);
        let mut line = String::new();
        while log.read_line(&mut line)? > 0 {
            if let Some((_, rest)) = line.split_once("listening on http://") {
                let address = rest.trim().to_owned();
                return Ok(Self {
                    child,
                    address,
                    _log: log,
                });
            }
            print!("{line}");
            line.clear();
        }
        Err(io::Error::other("the gateway did not start"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for a stream, and reads nothing.
async fn ask(gateway: &str) -> io::Result<TcpStream> {
    let body = r#"{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}"#;
    let mut socket = TcpStream::connect(gateway).await?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    Ok(socket)
}

async fn accept(listener: TcpListener, sent: Arc<AtomicU64>) {
    let mut streams = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        streams.spawn(speak(socket, Arc::clone(&sent)));
    }
}

/// Answers with events without an end, as fast as they are taken.
async fn speak(mut socket: TcpStream, sent: Arc<AtomicU64>) -> io::Result<()> {
    let mut request = [0; 4096];
    let _ = socket.read(&mut request).await?;
    socket
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n";
    let chunk = format!("{:x}\r\n{event}\r\n", event.len()).repeat(64);
    loop {
        socket.write_all(chunk.as_bytes()).await?;
        let count = u64::try_from(chunk.len()).unwrap_or(0);
        sent.fetch_add(count, Ordering::Relaxed);
    }
}

/// Waits until the upstream can send no more.
async fn settled(sent: &AtomicU64) {
    let mut last = u64::MAX;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
        sleep(STILL).await;
    }
}

/// What the process `id` has in memory, in KiB.
fn resident(id: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.ok_or_else(|| io::Error::other("the system does not tell"))
}
