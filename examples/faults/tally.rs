//! What is counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{asked::Asked, verdict::Verdict};

/// How many losses are told in full.
const EXAMPLES: u64 = 20;

/// Counts by kind; a clone counts in the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    requests: BTreeMap<String, u64>,
    answers: BTreeMap<String, u64>,
}

/// The sums.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) left: u64,
    pub(crate) lost: u64,
}

impl Tally {
    /// Counts what came of a request.
    pub(crate) fn count(&self, asked: Asked, verdict: Verdict) {
        let mut inner = self.lock();
        let request = format!(
            "{} {} {}",
            if asked.completes {
                "completion"
            } else {
                "chat"
            },
            asked.mode,
            if asked.streams { "streamed" } else { "whole" }
        );
        *inner.requests.entry(request).or_default() += 1;
        inner.counts.asked += 1;
        let answer = match verdict {
            Verdict::Answered(how) => {
                inner.counts.answered += 1;
                format!("answered: {how}")
            }
            Verdict::Failed(how) => {
                inner.counts.errors += 1;
                format!("error: {how}")
            }
            Verdict::Left => {
                inner.counts.left += 1;
                "the client left".to_owned()
            }
            Verdict::Lost(why) => {
                inner.counts.lost += 1;
                if inner.counts.lost <= EXAMPLES {
                    println!("LOST: {why}");
                }
                "LOST".to_owned()
            }
        };
        *inner.answers.entry(answer).or_default() += 1;
    }

    /// The sums so far.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// How many were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.counts().lost
    }

    /// Prints everything by kind.
    pub(crate) fn print(&self) {
        let inner = self.lock();
        println!("{:>9} requests", inner.counts.asked);
        for (kind, count) in inner.requests.iter().chain(&inner.answers) {
            println!("{count:>9}   {kind}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
