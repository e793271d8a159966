//! Keeping under a rate: each request reserves a moment, in the order they ask, and knows at once how long it will wait.
//!
//! The rule is the generic cell rate algorithm: one number, the moment at which the next request would be due if all came evenly. Up to
//! one second's worth may come at once, and the even pace is that much slower, so that no window of sixty seconds ever holds more than
//! the limit. (`1000` a minute: sixteen at once, then one each 60.9 ms.)

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// Hands out moments to send at, first come, first served.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    /// How far ahead of the even pace a request may be.
    burst: Duration,
    schedule: Mutex<Schedule>,
}

#[derive(Debug, Default)]
struct Schedule {
    /// When the next request is due at the even pace; unset: nothing was sent yet.
    due: Option<Instant>,
    /// Moments that were handed out and given back, none of them the last.
    returned: BTreeSet<Instant>,
}

impl Pacer {
    /// A pacer for that many requests in any minute; 0 counts as 1.
    pub(super) fn new(requests_per_minute: u32) -> Self {
        let limit = requests_per_minute.max(1);
        let at_once = (limit / 60).max(1);
        // A nanosecond more, because the division rounds down.
        let interval = MINUTE / (limit - (at_once - 1)) + Duration::from_nanos(1);
        Self {
            interval,
            burst: interval * (at_once - 1),
            schedule: Mutex::default(),
        }
    }

    /// Reserves the earliest free moment, or tells how long the wait for it would be where that is later than `latest`.
    pub(super) fn reserve(&self, now: Instant, latest: Instant) -> Result<Slot<'_>, Duration> {
        let mut schedule = self.schedule();
        schedule.returned = schedule.returned.split_off(&now);
        let returned = schedule.returned.first().copied();
        let due = schedule.due.map_or(now, |due| due.max(now));
        // The clock may be younger than the burst is long.
        let next = due.checked_sub(self.burst).map_or(now, |at| at.max(now));
        let at = returned.unwrap_or(next);
        if at > latest {
            return Err(at - now);
        }
        if returned.is_some() {
            schedule.returned.remove(&at);
        } else {
            schedule.due = Some(due + self.interval);
        }
        Ok(Slot {
            pacer: self,
            at,
            spent: false,
        })
    }

    /// Takes back a moment that nothing was sent at. The next request gets it, unless it has passed by then; those who wait already
    /// keep their moments, which costs them nothing they were promised.
    fn give_back(&self, at: Instant) {
        let mut schedule = self.schedule();
        let before = schedule.due.and_then(|due| due.checked_sub(self.interval));
        let is_last = before.and_then(|before| before.checked_sub(self.burst)) == Some(at);
        if is_last {
            schedule.due = before;
        } else {
            schedule.returned.insert(at);
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        // Nothing panics while the lock is held, and a schedule is right at every moment.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A moment to send at; it is given back when it is dropped before [`spend`](Self::spend).
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pacer: &'a Pacer,
    at: Instant,
    spent: bool,
}

impl Slot<'_> {
    /// When to send.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Uses the slot up: the request goes out now.
    pub(super) fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.spent {
            self.pacer.give_back(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAR: Duration = Duration::from_secs(1_000_000);

    fn wait(pacer: &Pacer, now: Instant) -> Duration {
        let slot = pacer.reserve(now, now + FAR).unwrap();
        let at = slot.at();
        slot.spend();
        at - now
    }

    #[test]
    fn a_second_of_requests_goes_at_once_and_the_rest_evenly() {
        let pacer = Pacer::new(120);
        let now = Instant::now();

        let waits: Vec<_> = (0..4).map(|_| wait(&pacer, now).as_millis()).collect();

        // Two at once, then 119 a minute.
        assert_eq!(waits, [0, 0, 504, 1008]);
    }

    #[test]
    fn a_slow_pace_has_no_burst() {
        let pacer = Pacer::new(1);
        let now = Instant::now();

        assert_eq!(wait(&pacer, now), Duration::ZERO);
        assert_eq!(wait(&pacer, now).as_secs(), 60);
        assert_eq!(wait(&pacer, now + FAR), Duration::ZERO);
    }

    #[test]
    fn a_wait_past_the_deadline_is_refused_at_once_and_costs_nothing() {
        let pacer = Pacer::new(60);
        let now = Instant::now();
        wait(&pacer, now);

        let refused = pacer
            .reserve(now, now + Duration::from_millis(999))
            .unwrap_err();

        assert_eq!(refused.as_millis(), 1000);
        assert_eq!(wait(&pacer, now).as_millis(), 1000);
    }

    #[test]
    fn a_waiter_that_leaves_gives_its_moment_to_the_next_request() {
        let pacer = Pacer::new(60);
        let now = Instant::now();
        wait(&pacer, now);
        let leaves = pacer.reserve(now, now + FAR).unwrap();
        let stays = pacer.reserve(now, now + FAR).unwrap();
        assert_eq!((stays.at() - now).as_secs(), 2);

        drop(leaves);
        let next = pacer.reserve(now, now + FAR).unwrap();
        assert_eq!((next.at() - now).as_secs(), 1);

        drop(stays);
        let next = pacer.reserve(now, now + FAR).unwrap();
        assert_eq!((next.at() - now).as_secs(), 2);
    }

    #[test]
    fn a_moment_that_passed_is_not_handed_out() {
        let pacer = Pacer::new(60);
        let now = Instant::now();
        wait(&pacer, now);
        let leaves = pacer.reserve(now, now + FAR).unwrap();
        wait(&pacer, now);
        drop(leaves);

        // The moments of seconds 0 and 2 are spent, that of second 1 is gone.
        assert_eq!(
            wait(&pacer, now + Duration::from_millis(1500)).as_millis(),
            1500
        );
    }

    proptest! {
        #[test]
        fn no_minute_ever_holds_more_than_the_limit(
            limit in 1_u32..400,
            steps in prop::collection::vec((0_u64..3000, any::<bool>()), 1..800),
        ) {
            let pacer = Pacer::new(limit);
            let mut now = Instant::now();
            let mut sent = Vec::new();
            let mut waiting = Vec::new();
            for (milliseconds, leaves) in steps {
                now += Duration::from_millis(milliseconds) / 10;
                let slot = pacer.reserve(now, now + FAR).unwrap();
                if leaves {
                    waiting.push(slot);
                } else {
                    sent.push(slot.at());
                    slot.spend();
                }
                if waiting.len() > 3 {
                    waiting.clear();
                }
            }
            sent.sort();
            for window in sent.windows(limit as usize + 1) {
                let span = *window.last().unwrap() - *window.first().unwrap();
                prop_assert!(span >= MINUTE, "{} requests within {span:?}", window.len());
            }
        }
    }
}
