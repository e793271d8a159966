//! A neighbour that plays a script over real sockets on a port of its own.
//!
//! Each request takes the first line of the script that fits it; the server records what it got and plays the answer, broken as the
//! script wants it. A script that is not played to its end, or a request that it has no line for, fails the test when the server is
//! dropped.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure, and the server's tasks end with the server"
)]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

pub(crate) use super::connection::Request;
use super::{
    connection::{Connection, HungUp, Next},
    reply::Reply,
};

/// How long a test waits for something that must happen before it fails; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A scripted HTTP server on 127.0.0.1.
pub(crate) struct Server {
    address: SocketAddr,
    stage: Arc<Stage>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts a server with an empty script, on a free port.
    pub(crate) fn new() -> Self {
        Self::on_stage(Stage::default())
    }

    /// Starts a server that makes up every answer; it keeps no record of what it was asked.
    pub(crate) fn improvising(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::on_stage(Stage {
            improvise: Some(Box::new(answer)),
            ..Stage::default()
        })
    }

    fn on_stage(stage: Stage) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let stage = Arc::new(stage);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&stage)));
        Self {
            address,
            stage,
            accepting,
        }
    }

    /// Adds an answer for the next request, whatever it asks; also while the server runs.
    pub(crate) fn then(self, reply: Reply) -> Self {
        self.add(Line::new("", reply));
        self
    }

    /// Adds an answer for the next request to `route`, `"GET /v1/models"` or just the path; it is taken once.
    pub(crate) fn on(self, route: &str, reply: Reply) -> Self {
        self.add(Line::new(route, reply));
        self
    }

    /// Answers every request to `route` that nothing else in the script fits; it need not be played.
    pub(crate) fn always(self, route: &str, reply: Reply) -> Self {
        self.stage
            .script
            .lock()
            .unwrap()
            .standing
            .push(Line::new(route, reply));
        self
    }

    /// Adds an answer for the next request while the test runs.
    pub(crate) fn push(&self, reply: Reply) {
        self.add(Line::new("", reply));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and its address, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order they were complete.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.stage.requests.borrow().clone()
    }

    /// The only request so far.
    pub(crate) fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(
            requests.len(),
            1,
            "exactly one request was expected: {requests:#?}"
        );
        requests.remove(0)
    }

    /// Waits until `count` requests came in whole, and gives them all.
    pub(crate) async fn received(&self, count: usize) -> Vec<Request> {
        let enough = |requests: &Vec<Request>| requests.len() >= count;
        until(&self.stage.requests, enough, &format!("{count} requests")).await
    }

    /// Waits until `count` bytes of request bodies came in, over all requests, unfinished ones included.
    pub(crate) async fn body_bytes(&self, count: usize) -> usize {
        let what = format!("{count} bytes of request bodies");
        until(&self.stage.body_bytes, |bytes| *bytes >= count, &what).await
    }

    /// Waits until a client hung up before its answer was complete.
    pub(crate) async fn closed(&self) {
        until(
            &self.stage.hangups,
            |count| *count > 0,
            "a client that hangs up",
        )
        .await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn all_closed(&self) {
        until(
            &self.stage.open,
            |count| *count == 0,
            "every connection's end",
        )
        .await;
    }

    /// Waits until no request is being answered, then closes every connection that rests, and waits for its end: what is open after this was
    /// never let go of.
    pub(crate) async fn settled(&self) {
        until(
            &self.stage.answering,
            |count| *count == 0,
            "the end of every answer",
        )
        .await;
        self.stage.partings.send_modify(|count| *count += 1);
        self.all_closed().await;
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        *self.stage.accepted.borrow()
    }

    fn add(&self, line: Line) {
        self.stage.script.lock().unwrap().lines.push_back(line);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        if std::thread::panicking() {
            return;
        }
        let script = self.stage.script.lock().unwrap();
        assert!(
            script.unexpected.is_empty(),
            "the script has no line for: {:#?}",
            script.unexpected
        );
        assert!(
            script.lines.is_empty(),
            "the script was not played to its end: {:#?}",
            script.lines
        );
    }
}

