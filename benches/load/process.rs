//! The processes that are measured: started on a core of their own, and looked at through `/proc`.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use tempfile::TempDir;

use crate::{Error, cases::MODES, standin::Standin};

/// How long a process may take until it accepts connections.
const START: Duration = Duration::from_secs(20);

/// The digest of [`crate::client::KEY`].
const KEY_SHA256: &str = "b0962662e937d44c699c8305d90cbf190b3150c59b13863d1380b5cc3c711bb7";

/// Which cores are whose.
pub(crate) struct Place {
    gateway: CpuSet,
    rest: CpuSet,
}

/// How long a process may take to end in good order.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process under measurement, which is told to end when this is dropped: one that takes a profile of itself writes it then.
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The bytes of its program.
    pub(crate) size: u64,
    child: Child,
    _folder: TempDir,
}

/// Asks for as many sockets as the system gives without root: the load generator and the stand-in have one each for every stream.
pub(crate) fn allow_many_sockets(streams: usize) -> Result<(), Error> {
    let most = getrlimit(Resource::Nofile).maximum;
    let needed = 2 * streams as u64 + 100;
    if let Some(most) = most.filter(|most| *most < needed) {
        return Err(format!(
            "{streams} streams need {needed} open files, and the system allows {most}: \
             raise that (`ulimit -Hn`), or hold fewer open with --streams"
        )
        .into());
    }
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

impl Place {
    /// Gives the first core to what is measured, and the others to this process; with a single core both share it.
    pub(crate) fn choose() -> Result<Self, Error> {
        let all = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let mut gateway = CpuSet::new();
        gateway.set(cores.next().ok_or("no core")?);
        let mut rest = CpuSet::new();
        cores.for_each(|core| rest.set(core));
        if rest.count() == 0 {
            eprintln!("there is one core only: the bench takes time from what it measures");
            rest = all;
        }
        Ok(Self { gateway, rest })
    }

    /// Moves this thread, and those that it starts, off the core of what is measured.
    pub(crate) fn take_the_rest(&self) -> Result<(), Error> {
        Ok(sched_setaffinity(None, &self.rest)?)
    }

    /// Starts a process on the core of what is measured. A child begins where its parent is.
    fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        sched_setaffinity(None, &self.gateway)?;
        let child = command.spawn();
        self.take_the_rest()?;
        Ok(child?)
    }
}

impl Process {
    /// The gateway, with client keys, their limits, metrics and the access log on, the log in a file.
    pub(crate) fn gateway(program: &Path, standin: Standin, place: &Place) -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let path = folder.path().join("groundwire.toml");
        fs::write(&path, gateway_toml(standin))?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .args([Path::new("--config"), &path])
            .args(["--listen", &address.to_string()])
            .env_clear()
            .stderr(log);
        Self::start(command, program, address, place, folder)
    }

    /// nginx with one worker and nothing but a `proxy_pass`.
    pub(crate) fn nginx(program: &Path, standin: Standin, place: &Place) -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let path = folder.path().join("nginx.conf");
        fs::write(&path, nginx_conf(address, standin.address))?;
        let program = find(program)?;
        let mut command = Command::new(&program);
        command
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&path)
            .stderr(Stdio::null());
        Self::start(command, &program, address, place, folder)
    }

    fn start(
        mut command: Command,
        program: &Path,
        address: SocketAddr,
        place: &Place,
        folder: TempDir,
    ) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Self {
            address,
            size: fs::metadata(program)?.len(),
            child: place.spawn(&mut command)?,
            _folder: folder,
        };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                let log = fs::read_to_string(process._folder.path().join("log"));
                return Err(format!(
                    "{program:?} ended with {status}: {}",
                    log.unwrap_or_default()
                )
                .into());
            }
            if began.elapsed() > START {
                return Err(format!("{program:?} does not listen").into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(process)
    }

    /// The time that the process has computed so far, in user and system mode, all its threads together.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(self.proc("task"))? {
            // A thread may end between the two looks.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let running = text.split_whitespace().next().ok_or("an empty schedstat")?;
            nanoseconds += running.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The memory that it holds now, in bytes.
    pub(crate) fn memory(&self) -> Result<u64, Error> {
        self.status("VmRSS:")
    }

    /// The most memory that it ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64, Error> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<u64, Error> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kibibytes
            .ok_or("the system tells no memory")?
            .parse::<u64>()?
            << 10)
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = Instant::now();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        while matches!(self.child.try_wait(), Ok(None)) {
            if asked.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An address that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Where a program is: Debian has nginx in a folder that only root looks into.
fn find(program: &Path) -> Result<PathBuf, Error> {
    if program.components().count() > 1 {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("there is no {program:?}").into())
}

fn gateway_toml(
    Standin {
        address: standin,
        shared,
    }: Standin,
) -> String {
    let mut toml = format!(
        r#"[search]
base_url = "http://{standin}"
api_key = "search-key"
requests_per_minute = 1000000000
cache_ttl = "0s"
[upstreams.bench]
base_url = "http://{standin}/v1"
api_key = "upstream-key"
models = ["bench"]
[upstreams.shared]
base_url = "http://{shared}/v1"
api_key = "upstream-key"
http2 = "prior_knowledge"
streams_per_connection = 200
[[keys]]
name = "bench"
sha256 = "{KEY_SHA256}"
workspace_id = "*"
requests_per_minute = 1000000000
searches_per_minute = 1000000000
tokens_per_minute = 1000000000
concurrent_requests = 1000000
"#
    );
    for mode in MODES {
        let rag = match mode {
            "inject" => r#"mode = "inject", citations = false"#,
            "cited" => r#"mode = "inject", citations = true"#,
            "tool" => r#"mode = "tool", citations = true"#,
            _ => r#"mode = "off""#,
        };
        let upstream = if mode == "http2" { "shared" } else { "bench" };
        toml += &format!(
            "[models.{mode}]\nupstream = \"{upstream}\"\nmodel = \"bench\"\nrag = {{ {rag} }}\n"
        );
    }
    toml
}

fn nginx_conf(address: SocketAddr, standin: SocketAddr) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log error.log crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000000;
  client_max_body_size 20m;
  upstream standin {{ server {standin}; keepalive 2048; keepalive_requests 1000000000; }}
  server {{
    listen {address} backlog=4096;
    tcp_nodelay on;
    location / {{
      proxy_pass http://standin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"
    )
}
