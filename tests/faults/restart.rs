//! Two instances behind a load balancer are restarted one after the other under load, and no client notices.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    balancer::Balancer,
    kind::Kind,
    nginx::{Nginx, free},
    program::Program,
    stage::QUESTION,
    support::{reply::Reply, server::Server},
    watch,
};

/// How many clients ask at the same time.
const CLIENTS: usize = 8;

/// An upstream whose streams take long enough to be open when an instance is told to stop.
fn upstream() -> Server {
    Server::improvising(|request| {
        let kind = match request.json()["stream"] == true {
            true => Kind::RelayedStream,
            false => Kind::RelayedWhole,
        };
        let pause = Duration::from_millis(100);
        let mut reply = kind.answer();
        let pieces = std::mem::take(&mut reply.steps);
        for piece in pieces {
            reply.steps.push(piece);
            reply = reply.pause(pause);
        }
        reply
    })
}

async fn instance(address: SocketAddr, upstream: &Server) -> Program {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = \"{address}\"\nrag.mode = \"off\"\nallow_overrides = [\"mode\"]\nsearch.api_key = \"md-secret-k\"\n\
         timeouts = {{ drain_delay = \"1s\", shutdown = \"1h\" }}\n\
         [upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    );
    std::fs::write(folder.path().join("groundwire.toml"), text).unwrap();
    Program::start_plainly(folder).await
}

/// One client: asks, and asks again, until `restarts` are over; counts its answers.
async fn ask(front: SocketAddr, over: &AtomicUsize, answers: &AtomicUsize) {
    let client = Client::new();
    while over.load(Ordering::Relaxed) == 0 {
        for kind in [Kind::RelayedStream, Kind::RelayedWhole] {
            let request = client
                .post(format!("http://{front}/v1{}", kind.path()))
                .header("content-type", "application/json")
                .header("connection", "close")
                .body(kind.question("m", QUESTION).to_string());
            let response = watch::send(request).await.unwrap();
            let status = response.status();
            let text = response.text().await.unwrap();
            assert_eq!(status, 200, "{text}");
            if kind.streams() {
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
            } else {
                let answer: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(kind.said(&answer), "ab");
            }
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Restarts `instances` one after the other while clients ask `front`.
async fn restarts(
    front: SocketAddr,
    instances: &[SocketAddr; 2],
    mut running: Vec<Program>,
    upstream: &Server,
    seen: impl AsyncFn(),
) {
    let (over, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let asking = futures_util::future::join_all((0..CLIENTS).map(|_| ask(front, &over, &answers)));
    let restarting = async {
        for (place, address) in instances.iter().enumerate() {
            let before = answers.load(Ordering::Relaxed);
            running[place].terminate();
            assert_eq!(running[place].end().await.0, Some(0));
            // The other one answers while this one is away.
            while answers.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
            running[place] = instance(*address, upstream).await;
            // As every orchestrator does: the next one goes when this one is back.
            seen().await;
        }
        over.store(1, Ordering::Relaxed);
    };
    tokio::join!(asking, restarting);
}

#[tokio::test]
async fn a_rolling_restart_behind_a_balancer_that_follows_readyz_drops_nothing() {
    let (upstream, instances) = (upstream(), [free(), free()]);
    let running = vec![
        instance(instances[0], &upstream).await,
        instance(instances[1], &upstream).await,
    ];
    let balancer = Balancer::before(instances.to_vec()).await;

    let seen = async || balancer.ready(instances.len()).await;
    restarts(balancer.address(), &instances, running, &upstream, seen).await;
}

#[tokio::test]
async fn a_rolling_restart_behind_nginx_drops_nothing() {
    let (upstream, instances) = (upstream(), [free(), free()]);
    let running = vec![
        instance(instances[0], &upstream).await,
        instance(instances[1], &upstream).await,
    ];
    let Some(nginx) = Nginx::before(&instances).await else {
        return;
    };

    // It finds out by asking, and asks the other where it is refused.
    let seen = async || {};
    restarts(nginx.address(), &instances, running, &upstream, seen).await;
}

/// A balancer that does not look after `/readyz` connects until it is refused; what it connected before that must be answered.
#[tokio::test]
async fn who_was_connected_when_accepting_ended_is_answered() {
    let upstream = Server::new().always(
        "/v1/chat/completions",
        Reply::json(serde_json::json!({"choices": []})),
    );
    let mut program = Program::serve(&format!(
        "rag.mode = \"off\"\nallow_overrides = false\ntimeouts = {{ drain_delay = \"0s\", shutdown = \"1h\" }}\n\
         [upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    ))
    .await;

    // The process stands still, so that all of them wait to be accepted when it is told to stop.
    program.signal("STOP");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let mut sockets = Vec::new();
    // Fewer than the system lets wait, which is 128.
    for _ in 0..100 {
        let mut socket = tokio::net::TcpStream::connect(program.authority())
            .await
            .unwrap();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    program.terminate();
    program.signal("CONT");

    for mut socket in sockets {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(program.end().await.0, Some(0));
}
