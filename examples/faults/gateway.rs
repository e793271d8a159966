//! The gateway as a process of its own, so that its memory and its sockets are its own.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::{neighbours::Neighbours, support::server::nobody};

/// How long the start may take.
const START: Duration = Duration::from_secs(30);

/// The running gateway; it is killed when this is dropped.
pub(crate) struct Gateway {
    child: Child,
    url: String,
    failures: Arc<AtomicU64>,
    _folder: TempDir,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// What it has in memory (`VmRSS`).
    pub(crate) memory_kib: u64,
    pub(crate) sockets: usize,
}

impl Gateway {
    /// Builds the program where it is not built as it is, and starts it between `neighbours`.
    pub(crate) async fn start(neighbours: &Neighbours) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("groundwire.toml");
        fs::write(&file, configuration(neighbours)).unwrap();
        let mut child = Command::new(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let failures = Arc::new(AtomicU64::new(0));
        let (told, address) = mpsc::channel();
        let counted = Arc::clone(&failures);
        // It ends with the process, whose log it reads.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listening on ") {
                    let _ = told.send(url.trim().to_owned());
                } else if line.contains("ERROR") || line.contains("panicked") {
                    counted.fetch_add(1, Ordering::Relaxed);
                    println!("the gateway says: {line}");
                }
            }
        });
        let url = address.recv_timeout(START).unwrap();
        Self {
            child,
            url,
            failures,
            _folder: folder,
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How often it failed by its own fault.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What it holds now; nothing where the system does not tell, which is anywhere but on Linux.
    pub(crate) fn size(&self) -> Size {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        Size {
            memory_kib: memory_kib(&process).unwrap_or_default(),
            sockets: sockets(&process).unwrap_or_default(),
        }
    }

    /// What it holds when it is down to so many sockets, or has not come down to them in ten seconds.
    pub(crate) async fn settled(&self, wanted: usize) -> Size {
        for _ in 0..100 {
            if self.size().sockets <= wanted {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.size()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn memory_kib(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn sockets(process: &Path) -> Option<usize> {
    let descriptors = fs::read_dir(process.join("fd")).ok()?;
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let is_socket = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
    Some(targets.filter(is_socket).count())
}

/// The program of the profile that this example has, which stands in the folder above the examples.
fn program() -> PathBuf {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--bin", "groundwire", "--manifest-path"]);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.status().unwrap();
    assert!(built.success(), "the gateway could not be built");
    let example = env::current_exe().unwrap();
    let profile = example.parent().and_then(Path::parent).unwrap();
    profile.join("groundwire")
}

/// Short deadlines, so that what hangs ends; few calls, so that much comes through to the clients.
fn configuration(neighbours: &Neighbours) -> String {
    format!(
        r#"
        [search]
        base_url = "{lighton}"
        api_key = "k"
        timeout = "700ms"
        requests_per_minute = 1000000
        cache_ttl = "1s"
        cache_entries = 200
        [retry]
        attempts = 2
        max_wait = "50ms"
        [timeouts]
        connect = "500ms"
        first_event = "700ms"
        answer = "1s"
        idle = "400ms"
        total = "3s"
        [stream]
        heartbeat = "100ms"
        commit_after = "300ms"
        [limits]
        event = "64KB"
        [log]
        level = "error"
        [upstreams.one]
        base_url = "{one}/v1"
        api_key = "k"
        models = ["m"]
        [upstreams.two]
        base_url = "{two}/v1"
        api_key = "k"
        models = ["m"]
        [upstreams.gone]
        base_url = "http://{nobody}/v1"
        api_key = "k"
        models = ["m"]
        [models.alone]
        upstream = "one"
        model = "m"
        [models.backed]
        upstream = "two"
        model = "m"
        fallback = ["one/m"]
        [models.refused]
        upstream = "gone"
        model = "m"
        fallback = ["two/m"]
        "#,
        lighton = neighbours.lighton.url(),
        one = neighbours.one.url(),
        two = neighbours.two.url(),
        nobody = nobody(),
    )
}
