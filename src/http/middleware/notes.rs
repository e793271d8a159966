//! What the handlers tell the log of a request, and what is held for it until its answer has ended.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{
    access::{Place, Standing},
    rag::tally::Tally,
    sse::Ending,
    trace::Context as Trace,
};

/// What the handlers tell the log.
#[derive(Debug, Default)]
pub(in crate::http) struct Notes {
    /// Its place in a trace, where requests are followed.
    pub(super) trace: Option<Trace>,
    fields: Mutex<Fields>,
    /// What the answer takes, once there is somebody to count it.
    pub(super) tally: OnceLock<Arc<Tally>>,
    /// The request's place among those of its key, held until the answer has ended.
    place: OnceLock<Place>,
    /// How the key stood with its requests when this one was counted.
    requests: OnceLock<Standing>,
    /// How a stream ended, where the body knows better than its bytes do.
    pub(in crate::http) ending: Arc<OnceLock<Ending>>,
}

/// What a line says beside numbers.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields {
    pub(super) key: String,
    pub(super) model: String,
    pub(super) upstream: String,
    pub(super) mode: &'static str,
}

impl Notes {
    /// Of a request at this place of a trace.
    pub(super) fn of(trace: Option<Trace>) -> Self {
        Self {
            trace,
            ..Self::default()
        }
    }

    /// Who asked.
    pub(in crate::http) fn key(&self, name: &str) {
        name.clone_into(&mut self.lock().key);
    }

    /// What was asked, and how it is answered.
    pub(in crate::http) fn route(&self, upstream: &str, model: &str, mode: &'static str) {
        let mut fields = self.lock();
        upstream.clone_into(&mut fields.upstream);
        model.clone_into(&mut fields.model);
        fields.mode = mode;
    }

    /// Where it is counted what the answer takes.
    pub(in crate::http) fn count_in(&self, tally: &Arc<Tally>) {
        if let Some(trace) = &self.trace {
            tally.steps.follow(trace);
        }
        let _ = self.tally.set(Arc::clone(tally));
    }

    /// What the limits of the key gave the request.
    pub(in crate::http) fn admit(&self, place: Option<Place>, requests: Option<Standing>) {
        if let Some(place) = place {
            let _ = self.place.set(place);
        }
        if let Some(requests) = requests {
            let _ = self.requests.set(requests);
        }
    }

    /// How the key stands with its requests, where they are limited and this one was counted.
    pub(in crate::http) fn requests_left(&self) -> Option<Standing> {
        self.requests.get().copied()
    }

    /// Settles what the answer took, as far as it is known.
    pub(in crate::http) fn settle(&self) {
        if let Some(tally) = self.tally.get() {
            tally.settle();
        }
    }

    /// What is known so far.
    pub(super) fn fields(&self) -> Fields {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Fields> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
