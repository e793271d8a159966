//! What a key used of one limit: a bucket that leaks.
//!
//! What was used leaks away evenly, a whole limit in a minute. So a limit of 60 lets 60 through at once and then one each second, and there is
//! no moment at which everybody may begin anew. Kept is what was used and not what is left: a limit that a reload changes forgets nothing.
//!
//! Whole numbers only: what was used counts in parts, so many to a unit that exactly `limit` of them leak in a microsecond.

use std::time::{Duration, Instant};

/// The parts of a unit: the microseconds of a minute.
const PARTS: u64 = 60_000_000;

/// What was used counts for this many minutes at most: an upstream's count that is beyond reason locks no key out for longer.
const MOST_MINUTES: u64 = 60;

/// What was used of one limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// In parts, at the time `at`.
    used: u64,
    at: Instant,
}

/// How a key stands with one of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit, a minute.
    pub limit: u32,
    /// What is left of it now.
    pub remaining: u32,
    /// How long until all of it is there again.
    pub reset: Duration,
}

impl Bucket {
    /// An empty one.
    pub(super) fn new(now: Instant) -> Self {
        Self { used: 0, at: now }
    }

    /// Uses `cost` of `limit`, or tells how long until it can be used. No wait makes room for more than the limit itself: such a cost counts
    /// as one limit.
    pub(super) fn take(&mut self, cost: u64, limit: u32, now: Instant) -> Result<(), Duration> {
        self.leak(limit, now);
        let cost = cost.min(limit.into());
        let wanted = self.used.saturating_add(parts(cost));
        let room = parts(limit.into());
        if wanted > room {
            return Err(leaks_in(wanted - room, limit));
        }
        self.used = wanted;
        Ok(())
    }

    /// Uses `cost` whether there is room or not; a negative one gives back.
    pub(super) fn settle(&mut self, cost: i64, limit: u32, now: Instant) {
        self.leak(limit, now);
        let parts_of_it = parts(cost.unsigned_abs());
        self.used = if cost < 0 {
            self.used.saturating_sub(parts_of_it)
        } else {
            let most = parts(limit.into()).saturating_mul(MOST_MINUTES);
            self.used.saturating_add(parts_of_it).min(most)
        };
    }

    /// Takes over what another place counted.
    pub(super) fn set(&mut self, used: u64, now: Instant) {
        *self = Self { used, at: now };
    }

    /// How the key stands.
    pub(super) fn standing(&mut self, limit: u32, now: Instant) -> Standing {
        self.leak(limit, now);
        let left = parts(limit.into()).saturating_sub(self.used) / PARTS;
        Standing {
            limit,
            remaining: u32::try_from(left).unwrap_or(limit),
            reset: leaks_in(self.used, limit),
        }
    }

    /// Lets leak what has leaked since the last time. A clock that stands still or goes back leaks nothing.
    fn leak(&mut self, limit: u32, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let leaked = micros.saturating_mul(limit.into());
        self.used = self.used.saturating_sub(leaked);
        // Not `now`: what is less than a microsecond would be lost each time, and a busy bucket would never leak.
        self.at = self
            .at
            .checked_add(Duration::from_micros(micros))
            .unwrap_or(now);
    }
}

fn parts(units: u64) -> u64 {
    units.saturating_mul(PARTS)
}

/// How long `parts` take to leak, rounded up.
fn leaks_in(parts: u64, limit: u32) -> Duration {
    Duration::from_micros(parts.div_ceil(u64::from(limit).max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_limit_is_there_at_once_and_comes_back_evenly() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        for _ in 0..60 {
            assert_eq!(bucket.take(1, 60, start), Ok(()));
        }

        assert_eq!(bucket.take(1, 60, start), Err(SECOND));
        assert_eq!(bucket.take(3, 60, start), Err(3 * SECOND));
        assert_eq!(bucket.take(1, 60, start + SECOND), Ok(()));
        assert_eq!(bucket.take(1, 60, start + SECOND), Err(SECOND));
    }

    #[test]
    fn a_standing_tells_what_is_left_and_when_all_of_it_is_there() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.take(20, 60, start).unwrap();

        let standing = bucket.standing(60, start);
        assert_eq!((standing.remaining, standing.reset), (40, 20 * SECOND));
        let later = bucket.standing(60, start + 20 * SECOND);
        assert_eq!((later.remaining, later.reset), (60, Duration::ZERO));
    }

    #[test]
    fn what_was_used_counts_against_another_limit_too() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.take(50, 60, start).unwrap();

        assert_eq!(bucket.standing(100, start).remaining, 50);
        assert_eq!(bucket.standing(10, start).remaining, 0);
        assert_eq!(bucket.take(1, 10, start), Err(Duration::from_secs(41 * 6)));
    }

    #[test]
    fn what_a_request_took_in_truth_is_owed_or_given_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.take(30, 60, start).unwrap();

        bucket.settle(-20, 60, start);
        assert_eq!(bucket.standing(60, start).remaining, 50);
        bucket.settle(110, 60, start);
        assert_eq!(bucket.take(1, 60, start), Err(61 * SECOND));
        bucket.settle(-1000, 60, start);
        assert_eq!(bucket.standing(60, start).remaining, 60);
    }

    #[test]
    fn a_count_beyond_reason_is_owed_for_an_hour() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);

        bucket.settle(i64::MAX, 60, start);

        let wait = bucket.take(1, 60, start).unwrap_err();
        assert!(wait <= Duration::from_secs(3600), "{wait:?}");
    }

    proptest! {
        /// However the requests come: no window lets through more than what is there at once and what comes back during it, a refused request
        /// passes after the wait it was told, and not before.
        #[test]
        fn no_window_lets_more_through_than_it_may(
            limit in 1_u32..1000,
            steps in prop::collection::vec((0_u64..5_000_000, 1_u64..20), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(start);
            let mut now = start;
            let mut passed: Vec<(Instant, u64)> = Vec::new();
            for (micros, cost) in steps {
                now += Duration::from_micros(micros);
                match bucket.take(cost, limit, now) {
                    Ok(()) => passed.push((now, cost.min(limit.into()))),
                    Err(wait) => {
                        let mut other = bucket;
                        prop_assert!(other.take(cost, limit, now + wait).is_ok());
                        let early = wait.saturating_sub(Duration::from_micros(2));
                        let mut other = bucket;
                        prop_assert!(early.is_zero() || other.take(cost, limit, now + early).is_err());
                    }
                }
            }
            for (first, (begin, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (end, cost) in &passed[first..] {
                    sum += cost;
                    let elapsed = u64::try_from((*end - *begin).as_micros()).unwrap();
                    let may = parts(limit.into()) + elapsed * u64::from(limit);
                    prop_assert!(parts(sum) <= may, "{sum} in {elapsed} us with {limit} a minute");
                }
            }
        }

        /// Looking often changes nothing, even oftener than a microsecond.
        #[test]
        fn a_bucket_that_is_looked_at_leaks_as_one_that_is_not(
            limit in 1_u32..1_000_000,
            nanos in prop::collection::vec(0_u64..3000, 1..100),
        ) {
            let start = Instant::now();
            let mut watched = Bucket::new(start);
            watched.take(limit.into(), limit, start).unwrap();
            let mut alone = watched;
            let mut now = start;
            for nanos in nanos {
                now += Duration::from_nanos(nanos);
                watched.standing(limit, now);
            }

            prop_assert_eq!(watched.standing(limit, now), alone.standing(limit, now));
        }
    }
}
