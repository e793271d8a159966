//! Takes what lies in the outbox to the collector, and the numbers beside it, until the process ends.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    select,
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Outbox,
    collector::{Collector, Signal, Untaken},
    health::Health,
    numbers::{self, Counted},
    spans::{Request, nanos},
    wire::Message,
};

/// How long what still waits may take at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The wait after a first failure, without jitter; it doubles with each further one, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a collector waits for the first numbers at most: who just turned them on wants to see them.
const FIRST_NUMBERS: Duration = Duration::from_secs(5);

/// The field of a scope that holds what it tells: spans, or numbers.
const TOLD: u32 = 2;

/// How many requests are written in one go.
const FEW: usize = 32;

/// The longest wait that a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// What is sent from now on; dropping it ends that at once.
#[derive(Debug)]
#[must_use = "dropping it ends the export"]
pub struct Exporter {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Exporter {
    /// Sends what is put into `outbox`, and what `numbers` tells.
    pub fn start(
        outbox: &Arc<Outbox>,
        numbers: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let stop = CancellationToken::new();
        let export = Export {
            outbox: Arc::clone(outbox),
            numbers: Box::new(numbers),
            health: Health::default(),
            stop: stop.clone(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it outlives requests, which never wait for it; it ends with what is returned here"
        )]
        let task = tokio::spawn(async move {
            tokio::join!(export.send_traces(), export.send_numbers());
        });
        Self {
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Sends what still waits, for a moment at most.
    pub async fn finish(self) {
        self.stop.cancel();
        let _ = timeout(LAST_WORDS, self.task).await;
    }
}

struct Export {
    outbox: Arc<Outbox>,
    numbers: Box<dyn Fn() -> String + Send + Sync>,
    health: Health,
    stop: CancellationToken,
}

impl Export {
    async fn send_traces(&self) {
        let mut leads = self.outbox.collector.subscribe();
        loop {
            let is_off = leads.borrow_and_update().is_none();
            if is_off {
                self.outbox.discard();
            }
            select! {
                _ = leads.changed() => continue,
                () = self.stop.cancelled() => {}
                () = self.outbox.batch_is_there(), if !is_off => {}
            }
            let batch = self.outbox.take();
            if !batch.is_empty() {
                self.deliver(&batch).await;
            } else if self.stop.is_cancelled() {
                return;
            }
        }
    }

    /// Sends a batch until it is taken or refused; meanwhile others wait in the outbox. At the end of the process it is tried once.
    async fn deliver(&self, batch: &[Request]) {
        let spans = batch.iter().map(Request::spans).sum();
        let mut leads = self.outbox.collector.subscribe();
        let mut wait = FIRST_WAIT;
        loop {
            let collector = leads.borrow_and_update().clone();
            let is_last = self.stop.is_cancelled();
            let Some(collector) = collector else {
                break;
            };
            match self.try_to_deliver(&collector, batch).await {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    let metrics = &self.outbox.metrics;
                    metrics.spans("exported", spans - rejected);
                    metrics.spans("dropped", rejected);
                    return;
                }
                Err(Untaken::Refused { .. }) => break,
                Err(Untaken::Away { .. }) if is_last => break,
                Err(Untaken::Away { retry_after, .. }) => {
                    let pause = retry_after.map_or_else(
                        // Half of the wait is random, so that many gateways do not come back together.
                        || wait.mul_f64(0.5 + 0.5 * fastrand::f64()),
                        |asked| asked.min(LONGEST_ASKED),
                    );
                    wait = LONGEST_WAIT.min(2 * wait);
                    select! {
                        () = sleep(pause) => {}
                        _ = leads.changed() => {}
                        () = self.stop.cancelled() => {}
                    }
                }
            }
        }
        self.outbox.metrics.spans("dropped", spans);
    }

    async fn try_to_deliver(
        &self,
        collector: &Collector,
        batch: &[Request],
    ) -> Result<u64, Untaken> {
        let mut spans = Message::default();
        for few in batch.chunks(FEW) {
            few.iter()
                .for_each(|request| request.write(&mut spans, TOLD));
            // Streams wait for this thread.
            yield_now().await;
        }
        self.send(collector, Signal::Traces, &spans).await
    }

    /// Numbers are not sent again: the next ones say more than those that were lost.
    async fn send_numbers(&self) {
        let mut leads = self.outbox.collector.subscribe();
        let (mut longest, mut asked) = (FIRST_NUMBERS, Duration::ZERO);
        loop {
            let collector = leads.borrow_and_update().clone();
            let sent = collector.and_then(|collector| {
                let every = collector.settings.metrics_interval?;
                Some((collector, every))
            });
            let Some((collector, every)) = sent else {
                select! {
                    _ = leads.changed() => {
                        longest = FIRST_NUMBERS;
                        continue;
                    }
                    () = self.stop.cancelled() => return,
                }
            };
            select! {
                () = sleep(every.min(longest).max(asked)) => longest = Duration::MAX,
                _ = leads.changed() => {
                    longest = FIRST_NUMBERS;
                    continue;
                }
                () = self.stop.cancelled() => {}
            }
            let is_last = self.stop.is_cancelled();
            let counted = Counted {
                since: nanos(self.outbox.started),
                now: nanos(SystemTime::now()),
            };
            let text = (self.numbers)();
            let mut told = Message::default();
            numbers::write(&mut told, TOLD, &text, counted);
            asked = match self.send(&collector, Signal::Numbers, &told).await {
                Err(Untaken::Away { retry_after, .. }) => {
                    retry_after.unwrap_or_default().min(LONGEST_ASKED)
                }
                Ok(_) | Err(Untaken::Refused { .. }) => Duration::ZERO,
            };
            if is_last {
                return;
            }
        }
    }

    async fn send(
        &self,
        collector: &Collector,
        signal: Signal,
        told: &Message,
    ) -> Result<u64, Untaken> {
        let sent = collector.send(signal, collector.export(told)).await;
        let _ = match &sent {
            Ok(_) => self.health.took(signal),
            Err(untaken) => self.health.left(signal, untaken, Instant::now()),
        };
        sent
    }
}
