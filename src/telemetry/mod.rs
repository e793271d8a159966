//! What is seen from outside: the log here, the numbers in [`metrics`], and what a collector is sent in [`otlp`].

pub mod metrics;
pub mod otlp;

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// How many lines wait for a slow reader of the log; later ones are dropped and counted, because no request may wait for its log.
const BUFFERED_LINES: usize = 8192;

/// The lines that were dropped, of the log that this process started.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The filter of that log.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The running log; dropping it writes what still waits.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct Running(#[expect(dead_code, reason = "held for its drop")] Option<WorkerGuard>);

/// Starts the log, once a process: on stderr, in the operator's form and level.
pub fn start(log: &Log) -> Running {
    let (filter, handle) = reload::Layer::new(filter(log));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("log")
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false);
            registry.with(lines.with_writer(writer)).try_init()
        }
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer()
                .with_target(false)
                .with_ansi(io::stderr().is_terminal());
            registry.with(lines.with_writer(writer)).try_init()
        }
    };
    // A second start in one process (tests, the sandbox) keeps the first.
    Running(started.ok().map(|()| {
        let _ = DROPPED.set(dropped);
        let _ = FILTER.set(handle);
        guard
    }))
}

/// Lets the running log tell what `log.level` says from now on.
pub fn set_level(log: &Log) {
    if let Some(handle) = FILTER.get() {
        // Fails only where the log itself is gone.
        let _ = handle.reload(filter(log));
    }
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// How many lines of the log were dropped because nobody read them in time.
pub fn dropped_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(dropped).unwrap_or(u64::MAX)
}
