//! One gateway between its neighbours, for one fault: it is warmed up, suffers, and is looked at for what stays behind.

use std::{net::SocketAddr, thread, time::Duration};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::{
    runtime::{Builder, Handle},
    time::{sleep, timeout},
};

use crate::{
    heard::Heard,
    kind::Kind,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, found, result},
        reply::Reply,
        server::{Server, nobody},
        upstream::says,
    },
};

/// What is searched for.
pub(crate) const QUESTION: &str = "What is our data retention policy?";

/// Two calls at most, so that a fault that may pass is seen to be tried again, and the status waits for the first event.
pub(crate) const TWICE: &str = "retry = { attempts = 2, max_wait = \"5ms\" }\nstream = { heartbeat = \"0s\", commit_after = \"60s\" }\n";

/// How long what must happen may take; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `row` for each kind, beside each other, each on a runtime of its own: so the tasks that are counted are its own.
pub(crate) fn each(kinds: &[Kind], row: impl AsyncFn(Kind) + Sync) {
    thread::scope(|scope| {
        for kind in kinds {
            let run = || {
                let runtime = Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(row(*kind));
            };
            let named = thread::Builder::new().name(kind.name());
            named
                .spawn_scoped(scope, run)
                .expect("the system has room for a thread");
        }
    });
}

/// A gateway that is warm: it has answered, and its pools of connections have begun.
pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) lighton: FakeLightOn,
    pub(crate) upstream: Server,
    pub(crate) gateway: Gateway,
    tasks: usize,
    /// What the neighbours were asked before the fault.
    asked: usize,
    searched: usize,
}

impl Stage {
    /// With `settings` at the head of its file.
    pub(crate) async fn new(kind: Kind, settings: &str) -> Self {
        Self::beside(kind, settings, nobody()).await
    }

    /// With a second upstream at `other`, whose only model is `other`.
    pub(crate) async fn beside(kind: Kind, settings: &str, other: SocketAddr) -> Self {
        let (lighton, upstream) = (FakeLightOn::new(), Server::new());
        let settings = format!(
            "{settings}\nupstreams.other = {{ base_url = \"http://{other}/v1\", api_key = \"md-secret-k\", models = [\"other\"] }}\n"
        );
        let gateway = Gateway::start(&lighton, &upstream, &settings).await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        let mut stage = Self {
            kind,
            lighton,
            upstream,
            gateway,
            tasks,
            asked: 0,
            searched: 0,
        };
        stage.warm_up().await;
        stage
    }

    async fn warm_up(&mut self) {
        self.lighton.push(found([result("Five years.")]));
        self.upstream.push(says("warm"));
        let body = Kind::Whole.question("m", QUESTION);
        let answer = Answer::of(self.request(Kind::Whole, &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        (self.asked, self.searched) = (1, 1);
    }

    /// The request of its kind, to the model that works.
    pub(crate) fn ask(&self) -> RequestBuilder {
        self.request(self.kind, &self.kind.question("m", QUESTION))
    }

    /// A request that leaves no connection behind it.
    pub(crate) fn request(&self, kind: Kind, body: &Value) -> RequestBuilder {
        self.gateway
            .request(Method::POST, &format!("/v1{}", kind.path()))
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(body.to_string())
    }

    /// Writes the search into the script, and the turn that asks for it, as far as the kind has them; gives how many calls that makes.
    pub(crate) fn prepared(&self) -> usize {
        if self.kind.searches() {
            self.lighton.push(found([result("Five years.")]));
        }
        if self.kind.calls() {
            self.upstream.push(self.kind.call());
        }
        usize::from(self.kind.calls())
    }

    /// What the client hears where the upstream answers like this: exactly these calls are made, after those that the kind needs.
    pub(crate) async fn suffers(&self, faults: impl IntoIterator<Item = Reply>) -> Heard {
        let mut calls = self.asked + self.prepared();
        for fault in faults {
            self.upstream.push(fault);
            calls += 1;
        }
        let heard = self.hears(self.ask()).await;
        assert_eq!(self.upstream.requests().len(), calls, "{heard:#?}");
        let searches = self.searched + usize::from(self.kind.searches());
        assert_eq!(self.lighton.requests().len(), searches, "{heard:#?}");
        heard
    }

    /// What the client hears.
    pub(crate) async fn hears(&self, request: RequestBuilder) -> Heard {
        let (kind, answer) = (self.kind, Answer::of(request).await);
        Heard { kind, answer }
    }

    /// Checks that nothing of the request stayed: no stream, no place, no connection to a neighbour and no task.
    pub(crate) async fn nothing_is_left(self) {
        let app = self.gateway.app();
        let streams = || usize::try_from(app.metrics.open_streams.get()).unwrap();
        becomes(0, streams, "open streams").await;
        let places = app.config.limits.concurrent_requests;
        let taken = || places - app.places.available_permits();
        becomes(0, taken, "places taken").await;
        self.upstream.settled().await;
        self.lighton.settled().await;
        let tasks = || Handle::current().metrics().num_alive_tasks();
        becomes(self.tasks, tasks, "tasks").await;
    }
}

/// Waits until `count` gives `wanted`: of what ends by itself there is nothing to wait for but the number.
pub(crate) async fn becomes(wanted: usize, count: impl Fn() -> usize, what: &str) {
    let counting = async {
        while count() != wanted {
            sleep(Duration::from_millis(1)).await;
        }
    };
    if timeout(PATIENCE, counting).await.is_err() {
        panic!("{what}: {} and not {wanted}", count());
    }
}
