//! Whether an upstream is asked: one that keeps failing is set aside for a while, and then tried again with one request.
//!
//! The rule: to be set aside decides *where* a request goes, never *whether* it does. What has somewhere else to go goes there at once.
//! What has nowhere else is sent all the same: a refusal of ours would be no better than the upstream's own, and answers of models take so
//! long that waiting for the outcome of one request would make an outage out of a blip. Such an outage is not multiplied either, because
//! retries have a budget.
//!
//! Only failures count that are the upstream's own, before the first piece of an answer: it cannot be reached, passes one of our deadlines,
//! answers 5xx (but 501) or nonsense. A refusal (4xx) shows that it is there; 408, 429 and a refused key of ours say nothing about it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use super::{Deadline, Error};
use crate::config;

/// Which part of the longest time an upstream is set aside at first; each try that fails doubles it.
const FIRST_PART: u32 = 16;

/// What is known of an upstream from the requests that it was sent.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answered: bool,
    /// In a row, up to now.
    failures: u32,
    aside: Option<Aside>,
}

#[derive(Debug, Clone, Copy)]
struct Aside {
    /// When one request may try again.
    until: Instant,
    /// How long that wait was, but for its jitter.
    spell: Duration,
    /// Whether a request tries right now.
    tried: bool,
}

/// How an upstream fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It was not asked yet.
    Unknown,
    /// It answered when it was asked last.
    Up,
    /// It failed that often in a row, which is not often enough.
    Failing(u32),
    /// It failed that often in a row and is asked only by requests that have nowhere else to go, until one may try again.
    SetAside(u32, Instant),
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that requests would notice.
    None,
    /// It is set aside for that long.
    SetAside(Duration),
    /// It is asked again by everybody.
    Back,
}

impl Health {
    /// Notes how a call ended.
    pub fn note<T>(
        &self,
        outcome: &Result<T, Error>,
        policy: &config::Retry,
        now: Instant,
    ) -> Change {
        let mut state = self.state();
        match outcome.as_ref().map_or_else(says, |_| Says::ItIsThere) {
            Says::Nothing => Change::None,
            Says::ItIsThere => state.recover(),
            Says::ItFails => state.fail(policy, now),
        }
    }

    /// Whether a request that could go elsewhere may come here: always unless it is set aside, and then once in a while.
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.state();
        let Some(aside) = &mut state.aside else {
            return true;
        };
        if now < aside.until {
            return false;
        }
        // The next try is due after the same time, whatever becomes of this one: its client may leave, and it may hang.
        aside.until = now + jittered(aside.spell);
        aside.tried = true;
        true
    }

    /// Whether it is set aside.
    pub fn is_set_aside(&self) -> bool {
        self.state().aside.is_some()
    }

    /// How it fares.
    pub fn condition(&self) -> Condition {
        let state = self.state();
        match (state.aside, state.failures) {
            (Some(aside), failures) => Condition::SetAside(failures, aside.until),
            (None, 0) if state.answered => Condition::Up,
            (None, 0) => Condition::Unknown,
            (None, failures) => Condition::Failing(failures),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn recover(&mut self) -> Change {
        self.answered = true;
        self.failures = 0;
        match self.aside.take() {
            Some(_) => Change::Back,
            None => Change::None,
        }
    }

    fn fail(&mut self, policy: &config::Retry, now: Instant) -> Change {
        self.failures = self.failures.saturating_add(1);
        if policy.set_aside_after == 0 {
            self.aside = None;
            return Change::None;
        }
        let spell = match self.aside {
            // What was sent before it was set aside, or had nowhere else to go, does not prolong the wait.
            Some(aside) if !aside.tried && now < aside.until => return Change::None,
            Some(aside) => aside.spell.saturating_mul(2),
            None if self.failures >= policy.set_aside_after => policy.set_aside / FIRST_PART,
            None => return Change::None,
        };
        let spell = spell.min(policy.set_aside);
        let wait = jittered(spell);
        self.aside = Some(Aside {
            until: now + wait,
            spell,
            tried: false,
        });
        Change::SetAside(wait)
    }
}

/// What the outcome of a call says of the upstream.
enum Says {
    ItIsThere,
    ItFails,
    Nothing,
}

fn says(error: &Error) -> Says {
    match error {
        Error::Unreachable { .. } | Error::Invalid { .. } | Error::Truncated { .. } => {
            Says::ItFails
        }
        Error::Timeout { deadline, .. } => match deadline {
            Deadline::Connect | Deadline::FirstEvent | Deadline::Answer | Deadline::Idle => {
                Says::ItFails
            }
            // The time may have gone elsewhere.
            Deadline::Total => Says::Nothing,
        },
        Error::Authentication { .. } => Says::Nothing,
        Error::Status { status, .. } => match *status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Says::Nothing,
            StatusCode::NOT_IMPLEMENTED => Says::ItIsThere,
            status if status.is_server_error() => Says::ItFails,
            _ => Says::ItIsThere,
        },
    }
}

