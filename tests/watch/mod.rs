//! Watches over secrets in every test that starts a gateway: whatever comes out of it, in answers, logs, numbers or on the terminal, is searched
//! for every secret that any gateway of this process was configured with.
//!
//! Gateways in the process are built by [`router`], the program is started by [`program`]: `tests/rules` sees to it that no test has another
//! way. What is found ends the whole process at once, so that no test can catch it.

#![allow(
    dead_code,
    reason = "each test binary has its own kind of gateways to watch"
)]

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use bytes::Bytes;
use groundwire::{
    app::App,
    config::{ApiKey, Config, SearchBackend},
    http::{self, Parts},
};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use memchr::memmem::Finder;
use regex::Regex;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// A shorter secret would be found in innocent words, and so could not be looked for.
const SHORTEST: usize = 8;

/// What an answer's pieces are joined by, so that no secret hides in a cut.
const LONGEST: usize = 200;

/// Every secret that a gateway of this process was configured with.
static SECRETS: Mutex<BTreeMap<String, Finder<'static>>> = Mutex::new(BTreeMap::new());

/// The gateway's routes; what they answer and what they log is watched.
pub(crate) fn router(parts: Parts) -> Router {
    listen();
    let watched = Arc::new(Watched {
        parts: Arc::clone(&parts),
        noted: Mutex::default(),
    });
    http::router(parts).layer(from_fn_with_state(watched, watch_answer))
}

/// The built program, to be started: what it says goes to [`look`].
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_groundwire"))
}

/// Notes the secrets in the configuration files of `folder`.
#[expect(
    clippy::panic,
    reason = "test code: a pattern that is none is the test's failure"
)]
pub(crate) fn note_folder(folder: &Path) {
    let secret = Regex::new(
        r#"(?i)\b(?:[\w-]*api[_-]key|x-[\w-]*key|[\w-]*(?:authorization|token|secret)|redis_url)["']?\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')"#,
    );
    let secret = secret.unwrap_or_else(|error| panic!("{error}"));
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let tables = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "toml"));
    for table in tables.filter_map(|file| std::fs::read_to_string(file.path()).ok()) {
        for found in secret.captures_iter(&table) {
            let text = found.get(1).or_else(|| found.get(2));
            note(text.map_or("", |text| text.as_str()));
        }
    }
}

/// Notes the secrets among variables of the environment.
pub(crate) fn note_variables<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) {
    for (name, value) in variables {
        let ends = [
            "_API_KEY",
            "_TOKEN",
            "_SECRET",
            "REDIS_URL",
            "GROUNDWIRE_KEY",
        ];
        if ends.iter().any(|end| name.ends_with(end)) {
            note(value);
        }
    }
}

/// Notes the secrets of a configuration.
pub(crate) fn note_config(config: &Config) {
    if let SearchBackend::LightOn {
        api_key: Some(key), ..
    } = &config.search.backend
    {
        note(key.expose());
    }
    for upstream in &config.upstreams {
        if let ApiKey::Fixed(key) = &upstream.api_key {
            note(key.expose());
        }
    }
    let told = config.telemetry.iter().flat_map(|told| &told.headers);
    let sent = config
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.headers);
    for (name, value) in told.chain(sent) {
        // Of headers, those that are there to open something.
        let opens = ["authorization", "key", "token", "secret"];
        if opens.iter().any(|word| name.as_str().contains(word)) {
            note(value.to_str().unwrap_or_default());
        }
    }
    let own = config
        .keys
        .iter()
        .filter_map(|key| key.search_api_key.as_ref());
    own.chain(config.links.secret.as_ref())
        .chain(
            config
                .limits
                .shared
                .as_ref()
                .map(|shared| &shared.redis_url),
        )
        .for_each(|secret| note(secret.expose()));
}

/// Notes a secret as it stands in a configuration.
fn note(written: &str) {
    let written = written.trim_start_matches("Bearer ");
    // The address of a server is none, but for its password.
    let secret = match written.split_once("://") {
        Some((_, rest)) => rest
            .split_once('@')
            .map_or("", |(user, _)| user.trim_start_matches(':')),
        None => written,
    };
    if secret.is_empty() || secret == "client" || secret.contains("${") {
        return;
    }
    assert!(
        secret.len() >= SHORTEST,
        "{secret:?} is too short for a test's secret: it could not be looked for"
    );
    let mut secrets = secrets();
    if !secrets.contains_key(secret) {
        secrets.insert(secret.to_owned(), Finder::new(secret).into_owned());
    }
}

