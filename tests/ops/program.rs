//! The built program as a child process, its log read to the end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure here is the test's failure, and the reader of the log ends with the program"
)]

use std::{
    fs,
    io::{BufRead, BufReader, pipe},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    sync::watch::{Receiver, channel},
    time::timeout,
};

use crate::watch;

/// How long a test waits for something that must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `groundwire serve`; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    log: Receiver<String>,
    gateway: String,
    folder: TempDir,
    client: reqwest::Client,
}

impl Program {
    /// Starts it on the configuration `text`, and waits until it listens.
    pub(crate) async fn serve(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("groundwire.toml"), text).unwrap();
        Self::start(folder).await
    }

    /// Starts it in `folder`, which holds the configuration, on a free port.
    pub(crate) async fn start(folder: TempDir) -> Self {
        Self::run(folder, &["--listen", "127.0.0.1:0"]).await
    }

    /// Starts it in `folder`, where the configuration says what it listens on.
    pub(crate) async fn start_plainly(folder: TempDir) -> Self {
        Self::run(folder, &[]).await
    }

    /// Starts it in `folder` with these variables in its environment, on a free port.
    pub(crate) async fn start_with(folder: TempDir, variables: &[(&str, &str)]) -> Self {
        Self::run_with(folder, &["--listen", "127.0.0.1:0"], variables).await
    }

    async fn run(folder: TempDir, arguments: &[&str]) -> Self {
        Self::run_with(folder, arguments, &[]).await
    }

    async fn run_with(folder: TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let (output, input) = pipe().unwrap();
        let mut command = watch::program();
        command
            .args(["serve", "--config", "groundwire.toml"])
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(input.try_clone().unwrap())
            .stderr(input);
        watch::note_folder(folder.path());
        watch::note_variables(variables.iter().copied());
        let child = command.spawn().unwrap();
        // It holds the pipe's other end as well, which would never end by that.
        drop(command);
        let lines = BufReader::new(output).lines();
        let (said, log) = channel(String::new());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                said.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut program = Self {
            child,
            log,
            gateway: String::new(),
            folder,
            client: reqwest::Client::new(),
        };
        let log = program.says("listening on http").await;
        let at = log.find("listening on ").unwrap() + "listening on ".len();
        program.gateway = log[at..].split_whitespace().next().unwrap().to_owned();
        program
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("groundwire.toml")
    }

    /// Where it keeps its files.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.gateway.split_once("://").unwrap().1
    }

    /// The address of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway)
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log as it grows.
    pub(crate) fn log(&self) -> Receiver<String> {
        self.log.clone()
    }

    /// Waits until the log holds `words`, and gives all of it.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        self.says_times(words, 1).await
    }

    /// Waits until the log holds `words` that often, and gives all of it.
    pub(crate) async fn says_times(&mut self, words: &str, count: usize) -> String {
        let mut log = self.log.clone();
        let waiting = log.wait_for(|log| log.matches(words).count() >= count);
        if let Ok(Ok(log)) = timeout(PATIENCE, waiting).await {
            return log.clone();
        }
        panic!(
            "the log never said {words:?} {count} times:\n{}",
            *self.log.borrow()
        );
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Tells it to stop, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits for its end; gives the exit code and the whole log.
    pub(crate) async fn end(&mut self) -> (Option<i32>, String) {
        // The sender goes when the log was read to its end, which is the program's.
        let ending = async { while self.log.changed().await.is_ok() {} };
        if timeout(PATIENCE, ending).await.is_err() {
            panic!("it did not end:\n{}", *self.log.borrow());
        }
        let status = self.child.wait().unwrap();
        let log = self.log.borrow().clone();
        (status.code(), log)
    }

    /// Asks for `path`.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("{}{path}", self.gateway);
        watch::send(self.client.get(url)).await.unwrap()
    }

    /// Sends a chat request.
    pub(crate) async fn chat(&self, body: &Value) -> reqwest::Response {
        watch::send(self.chat_request(body)).await.unwrap()
    }

    /// Sends a chat request with a key.
    pub(crate) async fn chat_as(&self, key: &str, body: &Value) -> reqwest::Response {
        let request = self.chat_request(body).bearer_auth(key);
        watch::send(request).await.unwrap()
    }

    /// A request to `path` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.client.post(self.url(path)).body(body.to_string());
        request.header("content-type", "application/json")
    }

    /// How many sockets the process holds; `None` where the system does not tell.
    pub(crate) fn sockets(&self) -> Option<usize> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.id())).ok()?;
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Some(
            targets
                .filter(|target| target.to_string_lossy().starts_with("socket:"))
                .count(),
        )
    }

    fn chat_request(&self, body: &Value) -> reqwest::RequestBuilder {
        let request = self.client.post(self.url("/v1/chat/completions"));
        let request = request.header("content-type", "application/json");
        request.body(body.to_string())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.gateway.is_empty() {
            watch::numbers(self.authority());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Again, because a test may have written another configuration since.
        watch::note_folder(self.folder.path());
        watch::look("the log", self.log.borrow().as_bytes());
    }
}
