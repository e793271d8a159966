//! What retries may cost: a share of the calls, so that an outage of a neighbour is not multiplied by those who ask it.
//!
//! A bucket holds at most a hundred retries. Each first call puts the operator's share of one in, each tenth of a second a whole one, so that
//! a quiet gateway retries too, and a blip is mended for all who were there; each retry takes one out. In any time, retries are no more than a
//! hundred, ten a second, and that share of the calls.
//!
//! `tower`'s `TpsBudget` was tried: it keeps shares of one nth alone (0.7 becomes 1), which is not what the operator wrote.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many retries the bucket holds, full at the start.
const MOST: f64 = 100.0;

/// How long it takes until another retry is allowed, whatever the calls are.
const ONE_MORE: Duration = Duration::from_millis(100);

/// What is left of the retries that a neighbour may be asked for.
#[derive(Debug)]
pub struct RetryBudget {
    share: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    retries: f64,
    filled: Instant,
}

impl RetryBudget {
    /// A full bucket; `share` of one is put in for each first call.
    pub fn new(share: f64) -> Self {
        let bucket = Bucket {
            retries: MOST,
            filled: Instant::now(),
        };
        Self {
            share,
            bucket: Mutex::new(bucket),
        }
    }

    /// The share of the calls that retries may be.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Notes a first call.
    pub fn called(&self) {
        self.change(Instant::now(), |retries| *retries += self.share);
    }

    /// Takes a retry out, or says that there is none.
    #[must_use]
    pub fn allows_retry(&self) -> bool {
        self.allows_retry_at(Instant::now())
    }

    fn allows_retry_at(&self, now: Instant) -> bool {
        self.change(now, |retries| {
            let allowed = *retries >= 1.0;
            *retries -= if allowed { 1.0 } else { 0.0 };
            allowed
        })
    }

    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut f64) -> T) -> T {
        // Nothing panics while the lock is held.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.filled);
        bucket.filled = now;
        bucket.retries += since.as_secs_f64() / ONE_MORE.as_secs_f64();
        bucket.retries = bucket.retries.min(MOST);
        let changed = change(&mut bucket.retries);
        bucket.retries = bucket.retries.min(MOST);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(budget: &RetryBudget, now: Instant) -> usize {
        (0..1000).filter(|_| budget.allows_retry_at(now)).count()
    }

    fn calls(budget: &RetryBudget, now: Instant, count: usize) {
        for _ in 0..count {
            budget.change(now, |retries| *retries += budget.share);
        }
    }

    #[test]
    fn retries_are_a_hundred_at_once_then_the_share_of_the_calls() {
        let budget = RetryBudget::new(0.25);
        let now = Instant::now();
        assert_eq!(allowed(&budget, now), 100);

        calls(&budget, now, 8);
        assert_eq!(allowed(&budget, now), 2);

        calls(&budget, now, 4000);
        assert_eq!(allowed(&budget, now), 100);
    }

    #[test]
    fn a_quiet_gateway_may_retry_ten_times_a_second_and_saves_no_more_than_a_hundred() {
        let budget = RetryBudget::new(0.0);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(allowed(&budget, now), 100);

        let later = now + Duration::from_secs(3);
        calls(&budget, later, 100);
        assert_eq!(allowed(&budget, later), 30);

        assert_eq!(allowed(&budget, later + Duration::from_secs(3600)), 100);
    }
}
