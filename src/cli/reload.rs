//! Follows changes of the configuration: on SIGHUP, and when its file changes.
//!
//! The file is looked at and not watched: a look each half second costs one system call, and works the same for a file that is written over,
//! replaced by rename, reached through symbolic links that are switched (a mounted ConfigMap), or kept on a network.

use std::{
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

use super::{Failure, Serve, load};
use crate::{
    config::{Config, Environment, Loaded, LogFormat, Purpose},
    http::Parts,
    telemetry,
};

/// How often the file is looked at. A change is taken when two looks in a row see the same: an editor may still be writing at the first.
const LOOK: Duration = Duration::from_millis(500);

/// Takes new configurations into force.
#[derive(Debug)]
pub(super) struct Follower {
    args: Serve,
    env: Environment,
    file: Option<PathBuf>,
    /// What the process was started with and keeps.
    fixed: (SocketAddr, LogFormat),
    hangups: Signal,
    /// What the file looked like when it was read last.
    taken: Option<Stamp>,
}

/// What tells one version of a file from another: device, number, size, and the times of its last change, in nanoseconds too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 7]);

impl Follower {
    /// Follows what `serve` was started with; from here on SIGHUP does not end the process.
    pub(super) fn new(args: Serve, env: Environment, loaded: &Loaded) -> io::Result<Self> {
        let file = loaded.file.clone();
        let taken = file.as_deref().and_then(Stamp::of);
        let config = &loaded.config;
        Ok(Self {
            args,
            env,
            file,
            fixed: (config.listen, config.log.format),
            hangups: signal(SignalKind::hangup())?,
            taken,
        })
    }

    /// Takes each new configuration into force, as long as it is polled.
    pub(super) async fn follow(mut self, parts: &Parts) -> Infallible {
        let mut seen = self.taken;
        loop {
            let is_told = tokio::select! {
                _ = self.hangups.recv() => true,
                () = sleep(LOOK) => false,
            };
            let now = self.look().await;
            let is_settled = now.is_some() && now == seen;
            seen = now;
            if is_told || (is_settled && now != self.taken) {
                self.taken = now;
                self.reload(parts).await;
            }
        }
    }

    async fn look(&self) -> Option<Stamp> {
        let file = self.file.clone()?;
        let looking = tokio::task::spawn_blocking(move || Stamp::of(&file));
        looking.await.ok().flatten()
    }

    /// Puts the new configuration in the place of the old one whole, or tells all that is wrong with it and changes nothing.
    async fn reload(&self, parts: &Parts) {
        let before = parts.load_full();
        let (args, env) = (self.args.clone(), self.env.clone());
        let known = Arc::clone(&before);
        let building = tokio::task::spawn_blocking(move || {
            let loaded = load(&args.source, args.listen, Purpose::Serve, &env)?;
            let built = known.rebuild(loaded.config);
            built.map_err(|error| Failure::Running(error.to_string()))
        });
        let built = building
            .await
            .unwrap_or_else(|error| Err(Failure::running("reading it died", error)));
        match built {
            Ok(app) => {
                self.tell_fixed(&app.config);
                telemetry::set_level(&app.config.log);
                parts.store(Arc::new(app));
                before.metrics.reloaded("taken");
                info!("the new configuration is in force; open answers finish on the old one");
            }
            Err(failure) => {
                before.metrics.reloaded("refused");
                refuse(&failure);
            }
        }
    }

    /// Tells what only a restart changes.
    fn tell_fixed(&self, config: &Config) {
        let (listen, format) = self.fixed;
        if config.listen != listen {
            warn!(
                "`listen` takes a restart: the gateway still listens on {listen}, not on {}",
                config.listen
            );
        }
        if config.log.format != format {
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
