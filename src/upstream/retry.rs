//! When a request is sent again, and where.
//!
//! Only what failed before its first piece comes here: once the first byte is out we may not retry, because the client has already read
//! part of an answer.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{Error, Place, Upstream};
use crate::config;

/// The wait before the second call, without jitter; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same model again, after this long.
    Again(Duration),
    /// The next fallback, at once.
    Fallback,
    /// Nothing: the failure is the answer.
    GiveUp,
}

/// The calls that one request may make.
#[derive(Debug)]
pub struct Attempts {
    policy: config::Retry,
    until: Instant,
    made: u32,
    fallbacks_left: usize,
    used_up: bool,
    refused: bool,
}

impl Attempts {
    /// Begins with `fallbacks` further models to try, all before `until`.
    pub fn new(policy: &config::Retry, fallbacks: usize, until: Instant) -> Self {
        Self {
            policy: policy.clone(),
            until,
            made: 1,
            fallbacks_left: fallbacks,
            used_up: false,
            refused: false,
        }
    }

    /// Decides what follows `error`, which came of asking `upstream`.
    pub fn after(&mut self, error: &Error, upstream: &Upstream) -> Next {
        let verdict = verdict(error);
        // What is set aside is not asked again while there is another to ask.
        let moves_on = self.fallbacks_left > 0 && upstream.health.is_set_aside();
        self.refused = false;
        if let Verdict::Retry(asked) = verdict
            && self.made < self.policy.attempts
            && !moves_on
            && let Some(wait) = self.wait(asked)
        {
            if upstream.budget.allows_retry() {
                self.made += 1;
                return Next::Again(wait);
            }
            self.refused = true;
        }
        let made_all = self.made >= self.policy.attempts || self.refused;
        self.used_up = matches!(verdict, Verdict::Retry(_)) && made_all;
        if verdict == Verdict::Final || self.fallbacks_left == 0 {
            return Next::GiveUp;
        }
        self.fallbacks_left -= 1;
        self.made = 1;
        Next::Fallback
    }

    /// Whether the last failure might have passed, had the operator allowed more calls.
    pub fn used_up(&self) -> bool {
        self.used_up
    }

    /// Whether the last failure would have been followed by another call, had the budget not been empty.
    pub fn was_refused(&self) -> bool {
        self.refused
    }

