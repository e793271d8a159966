//! What the operator does in the middle of answers of every kind: a new configuration, and the end of the process.

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    kind::Kind,
    program::Program,
    stage::{QUESTION, becomes},
    support::{
        lighton::{FakeLightOn, found, result},
        reply::Gate,
        server::Server,
    },
};

/// The neighbours of a running program: each kind has an upstream, told apart by its path, and its answer stops in the middle.
struct Open {
    lighton: FakeLightOn,
    upstream: Server,
    gate: Gate,
}

impl Open {
    fn new() -> Self {
        let gate = Gate::new();
        let finds = found([result("Five years.")]);
        let lighton = FakeLightOn::new().always("/api/v3/search", finds);
        let upstream = Kind::ALL.into_iter().fold(Server::new(), |upstream, kind| {
            let route = format!("/{}/v1{}", kind.name(), kind.path());
            let upstream = match kind.calls() {
                true => upstream.on(&route, kind.call()),
                false => upstream,
            };
            upstream.on(&route, kind.gated(&gate))
        });
        Self {
            lighton,
            upstream,
            gate,
        }
    }

    fn file(&self, settings: &str) -> String {
        let search = self.lighton.url();
        let mut text = format!(
            "{settings}\nsearch = {{ base_url = \"{search}\", api_key = \"md-secret-k\" }}\n"
        );
        for kind in Kind::ALL {
            let (name, url) = (kind.name(), self.upstream.url());
            text.push_str(&format!(
                "[upstreams.{name}]\nbase_url = \"{url}/{name}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"{name}\"]\n"
            ));
        }
        text
    }

    /// Asks in every kind; when all answers stand in their middle, does `meanwhile` and lets them go on.
    async fn answers(&self, program: &Program, meanwhile: impl Future<Output = ()>) {
        let streams = watch::Sender::new(0);
        let asking = join_all(Kind::ALL.map(|kind| ask(kind, program, &streams)));
        let interrupting = async {
            // Each kind asks once, those with tools twice.
            self.upstream.received(Kind::ALL.len() + 2).await;
            let begun = |count: &usize| *count == Kind::those(Kind::streams).len();
            streams.subscribe().wait_for(begun).await.unwrap();
            meanwhile.await;
            self.gate.open();
        };
        let (answers, ()) = tokio::join!(asking, interrupting);

        for (kind, text) in Kind::ALL.into_iter().zip(answers) {
            if kind.streams() {
                assert!(text.ends_with("data: [DONE]\n\n"), "{kind:?}: {text}");
                assert!(!text.contains("\"error\""), "{kind:?}: {text}");
            } else {
                let answer: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(kind.said(&answer), "ab", "{kind:?}: {text}");
            }
        }
    }
}

/// The whole answer; `streams` counts those whose first piece came.
async fn ask(kind: Kind, program: &Program, streams: &watch::Sender<usize>) -> String {
    let body = kind.question(&kind.name(), QUESTION);
    let request = program.post(&format!("/v1{}", kind.path()), &body);
    // No connection stays behind it: the sockets are counted.
    let request = request.header("connection", "close");
    let mut response = crate::watch::send(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut text = Vec::new();
    while let Some(piece) = response.chunk().await.unwrap() {
        if text.is_empty() && kind.streams() {
            streams.send_modify(|count| *count += 1);
        }
        text.extend(piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn reload_in_mid_stream() {
    let open = Open::new();
    let mut program = Program::serve(&open.file("")).await;
    let sockets = program.sockets();
    let file = program.file();

    let mut log = program.log();
    open.answers(&program, async {
        std::fs::write(file, open.file("retry.attempts = 1")).unwrap();
        let taken = |log: &String| log.contains("the new configuration is in force");
        log.wait_for(taken).await.unwrap();
    })
    .await;

    open.upstream.settled().await;
    open.lighton.settled().await;
    if let Some(before) = sockets {
        let sockets = || program.sockets().unwrap_or_default();
        becomes(before, sockets, "sockets").await;
    }
    program.terminate();
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test]
async fn drain_in_mid_stream() {
    let open = Open::new();
    let settings = "timeouts = { drain_delay = \"0s\", shutdown = \"1h\" }";
    let mut program = Program::serve(&open.file(settings)).await;

    let mut log = program.log();
    open.answers(&program, async {
        program.terminate();
        let draining = |log: &String| log.contains("no longer accepting");
        log.wait_for(draining).await.unwrap();
    })
    .await;

    // The process ends when its last answer did, an hour early, and every connection with it.
    assert_eq!(program.end().await.0, Some(0));
    open.upstream.all_closed().await;
    open.lighton.all_closed().await;
}
