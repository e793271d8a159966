//! Tokens held for a request until it is known what it took.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::limiter::{Counted, KeyLimits};

/// Tokens held for a request. One that is never settled took what it held.
#[derive(Debug)]
pub struct Reservation {
    limits: Arc<KeyLimits>,
    counted: Counted,
    /// `None`: it is settled.
    held: Mutex<Option<u64>>,
}

impl Reservation {
    pub(super) fn new(limits: Arc<KeyLimits>, counted: Counted, held: u64) -> Self {
        Self {
            limits,
            counted,
            held: Mutex::new(Some(held)),
        }
    }

    /// Holds `tokens` more, whether there is room or not: the request is under way.
    pub fn raise(&self, tokens: u64, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut() {
            *held = held.saturating_add(tokens);
            self.limits.settle(difference(tokens, 0), self.counted, now);
        }
    }

    /// Puts what the request took in the place of what was held for it, once.
    pub fn settle(&self, tokens: u64, now: Instant) {
        let held = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(held) = held {
            self.limits
                .settle(difference(tokens, held), self.counted, now);
        }
    }
}

fn difference(more: u64, less: u64) -> i64 {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    signed(more).saturating_sub(signed(less))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Kind, limiter::tests::of_tokens};

    fn left(limits: &KeyLimits, now: Instant) -> u32 {
        limits.standing(Kind::Tokens, now).unwrap().remaining
    }

    #[tokio::test]
    async fn a_reservation_holds_more_when_more_is_known_and_is_settled_once() {
        let (limits, now) = (of_tokens(100), Instant::now());
        let reservation = limits.reserve(30, now).await.unwrap().unwrap();
        assert_eq!(left(&limits, now), 70);

        reservation.raise(20, now);
        assert_eq!(left(&limits, now), 50);
        reservation.settle(10, now);
        reservation.settle(90, now);
        reservation.raise(90, now);

        assert_eq!(left(&limits, now), 90);
    }

    #[tokio::test]
    async fn a_request_larger_than_the_limit_gives_back_no_more_than_it_took() {
        let (limits, now) = (of_tokens(100), Instant::now());
        let reservation = limits.reserve(1000, now).await.unwrap().unwrap();
        assert_eq!(left(&limits, now), 0);

        reservation.settle(40, now);

        assert_eq!(left(&limits, now), 60);
    }
}
