//! Behind nginx, with what it does when nobody configures it otherwise: it buffers answers and speaks HTTP/1.0 to the gateway.
//!
//! Where there is no nginx on the machine, its tests say so and do nothing; `.ci/run` installs it.

#![expect(
    clippy::print_stdout,
    reason = "what was skipped must be said somewhere"
)]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    kind::Kind,
    stage::{QUESTION, Stage, TWICE, becomes},
    support::reply::Gate,
    watch,
};

/// How long the start may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running nginx; it is ended when this is dropped.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it in front of `gateways`, as a user without rights could; `None` where there is no nginx.
    pub(crate) async fn before(gateways: &[SocketAddr]) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: there is no nginx on this machine");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let address = free();
        fs::write(
            folder.path().join("nginx.conf"),
            configuration(address, gateways),
        )
        .unwrap();
        let child = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let nginx = Self {
            child,
            address,
            _folder: folder,
        };
        timeout(PATIENCE, listening).await.expect("nginx listens");
        Some(nginx)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody uses now.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Debian keeps it where only the administrator's PATH looks.
fn program() -> Option<&'static str> {
    ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
        let version = Command::new(program)
            .arg("-v")
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|version| version.success())
    })
}

/// Nothing but addresses and folders, and one thing that every balancer before two instances needs: that one which was refused once, because
/// it is being restarted, is not left out for the next ten seconds, in which the other may be restarted.
fn configuration(address: SocketAddr, gateways: &[SocketAddr]) -> String {
    let servers: String = gateways
        .iter()
        .map(|gateway| format!("server {gateway} max_fails=0; "))
        .collect();
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {name}; "))
        .concat();
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit; events {{ }}\n\
         http {{ access_log off; {folders}\n\
         upstream gateway {{ {servers} }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://gateway; }} }} }}\n"
    )
}

#[tokio::test]
async fn a_piece_is_through_nginx_before_the_upstream_has_the_next() {
    for kind in Kind::those(Kind::streams) {
        let stage = Stage::new(kind, TWICE).await;
        let Some(nginx) = Nginx::before(&[stage.gateway.address()]).await else {
            return;
        };
        let gate = Gate::new();
        stage.prepared();
        stage.upstream.push(kind.gated(&gate));

        let request = Client::new()
            .post(format!("http://{}/v1{}", nginx.address(), kind.path()))
            .header("content-type", "application/json")
            .body(kind.question("m", QUESTION).to_string());
        let mut response = watch::send(request).await.unwrap();
        let mut text = String::new();
        // Were the answer buffered, this would wait for ever: the gate opens behind it.
        while !text.contains("\"a\"") {
            let piece = timeout(PATIENCE, response.chunk())
                .await
                .expect("nginx holds the first piece back");
            text.push_str(&String::from_utf8_lossy(&piece.unwrap().unwrap()));
        }
        gate.open();
        while let Some(piece) = response.chunk().await.unwrap() {
            text.push_str(&String::from_utf8_lossy(&piece));
        }

        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}

#[tokio::test]
async fn a_client_of_nginx_that_leaves_ends_the_upstream_request() {
    let kind = Kind::RelayedStream;
    let stage = Stage::new(kind, TWICE).await;
    let Some(nginx) = Nginx::before(&[stage.gateway.address()]).await else {
        return;
    };
    stage.upstream.push(kind.begun().hang());

    let request = Client::new()
        .post(format!("http://{}/v1{}", nginx.address(), kind.path()))
        .header("content-type", "application/json")
        .body(kind.question("m", QUESTION).to_string());
    let mut response = watch::send(request).await.unwrap();
    response.chunk().await.unwrap();
    drop(response);

    stage.upstream.closed().await;
    let app = stage.gateway.app();
    let streams = || usize::try_from(app.metrics.open_streams.get()).unwrap();
    becomes(0, streams, "open streams").await;
}