/// An address where nothing listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// What the server's tasks share.
#[derive(Default)]
struct Stage {
    script: Mutex<Script>,
    /// Takes the place of the script, and of the record.
    improvise: Option<Improvise>,
    requests: watch::Sender<Vec<Request>>,
    body_bytes: watch::Sender<usize>,
    hangups: watch::Sender<usize>,
    /// Requests that came in whole and whose answer is not played to its end.
    answering: watch::Sender<usize>,
    /// How often all resting connections were told to close.
    partings: watch::Sender<usize>,
    open: watch::Sender<usize>,
    accepted: watch::Sender<usize>,
}

/// Makes up the answer to a request.
type Improvise = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

#[derive(Default)]
struct Script {
    lines: VecDeque<Line>,
    standing: Vec<Line>,
    unexpected: Vec<Request>,
}

#[derive(Debug, Clone)]
struct Line {
    /// A path, with or without a method before it; empty: any request.
    route: String,
    reply: Reply,
}

impl Line {
    fn new(route: &str, reply: Reply) -> Self {
        let route = route.to_owned();
        Self { route, reply }
    }

    fn fits(&self, request: &Request) -> bool {
        match self.route.split_once(' ') {
            Some((method, path)) => method == request.method && path == request.path,
            None => self.route.is_empty() || self.route == request.path,
        }
    }
}

impl Script {
    fn answer(&mut self, request: &Request) -> Reply {
        // A line with a route goes before one without: it was written for this request.
        let named = self
            .lines
            .iter()
            .position(|line| !line.route.is_empty() && line.fits(request));
        let standing = self.standing.iter().find(|line| line.fits(request));
        let next = named.or_else(|| match standing {
            Some(_) => None,
            None => self.lines.iter().position(|line| line.fits(request)),
        });
        if let Some(line) = next.and_then(|index| self.lines.remove(index)) {
            return line.reply;
        }
        if let Some(line) = standing {
            return line.reply.clone();
        }
        self.unexpected.push(request.clone());
        Reply::body("text/plain", "the script has no line for this request").with_status(418)
    }
}

async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = *stage.accepted.borrow();
        stage.accepted.send_modify(|count| *count += 1);
        stage.open.send_modify(|count| *count += 1);
        let stage = Arc::clone(&stage);
        let partings = stage.partings.subscribe();
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let mut connection = Connection::new(stream, number);
            if let Err(HungUp) = serve(&mut connection, &stage, partings).await {
                stage.hangups.send_modify(|count| *count += 1);
            }
            drop(connection);
            stage.open.send_modify(|count| *count -= 1);
        });
    }
}

async fn serve(
    connection: &mut Connection,
    stage: &Stage,
    mut partings: watch::Receiver<usize>,
) -> Result<(), HungUp> {
    loop {
        let request = tokio::select! {
            request = connection.request(&stage.body_bytes) => request?,
            _ = partings.changed() => return Ok(()),
        };
        let Some(request) = request else {
            return Ok(());
        };
        stage.answering.send_modify(|count| *count += 1);
        let reply = match &stage.improvise {
            Some(improvise) => improvise(&request),
            None => {
                let reply = stage.script.lock().unwrap().answer(&request);
                stage
                    .requests
                    .send_modify(|requests| requests.push(request));
                reply
            }
        };
        let played = connection.play(reply).await;
        stage.answering.send_modify(|count| *count -= 1);
        if played? == Next::End {
            return Ok(());
        }
    }
}

async fn until<T: Clone>(
    channel: &watch::Sender<T>,
    done: impl FnMut(&T) -> bool,
    what: &str,
) -> T {
    let mut state = channel.subscribe();
    match timeout(PATIENCE, state.wait_for(done)).await {
        Ok(Ok(value)) => value.clone(),
        Ok(Err(_)) | Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
