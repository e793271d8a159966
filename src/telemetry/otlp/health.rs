//! Whether the collector takes what it is sent, told in the log when it changes and not each time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::collector::{Signal, Untaken};

/// How long no other trouble is told after one: a collector that comes and goes must not fill the log.
const QUIET: Duration = Duration::from_secs(60);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// What is wrong with each signal, as far as it was told.
    traces: Option<Trouble>,
    numbers: Option<Trouble>,
    /// When a trouble was told last.
    last: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Away,
    Refused(u16),
}

/// Whether a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Written,
    Spared,
}

impl Health {
    /// Notes that `signal` was taken.
    pub(super) fn took(&self, signal: Signal) -> Line {
        let mut told = self.lock();
        let Some(trouble) = told.of(signal).take() else {
            return Line::Spared;
        };
        // What was told of both at once is over for both.
        for other in [Signal::Traces, Signal::Numbers] {
            if *told.of(other) == Some(trouble) {
                *told.of(other) = None;
            }
        }
        info!("the collector of `telemetry.otlp_endpoint` takes what it is sent again");
        Line::Written
    }

    /// Notes that `signal` was not taken.
    pub(super) fn left(&self, signal: Signal, untaken: &Untaken, now: Instant) -> Line {
        let trouble = match untaken {
            Untaken::Away { .. } => Trouble::Away,
            Untaken::Refused { status } => Trouble::Refused(*status),
        };
        let mut told = self.lock();
        let is_told = [told.traces, told.numbers].contains(&Some(trouble));
        let is_early = |last| now.duration_since(last) < QUIET;
        if !is_told && told.last.is_some_and(is_early) {
            return Line::Spared;
        }
        *told.of(signal) = Some(trouble);
        if is_told {
            return Line::Spared;
        }
        told.last = Some(now);
        let signal = signal.word();
        match trouble {
            Trouble::Away => warn!(
                why = %untaken,
                "the collector of `telemetry.otlp_endpoint` does not take {signal}; what it is sent waits as far as there is room"
            ),
            Trouble::Refused(_) => warn!(
                why = %untaken,
                "the collector of `telemetry.otlp_endpoint` refuses {signal}, which are dropped; look at `[telemetry]`, or turn them off there"
            ),
        }
        Line::Written
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn of(&mut self, signal: Signal) -> &mut Option<Trouble> {
        match signal {
            Signal::Traces => &mut self.traces,
            Signal::Numbers => &mut self.numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Line::{Spared, Written},
        Signal::{Numbers, Traces},
        *,
    };

    fn away() -> Untaken {
        Untaken::Away {
            why: "it is away".into(),
            retry_after: None,
        }
    }

    #[test]
    fn a_collector_that_goes_and_comes_back_is_told_once_each() {
        let (health, now) = (Health::default(), Instant::now());

        assert_eq!(health.took(Traces), Spared);
        assert_eq!(health.left(Traces, &away(), now), Written);
        assert_eq!(health.left(Traces, &away(), now + 2 * QUIET), Spared);
        assert_eq!(health.left(Numbers, &away(), now + 2 * QUIET), Spared);
        assert_eq!(health.took(Numbers), Written);
        assert_eq!(health.took(Traces), Spared);
    }

    #[test]
    fn one_that_flaps_is_told_once_a_minute() {
        let (health, now) = (Health::default(), Instant::now());
        let mut lines = 0;
        for second in 0..180 {
            let at = now + Duration::from_secs(second);
            lines += i32::from(health.left(Traces, &away(), at) == Written);
            lines += i32::from(health.took(Traces) == Written);
        }
        assert_eq!(lines, 6);
    }

    #[test]
    fn a_signal_that_is_refused_hides_nothing_of_the_other() {
        let (health, now) = (Health::default(), Instant::now());
        let refused = Untaken::Refused { status: 404 };

        assert_eq!(health.left(Numbers, &refused, now), Written);
        assert_eq!(health.took(Traces), Spared);
        assert_eq!(health.left(Traces, &away(), now + QUIET), Written);
        assert_eq!(health.left(Numbers, &refused, now + QUIET), Spared);
        assert_eq!(health.took(Traces), Written);
    }
}