/// Between half of a wait and all of it, so that the gateways of one company do not come back together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> config::Retry {
        config::Retry {
            set_aside_after: 3,
            set_aside: 16 * SECOND,
            ..config::Retry::default()
        }
    }

    fn fails(health: &Health, now: Instant) -> Change {
        let error = Error::Truncated {
            upstream: "u".into(),
        };
        health.note::<()>(&Err(error), &policy(), now)
    }

    fn answers(health: &Health, now: Instant) -> Change {
        health.note(&Ok(()), &policy(), now)
    }

    /// Sets it aside, and gives the wait.
    fn set_aside(health: &Health, now: Instant) -> Duration {
        for _ in 0..2 {
            assert_eq!(fails(health, now), Change::None);
            assert!(health.admits(now));
        }
        match fails(health, now) {
            Change::SetAside(wait) => wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn failures_in_a_row_set_it_aside_and_an_answer_in_between_begins_anew() {
        let (health, now) = (Health::default(), Instant::now());
        assert_eq!(health.condition(), Condition::Unknown);
        fails(&health, now);
        fails(&health, now);
        assert_eq!(health.condition(), Condition::Failing(2));
        answers(&health, now);
        assert_eq!(health.condition(), Condition::Up);

        let wait = set_aside(&health, now);

        assert!(wait >= SECOND / 2 && wait <= SECOND, "{wait:?}");
        assert!(!health.admits(now));
        assert_eq!(health.condition(), Condition::SetAside(3, now + wait));
    }

    #[test]
    fn when_the_time_is_over_one_request_tries_and_its_answer_brings_it_back() {
        let (health, now) = (Health::default(), Instant::now());
        let now = now + set_aside(&health, now);

        assert!(health.admits(now));
        assert!(!health.admits(now), "one request at a time");
        assert_eq!(answers(&health, now), Change::Back);
        assert!(health.admits(now) && !health.is_set_aside());
    }

    #[test]
    fn a_try_that_fails_doubles_the_wait_up_to_the_limit() {
        let (health, now) = (Health::default(), Instant::now());
        let mut wait = set_aside(&health, now);
        let mut now = now;
        for spell in [2, 4, 8, 16, 16] {
            now += wait;
            assert!(health.admits(now));
            let Change::SetAside(next) = fails(&health, now) else {
                panic!("it is no longer set aside");
            };
            assert!(next >= spell * SECOND / 2 && next <= spell * SECOND);
            wait = next;
        }
    }

    #[test]
    fn what_was_under_way_before_does_not_prolong_the_wait() {
        let (health, now) = (Health::default(), Instant::now());
        let wait = set_aside(&health, now);
        for _ in 0..100 {
            assert_eq!(fails(&health, now), Change::None);
        }
        let now = now + wait;
        assert!(health.admits(now));
    }

    #[test]
    fn a_try_that_nobody_hears_of_again_is_followed_by_another() {
        let (health, now) = (Health::default(), Instant::now());
        let now = now + set_aside(&health, now);
        assert!(health.admits(now));

        let now = now + SECOND;
        assert!(health.admits(now));
    }

    #[test]
    fn only_what_is_the_upstreams_own_fault_counts() {
        let status = |code| Error::Status {
            upstream: "u".into(),
            status: StatusCode::from_u16(code).unwrap(),
            place: super::super::Place::Status,
            body: Box::new(crate::openai::ErrorBody {
                message: String::new(),
                kind: String::new(),
                param: None,
                code: None,
            }),
            headers: Box::default(),
            retry_after: None,
        };
        let timeout = |deadline| Error::Timeout {
            upstream: "u".into(),
            deadline,
            after: SECOND,
        };
        let failing = [status(500), status(503), timeout(Deadline::FirstEvent)];
        let silent = [status(408), status(429), timeout(Deadline::Total)];
        let there = [status(400), status(404), status(501)];
        assert!(
            failing
                .iter()
                .all(|error| matches!(says(error), Says::ItFails))
        );
        assert!(
            silent
                .iter()
                .all(|error| matches!(says(error), Says::Nothing))
        );
        assert!(
            there
                .iter()
                .all(|error| matches!(says(error), Says::ItIsThere))
        );
    }
}
