//! The log: one line for each event, on stderr, as text or JSON.
//!
//! Spans and levels are those of `tracing-subscriber`, and a line is the one that its `fmt` layer would write. That layer and the writer of
//! `tracing-appender` are not used, because the line of a request took 21,000 instructions with them (as JSON 32,000), and takes 5,000 (6,600)
//! with these.

mod escape;
mod filter;
mod json;
mod lines;
mod number;
mod queue;
#[cfg(test)]
mod tests;
mod text;

use std::{
    io::{self, IsTerminal, Write},
    sync::OnceLock,
    time::Duration,
};

use tracing_subscriber::{Registry, layer::SubscriberExt};

use self::{
    filter::Filter,
    lines::{Form, Lines},
    queue::Queue,
    text::Ink,
};
use crate::config::{Log, LogFormat};

/// How long the end of the process waits for a reader of the log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The log that this process started.
static STARTED: OnceLock<Started> = OnceLock::new();

struct Started {
    filter: filter::Handle<Registry>,
    queue: Queue,
}

/// The running log; dropping it writes what still waits.
#[must_use = "dropping it ends the log"]
pub struct Running(Option<Queue>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.end(LAST_WORDS);
        }
    }
}

/// Starts the log, once a process: on stderr, in the operator's form and level.
pub fn start(log: &Log) -> Running {
    let ink = if io::stderr().is_terminal() {
        Ink::Coloured
    } else {
        Ink::Black
    };
    start_in(log, ink, io::stderr())
}

/// Starts it elsewhere than on stderr: for whoever measures it.
pub fn start_to(log: &Log, out: impl Write + Send + 'static) -> Running {
    start_in(log, Ink::Black, out)
}

fn start_in(log: &Log, ink: Ink, out: impl Write + Send + 'static) -> Running {
    let Ok(queue) = Queue::start(out) else {
        // Without threads nothing else of the process runs either, and says so.
        return Running(None);
    };
    let (filter, handle) = Filter::new(&log.level);
    let lines = Lines {
        form: match log.format {
            LogFormat::Json => Form::Json,
            LogFormat::Text => Form::Text(ink),
        },
        queue: queue.clone(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        // A second start in one process (tests, the sandbox) keeps the first.
        queue.end(Duration::ZERO);
        return Running(None);
    }
    let started = Started {
        filter: handle,
        queue: queue.clone(),
    };
    let _ = STARTED.set(started);
    Running(Some(queue))
}

/// Lets the running log tell what `log.level` says from now on.
pub fn set_level(log: &Log) {
    if let Some(started) = STARTED.get() {
        started.filter.set(&log.level);
    }
}

/// How many lines of the log were dropped because nobody read them in time.
pub fn dropped_lines() -> u64 {
    STARTED.get().map_or(0, |started| started.queue.dropped())
}
