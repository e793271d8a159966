//! Asking again: which failures another try may mend, and how long to wait before it.
//!
//! LightOn's own SDK repeats connection failures and 429 only. We repeat 500, 502, 503 (outside maintenance) and 504 as well: searching
//! has no effect, so a second try costs at most its time, which the deadline bounds.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use crate::{config, retrieval::Error};

/// The first wait where the service names none; it doubles with each try.
const BACKOFF: Duration = Duration::from_millis(250);

/// A try that failed, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Failure {
    /// Why, for the case that it was the last try.
    pub(super) error: Error,
    /// Whether another try may end better.
    pub(super) again: Again,
}

/// Whether another try may end better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It would end the same.
    Never,
    /// After a while of our choosing.
    Backoff,
    /// After the time that the service asked for.
    After(Duration),
}

impl Failure {
    /// A failure that another try would not mend.
    pub(super) fn last(error: Error) -> Self {
        let again = Again::Never;
        Self { error, again }
    }

    /// A failure that is over after this time, or after one of our choosing where the service named none.
    pub(super) fn waiting(error: Error, retry_after: Option<Duration>) -> Self {
        let again = retry_after.map_or(Again::Backoff, Again::After);
        Self { error, again }
    }
}

/// How long to wait after `tries` tries; `None` where there shall be no other.
pub(super) fn wait(again: Again, tries: u32, policy: &config::Retry) -> Option<Duration> {
    if tries >= policy.attempts {
        return None;
    }
    match again {
        Again::Never => None,
        // Asking earlier than told would fail again; waiting longer than allowed is for the client to decide.
        Again::After(wait) => Some(wait).filter(|wait| *wait <= policy.max_wait),
        Again::Backoff => {
            let doubled = BACKOFF.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
            Some(jittered(doubled.min(policy.max_wait)))
        }
    }
}

/// Reads `Retry-After`, seconds or an HTTP date (RFC 9110, 10.2.3); fractions of seconds are taken too, as LightOn's SDK does.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date that has passed means now.
    Some(date.duration_since(now).unwrap_or_default())
}

/// Between half of a wait and all of it, so that those who failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    // Without random numbers the wait is merely not spread.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const POLICY: config::Retry = config::Retry {
        attempts: 3,
        max_wait: Duration::from_secs(10),
        budget: 0.2,
        set_aside_after: 0,
        set_aside: Duration::ZERO,
    };

    fn read(value: &str) -> Option<Duration> {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, expected) in [
            ("7", seconds(7)),
            (" 0 ", seconds(0)),
            ("1.5", Some(Duration::from_millis(1500))),
            ("Sun, 06 Nov 1994 08:49:49 GMT", seconds(12)),
            ("Sunday, 06-Nov-94 08:49:49 GMT", seconds(12)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", seconds(0)),
            ("-1", None),
            ("1e300", None),
            ("NaN", None),
            ("inf", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(read(value), expected, "{value:?}");
        }
    }

    #[test]
    fn the_tries_are_counted_and_a_long_wait_is_not_waited() {
        let second = Duration::from_secs(1);
        assert_eq!(wait(Again::After(second), 1, &POLICY), Some(second));
        assert_eq!(wait(Again::After(second), 3, &POLICY), None);
        assert_eq!(wait(Again::After(second * 11), 1, &POLICY), None);
        assert_eq!(wait(Again::Never, 1, &POLICY), None);
    }

    proptest! {
        #[test]
        fn a_backoff_doubles_up_to_the_limit(tries in 1_u32..100) {
            let policy = config::Retry { attempts: u32::MAX, ..POLICY };
            let whole = (BACKOFF * 2_u32.saturating_pow(tries - 1).min(1000)).min(POLICY.max_wait);
            let wait = wait(Again::Backoff, tries, &policy).unwrap();
            prop_assert!(wait <= whole && wait >= whole / 2 - Duration::from_micros(1), "{wait:?} of {whole:?}");
        }

        #[test]
        fn any_header_is_read_without_a_panic(value in "[ -~]{0,40}") {
            let _ = read(&value);
        }
    }
}