    /// How long to wait, unless that is longer than the operator or the deadline allows.
    fn wait(&self, asked: Option<Duration>) -> Option<Duration> {
        let wait = match asked {
            Some(asked) if asked > self.policy.max_wait => return None,
            Some(asked) => asked,
            None => {
                let doubled = FIRST_WAIT.saturating_mul(1 << self.made.saturating_sub(1).min(10));
                // Half of the wait is random, so that clients of one outage do not come back together.
                doubled
                    .mul_f64(0.5 + 0.5 * fastrand::f64())
                    .min(self.policy.max_wait)
            }
        };
        (Instant::now() + wait < self.until).then_some(wait)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Worth another call, after the wait that the upstream asked for.
    Retry(Option<Duration>),
    /// Worth another model, not another call.
    Elsewhere,
    /// The request itself is at fault, or time is up.
    Final,
}

fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Unreachable { .. } | Error::Invalid { .. } | Error::Truncated { .. } => {
            Verdict::Retry(None)
        }
        Error::Timeout {
            deadline: super::Deadline::Total,
            ..
        } => Verdict::Final,
        Error::Timeout { .. } | Error::Authentication { .. } => Verdict::Elsewhere,
        // No number of passages or tries makes the window larger.
        Error::Status { .. } if error.is_context_overflow() => Verdict::Final,
        Error::Status {
            place: Place::Answer,
            retry_after,
            ..
        } => Verdict::Retry(*retry_after),
        Error::Status {
            status,
            retry_after,
            ..
        } => match *status {
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Verdict::Retry(*retry_after),
            _ => Verdict::Final,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{openai::ErrorBody, upstream::Deadline};

    fn status(status: u16, retry_after: Option<u64>) -> Error {
        Error::Status {
            upstream: "u".into(),
            status: StatusCode::from_u16(status).unwrap(),
            place: Place::Status,
            body: Box::new(ErrorBody {
                message: String::new(),
                kind: String::new(),
                param: None,
                code: None,
            }),
            headers: Box::default(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn attempts(fallbacks: usize) -> Attempts {
        let policy = config::Retry {
            budget: 0.0,
            ..config::Retry::default()
        };
        Attempts::new(&policy, fallbacks, Instant::now() + Duration::from_secs(60))
    }

    fn upstream() -> Upstream {
        let text = "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.u]\nbase_url = \"http://127.0.0.1:1/v1\"\n";
        let config = config::Config::parse(text, &config::Environment::default()).unwrap();
        Upstream::new(config.upstreams[0].clone(), &config.retry).unwrap()
    }

    #[test]
    fn what_may_pass_is_tried_three_times_and_then_elsewhere() {
        for code in [408, 429, 500, 502, 503, 504] {
            let (mut attempts, upstream) = (attempts(1), upstream());
            let error = status(code, None);
            assert!(
                matches!(attempts.after(&error, &upstream), Next::Again(_)),
                "{code}"
            );
            assert!(
                matches!(attempts.after(&error, &upstream), Next::Again(_)),
                "{code}"
            );
            assert_eq!(attempts.after(&error, &upstream), Next::Fallback, "{code}");
            assert!(
                matches!(attempts.after(&error, &upstream), Next::Again(_)),
                "{code}"
            );
            assert!(
                matches!(attempts.after(&error, &upstream), Next::Again(_)),
                "{code}"
            );
            assert_eq!(attempts.after(&error, &upstream), Next::GiveUp, "{code}");
        }
    }

    #[test]
    fn the_callers_faults_are_final() {
        for code in [400, 401, 403, 404, 409, 413, 422, 501] {
            assert_eq!(
                attempts(1).after(&status(code, None), &upstream()),
                Next::GiveUp,
                "{code}"
            );
        }
    }

    #[test]
    fn the_wait_an_upstream_asks_for_is_kept_or_refused() {
        assert_eq!(
            attempts(0).after(&status(429, Some(7)), &upstream()),
            Next::Again(Duration::from_secs(7))
        );
        assert_eq!(
            attempts(0).after(&status(429, Some(11)), &upstream()),
            Next::GiveUp
        );
        assert_eq!(
            attempts(1).after(&status(429, Some(11)), &upstream()),
            Next::Fallback
        );
    }

    #[test]
    fn our_own_deadlines_go_elsewhere_without_a_second_call() {
        let timeout = |deadline| Error::Timeout {
            upstream: "u".into(),
            deadline,
            after: Duration::from_secs(1),
        };
        assert_eq!(
            attempts(1).after(&timeout(Deadline::FirstEvent), &upstream()),
            Next::Fallback
        );
        assert_eq!(
            attempts(0).after(&timeout(Deadline::FirstEvent), &upstream()),
            Next::GiveUp
        );
        assert_eq!(
            attempts(1).after(&timeout(Deadline::Total), &upstream()),
            Next::GiveUp
        );
    }

    #[test]
    fn an_empty_budget_ends_the_tries_and_says_so() {
        let upstream = upstream();
        while upstream.budget.allows_retry() {}
        let error = status(503, None);

        let (mut alone, mut lucky) = (attempts(0), attempts(1));

        assert_eq!(alone.after(&error, &upstream), Next::GiveUp);
        assert!(alone.was_refused() && alone.used_up());
        assert_eq!(lucky.after(&error, &upstream), Next::Fallback);
        assert!(lucky.was_refused());
    }

    #[test]
    fn an_upstream_that_is_set_aside_is_not_asked_again_while_there_is_another() {
        let (upstream, policy) = (upstream(), config::Retry::default());
        for _ in 0..policy.set_aside_after {
            upstream.note::<()>(&Err(status(503, None)), &policy);
        }
        let error = status(503, None);

        assert_eq!(attempts(1).after(&error, &upstream), Next::Fallback);
        assert!(matches!(
            attempts(0).after(&error, &upstream),
            Next::Again(_)
        ));
    }
}