/// Searches what came out of a gateway, by the way called `what`.
pub(crate) fn look(what: &str, told: &[u8]) {
    let Some(secret) = secret_in(told) else {
        return;
    };
    let text = String::from_utf8_lossy(told);
    let message = format!("A SECRET GOT OUT: {what} tells {secret:?}:\n{text}\n");
    let _ = io::stderr().write_all(message.as_bytes());
    end_children();
    std::process::abort();
}

/// Ends the programs that this process started: nobody else would.
fn end_children() {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let _ = Command::new("kill").args(["-s", "KILL", child]).status();
        }
    }
}

/// The secret that stands in `told`.
fn secret_in(told: &[u8]) -> Option<String> {
    let secrets = secrets();
    let mut found = secrets
        .iter()
        .filter(|(_, finder)| finder.find(told).is_some());
    found.next().map(|(secret, _)| secret.clone())
}

/// Asks the program and searches its answer: the head and an error's body at once, other bodies as they are read.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<reqwest::Response> {
    let answer: ::http::Response<reqwest::Body> = request.send().await?.into();
    look_at_head(answer.headers());
    let (head, body) = answer.into_parts();
    let body = if head.status.is_success() {
        reqwest::Body::wrap(Looked::at(body))
    } else {
        // The test may not care for it.
        let body = body.collect().await?.to_bytes();
        look("an error's body", &body);
        body.into()
    };
    Ok(::http::Response::from_parts(head, body).into())
}

/// Searches the numbers of the program at `authority`, where it still tells them.
pub(crate) fn numbers(authority: &str) {
    let read = || -> io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(authority)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut told = Vec::new();
        socket.read_to_end(&mut told)?;
        Ok(told)
    };
    look("/metrics", &read().unwrap_or_default());
}

fn secrets() -> MutexGuard<'static, BTreeMap<String, Finder<'static>>> {
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_at_head(headers: &::http::HeaderMap) {
    let values: Vec<&[u8]> = headers.values().map(|value| value.as_bytes()).collect();
    if secret_in(&values.join(&b'\n')).is_none() {
        return;
    }
    for (name, value) in headers {
        look(name.as_str(), value.as_bytes());
    }
}

/// A gateway whose numbers are looked at when it goes.
struct Watched {
    parts: Parts,
    /// Whose secrets are noted.
    noted: Mutex<Weak<App>>,
}

impl Watched {
    fn note(&self) {
        let app = self.parts.load_full();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(noted.as_ptr(), Arc::as_ptr(&app)) {
            note_config(&app.config);
            *noted = Arc::downgrade(&app);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let text = self.parts.load().numbers();
        look("/metrics", text.as_bytes());
    }
}

async fn watch_answer(
    State(watched): State<Arc<Watched>>,
    request: Request,
    next: Next,
) -> Response {
    // At each request, because a reload may have brought others.
    watched.note();
    let response = next.run(request).await;
    look_at_head(response.headers());
    response.map(|body| Body::new(Looked::at(body)))
}

/// A body that is looked at on its way.
struct Looked<B> {
    body: B,
    /// The end of what went before.
    tail: Vec<u8>,
}

impl<B> Looked<B> {
    fn at(body: B) -> Self {
        let tail = Vec::new();
        Self { body, tail }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Looked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.tail.extend_from_slice(piece);
            look("an answer", &self.tail);
            let old = self.tail.len().saturating_sub(LONGEST);
            self.tail.drain(..old);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Looks at everything that is logged in this process, whatever the level, and at what a panic says.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // A test that fails may quote what it sent.
            let place = panic.location().map(std::panic::Location::file);
            if !place.is_some_and(|file| file.starts_with("tests/")) {
                look("a panic", panic.to_string().as_bytes());
            }
            tell(panic);
        }));
        let filter = EnvFilter::new("debug,groundwire=trace");
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false);
        let _ = log.with_writer(Log).try_init();
    });
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        look("the log", line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
