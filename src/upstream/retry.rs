//! When a request is sent again, and where.
//!
//! Only what failed before its first piece comes here: once the first byte is out we may not retry, because the client has already read
//! part of an answer.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{Error, Place};
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
        }
    }

    /// Decides what follows `error`.
    pub fn after(&mut self, error: &Error) -> Next {
        let verdict = verdict(error);
        if let Verdict::Retry(asked) = verdict
            && self.made < self.policy.attempts
            && let Some(wait) = self.wait(asked)
        {
            self.made += 1;
            return Next::Again(wait);
        }
        self.used_up = matches!(verdict, Verdict::Retry(_)) && self.made >= self.policy.attempts;
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
            attempts: 3,
            max_wait: Duration::from_secs(10),
        };
        Attempts::new(&policy, fallbacks, Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn what_may_pass_is_tried_three_times_and_then_elsewhere() {
        for code in [408, 429, 500, 502, 503, 504] {
            let mut attempts = attempts(1);
            let error = status(code, None);
            assert!(matches!(attempts.after(&error), Next::Again(_)), "{code}");
            assert!(matches!(attempts.after(&error), Next::Again(_)), "{code}");
            assert_eq!(attempts.after(&error), Next::Fallback, "{code}");
            assert!(matches!(attempts.after(&error), Next::Again(_)), "{code}");
            assert!(matches!(attempts.after(&error), Next::Again(_)), "{code}");
            assert_eq!(attempts.after(&error), Next::GiveUp, "{code}");
        }
    }

    #[test]
    fn the_callers_faults_are_final() {
        for code in [400, 401, 403, 404, 409, 413, 422, 501] {
            assert_eq!(
                attempts(1).after(&status(code, None)),
                Next::GiveUp,
                "{code}"
            );
        }
    }

    #[test]
    fn the_wait_an_upstream_asks_for_is_kept_or_refused() {
        assert_eq!(
            attempts(0).after(&status(429, Some(7))),
            Next::Again(Duration::from_secs(7))
        );
        assert_eq!(attempts(0).after(&status(429, Some(11))), Next::GiveUp);
        assert_eq!(attempts(1).after(&status(429, Some(11))), Next::Fallback);
    }

    #[test]
    fn our_own_deadlines_go_elsewhere_without_a_second_call() {
        let timeout = |deadline| Error::Timeout {
            upstream: "u".into(),
            deadline,
            after: Duration::from_secs(1),
        };
        assert_eq!(
            attempts(1).after(&timeout(Deadline::FirstEvent)),
            Next::Fallback
        );
        assert_eq!(
            attempts(0).after(&timeout(Deadline::FirstEvent)),
            Next::GiveUp
        );
        assert_eq!(attempts(1).after(&timeout(Deadline::Total)), Next::GiveUp);
    }
}
