//! Follows changes of the configuration: on SIGHUP, and when one of its files changes.
//!
//! Files are looked at and not watched: a look each half second costs one system call a file, and works the same for a file that is written
//! over, replaced by rename, reached through symbolic links that are switched (a mounted ConfigMap), or kept on a network.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tracing::{error, info, warn};

use super::{Failure, Serve, load_again};
use crate::{
    config::{Config, Contents, Environment, LogFormat, Purpose},
    http::Parts,
    telemetry,
};

/// How often the files are looked at. A change is taken when two looks in a row see the same: an editor may still be writing at the first.
const LOOK: Duration = Duration::from_millis(500);

/// Takes new configurations into force.
#[derive(Debug)]
pub(super) struct Follower {
    args: Serve,
    env: Environment,
    fixed: Fixed,
    hangups: Signal,
    /// What stands in the files of the configuration in force, and how they looked when they were read.
    in_force: (Contents, Stamps),
    /// How every file looked when it was read last, whatever came of it.
    tried: Stamps,
}

/// What the process was started with and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fixed {
    listen: SocketAddr,
    admin_listen: Option<SocketAddr>,
    is_encrypted: bool,
    format: LogFormat,
}

/// How files look; `None` for one that is not there.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What tells one version of a file from another: device, number, size, and the times of its last change, in nanoseconds too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 7]);

impl Follower {
    /// Follows what `serve` was started with, `config` out of `contents`; from here on SIGHUP does not end the process.
    pub(super) fn new(
        args: Serve,
        env: Environment,
        config: &Config,
        contents: Contents,
    ) -> io::Result<Self> {
        let tried = stamps(contents.paths());
        Ok(Self {
            args,
            env,
            fixed: Fixed::of(config),
            hangups: signal(SignalKind::hangup())?,
            in_force: (contents, tried.clone()),
            tried,
        })
    }

    /// Takes each new configuration into force, as long as it is polled.
    pub(super) async fn follow(mut self, parts: &Parts) -> Infallible {
        let mut seen = self.tried.clone();
        loop {
            let is_told = tokio::select! {
                _ = self.hangups.recv() => true,
                () = sleep(LOOK) => false,
            };
            let now = self.look().await;
            let is_settled = now == seen;
            seen.clone_from(&now);
            let changed = changed(&self.tried, &now);
            if is_told {
                self.tried = now;
                self.reload(parts, Contents::default()).await;
            } else if is_settled && !changed.is_empty() {
                self.tried = now;
                self.take(parts, &changed).await;
            }
        }
    }

    /// Reads again what changed. What was refused before may be right by now, beside what `changed` just now; where it is still wrong, that
    /// alone is taken: a wrong file does not keep another from being followed.
    async fn take(&mut self, parts: &Parts, changed_now: &[PathBuf]) {
        let (contents, stamps) = self.in_force.clone();
        let since = changed(&stamps, &self.tried);
        let is_taken = self.reload(parts, contents.without(&since)).await;
        if !is_taken && since.len() > changed_now.len() {
            self.reload(parts, contents.without(changed_now)).await;
        }
    }

    async fn look(&self) -> Stamps {
        let files: Vec<PathBuf> = self.tried.keys().cloned().collect();
        let looking =
            tokio::task::spawn_blocking(move || stamps(files.iter().map(PathBuf::as_path)));
        looking.await.unwrap_or_else(|_| self.tried.clone())
    }

    /// Puts the new configuration in the place of the old one whole, or tells all that is wrong with it and changes nothing.
    async fn reload(&mut self, parts: &Parts, mut contents: Contents) -> bool {
        let before = parts.load_full();
        let (args, env) = (self.args.clone(), self.env.clone());
        let known = Arc::clone(&before);
        let kept = stamps_of(&contents, &self.in_force.1);
        let building = tokio::task::spawn_blocking(move || {
            let listen = args.listen;
            let loaded = load_again(&args.source, listen, Purpose::Serve, &env, &mut contents);
            let built = loaded.and_then(|loaded| {
                let built = known.rebuild(loaded.config);
                built.map_err(|error| Failure::Running(error.to_string()))
            });
            let seen = stamps(contents.paths());
            (built, contents, seen)
        });
        let (built, contents, seen) = match building.await {
            Ok(done) => done,
            Err(error) => {
                refuse(&Failure::running("reading it died", error));
                return false;
            }
        };
        // A file that is named for the first time is looked at from now on, also where it is what is wrong.
        for (file, stamp) in &seen {
            self.tried.entry(file.clone()).or_insert(*stamp);
        }
        match built {
            Ok(app) => {
                self.fixed.tell(&app.config);
                telemetry::set_level(&app.config.log);
                parts.store(Arc::new(app));
                let mut read: Stamps = seen;
                for (file, stamp) in &mut read {
                    let looked = kept.get(file).or_else(|| self.tried.get(file));
                    *stamp = looked.copied().unwrap_or(*stamp);
                }
                self.in_force = (contents, read);
                before.metrics.reloaded("taken");
                info!("the new configuration is in force; open answers finish on the old one");
                true
            }
            Err(failure) => {
                before.metrics.reloaded("refused");
                refuse(&failure);
                false
            }
        }
    }
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            listen: config.listen,
            admin_listen: config.admin_listen,
            is_encrypted: config.tls.is_some(),
            format: config.log.format,
        }
    }

    /// Tells what only a restart changes.
    fn tell(self, config: &Config) {
        let new = Self::of(config);
        if new.listen != self.listen {
            warn!(
                "`listen` takes a restart: the gateway still listens on {}, not on {}",
                self.listen, new.listen
            );
        }
        if new.admin_listen != self.admin_listen {
            warn!("`admin_listen` takes a restart");
        }
        if new.is_encrypted != self.is_encrypted {
            warn!("turning TLS on or off takes a restart");
        }
        if new.format != self.format {
            warn!("`log.format` takes a restart");
        }
    }
}

fn refuse(failure: &Failure) {
    match failure {
        Failure::Config(problems) | Failure::Unconfigured(problems) => {
            let count = problems.iter().len();
            error!(count, "the new configuration is wrong and changes nothing");
            // Each on a line of its own: readers of logs work line by line.
            for problem in problems {
                error!("{problem}");
            }
        }
        other => error!("the new configuration cannot be used and changes nothing: {other}"),
    }
}

fn stamps<'p>(files: impl Iterator<Item = &'p Path>) -> Stamps {
    files
        .map(|file| (file.to_path_buf(), Stamp::of(file)))
        .collect()
}

/// How the files in `contents` looked that are not read again.
fn stamps_of(contents: &Contents, known: &Stamps) -> Stamps {
    let known = contents
        .paths()
        .filter_map(|path| Some((path.to_path_buf(), *known.get(path)?)));
    known.collect()
}

/// The files that look otherwise than before. One that is gone may be on its way back under the same name, so it is no change yet.
fn changed(before: &Stamps, now: &Stamps) -> Vec<PathBuf> {
    let other = |(file, stamp): (&PathBuf, &Option<Stamp>)| {
        let is_other = stamp.is_some() && before.get(file) != Some(stamp);
        is_other.then(|| file.clone())
    };
    now.iter().filter_map(other).collect()
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let seen = std::fs::metadata(file).ok()?;
        // Numbers are compared and nothing else, so their signs do not matter.
        Some(Self([
            seen.dev().cast_signed(),
            seen.ino().cast_signed(),
            seen.size().cast_signed(),
            seen.mtime(),
            seen.mtime_nsec(),
            seen.ctime(),
            seen.ctime_nsec(),
        ]))
    }
}
