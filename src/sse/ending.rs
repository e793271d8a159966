//! How a stream ended, reported exactly once.

use std::fmt;

/// How a streamed answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The upstream said that it was done.
    Done,
    /// The upstream stopped without saying so.
    Truncated,
    /// Something broke, or the upstream reported an error.
    Failed,
    /// The client left, or the stream was dropped for another reason.
    Cancelled,
}

impl Ending {
    /// Gives the word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Truncated => "truncated",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reports the ending of a stream exactly once: the first that it is told, or [`Ending::Cancelled`] when it is dropped before.
///
/// A client that leaves is never *seen* to leave: its connection's task is dropped, and with it the body and this guard. Hence the report
/// in `Drop`, so that every stream has an ending in the log and in the metrics.
#[derive(Debug)]
pub struct EndingGuard<F: FnOnce(Ending)> {
    report: Option<F>,
}

impl<F: FnOnce(Ending)> EndingGuard<F> {
    /// Makes a guard that calls `report` with the ending.
    pub fn new(report: F) -> Self {
        Self {
            report: Some(report),
        }
    }

    /// Reports how the stream ended; later endings of the same stream are not heard.
    pub fn end(&mut self, ending: Ending) {
        if let Some(report) = self.report.take() {
            report(ending);
        }
    }

    /// Tells whether the ending was reported.
    pub fn has_ended(&self) -> bool {
        self.report.is_none()
    }
}

impl<F: FnOnce(Ending)> Drop for EndingGuard<F> {
    fn drop(&mut self) {
        self.end(Ending::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_guard_dropped_without_a_word_reports_cancelled() {
        let endings = RefCell::new(Vec::new());

        drop(EndingGuard::new(|ending| endings.borrow_mut().push(ending)));

        assert_eq!(endings.into_inner(), [Ending::Cancelled]);
    }

    #[test]
    fn only_the_first_ending_is_reported() {
        let endings = RefCell::new(Vec::new());
        let mut guard = EndingGuard::new(|ending| endings.borrow_mut().push(ending));

        guard.end(Ending::Truncated);
        guard.end(Ending::Done);
        let ended = guard.has_ended();
        drop(guard);

        assert!(ended);
        assert_eq!(endings.into_inner(), [Ending::Truncated]);
    }

    #[test]
    fn a_panic_while_streaming_still_reports_an_ending() {
        let endings = std::sync::Mutex::new(Vec::new());

        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = EndingGuard::new(|ending| endings.lock().unwrap().push(ending));
            panic!("the stream broke");
        }));

        assert!(outcome.is_err());
        assert_eq!(endings.into_inner().unwrap(), [Ending::Cancelled]);
    }
}
