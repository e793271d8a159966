//! Traces and numbers for a collector, by OTLP over HTTP with protobuf (the specification of OpenTelemetry's protocol, 1.x).
//!
//! Requests that ended lie in an [`Outbox`], a bounded one: whoever answers puts them there and goes on. An [`Exporter`] takes them to the
//! collector, and the numbers of `/metrics` beside them. No request ever waits for either.
//!
//! Not OpenTelemetry's own crates: spans are made once, at the ending, of what was noted anyway, and the numbers are there already. What is
//! left is to write some bytes and to send them.

mod collector;
mod exporter;
mod health;
mod numbers;
mod spans;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use self::collector::Collector;
pub use self::{
    exporter::Exporter,
    spans::{Ended, Request},
};
use super::metrics::Metrics;
use crate::config::Telemetry;

/// How many requests wait for the collector at most, each with a kilobyte or two; later ones are dropped and counted.
const WAITING: usize = 2048;

/// How many are sent at once.
const BATCH: usize = 512;

/// How long the first of a batch waits for others.
const GATHERING: Duration = Duration::from_secs(2);

/// What is on its way to the collector.
pub struct Outbox {
    waiting: Mutex<VecDeque<Request>>,
    /// Told when something waits, and when a batch of it does.
    filled: Notify,
    /// Where it goes; nowhere unless it is configured.
    collector: watch::Sender<Option<Arc<Collector>>>,
    metrics: Arc<Metrics>,
    /// What tells this process from others of the service.
    instance: String,
    /// Since when the numbers count.
    started: SystemTime,
}

impl Outbox {
    /// An empty one that leads nowhere, of a process that counts in `metrics` from now on.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            collector: watch::Sender::new(None),
            metrics: Arc::clone(metrics),
            instance: uuid::Uuid::new_v4().to_string(),
            started: SystemTime::now(),
        }
    }

    /// Sends to where `settings` say from now on; what waits goes there too, and nowhere where they are none.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be set up.
    pub fn lead_to(&self, settings: Option<&Telemetry>) -> Result<(), reqwest::Error> {
        let known = self.collector.borrow().clone();
        if known.as_ref().map(|known| &known.settings) == settings {
            return Ok(());
        }
        let collector = match settings {
            Some(settings) => Some(Arc::new(Collector::new(settings, &self.instance)?)),
            None => None,
        };
        self.collector.send_replace(collector);
        Ok(())
    }

    /// Asks the collector whether it takes what it would be sent, by sending nothing of it; `None` where there is none.
    pub async fn probe(&self) -> Option<Result<String, String>> {
        let collector = self.collector.borrow().clone()?;
        let mut taken = Vec::new();
        for signal in collector.signals() {
            if let Err(untaken) = collector.send(signal, Vec::new()).await {
                return Some(Err(format!("{}: {untaken}", signal.word())));
            }
            taken.push(signal.word());
        }
        Some(Ok(format!("takes {}", taken.join(" and "))))
    }

    /// Puts a request in, where there is room.
    pub fn put(&self, request: Request) {
        let spans = request.spans();
        let mut waiting = self.lock();
        if waiting.len() >= WAITING || self.collector.borrow().is_none() {
            drop(waiting);
            self.metrics.spans("dropped", spans);
            return;
        }
        waiting.push_back(request);
        if matches!(waiting.len(), 1 | BATCH) {
            self.filled.notify_one();
        }
    }

    /// Waits until a batch is there, or the first of it waited long enough.
    async fn batch_is_there(&self) {
        let wait_for = async |count| {
            while self.lock().len() < count {
                self.filled.notified().await;
            }
        };
        wait_for(1).await;
        let _ = timeout(GATHERING, wait_for(BATCH)).await;
    }

    fn take(&self) -> Vec<Request> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        let batch = waiting.drain(..count).collect();
        if waiting.is_empty() {
            // A burst is not held on to.
            waiting.shrink_to(BATCH);
        }
        batch
    }

    fn discard(&self) {
        let discarded = std::mem::take(&mut *self.lock());
        let spans = discarded.iter().map(Request::spans).sum();
        self.metrics.spans("dropped", spans);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}
