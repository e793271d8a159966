//! What a request does on its way: searches, and calls of models. Noted while it does them, told at its ending.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderMap;

use super::{Context, SpanId};

/// How many steps of one request are noted at most; the bounds of rounds, searches and calls are far below it, unless an operator lifts them.
const MOST: usize = 256;

/// The steps of one request, noted only where somebody follows it.
#[derive(Debug, Default)]
pub struct Steps(OnceLock<Box<Followed>>);

#[derive(Debug)]
struct Followed {
    context: Context,
    steps: Mutex<Vec<Step>>,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number, which a neighbour that is called is told.
    pub span: SpanId,
    /// When it began.
    pub began: Instant,
    /// When it ended; unset: with the request.
    pub ended: Option<Instant>,
    /// A word for why it failed.
    pub failed: Option<&'static str>,
    /// What it was.
    pub what: What,
}

/// What a step was.
#[derive(Debug, Clone)]
pub enum What {
    /// A search.
    Search(Search),
    /// A call of a model.
    Call(Box<Call>),
}

/// A search.
#[derive(Debug, Clone, Copy, Default)]
pub struct Search {
    /// How many passages it brought.
    pub results: Option<usize>,
    /// Whether it was not sent, because they were known.
    pub is_cached: bool,
}

/// A call of a model.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `chat`, `text_completion` or `embeddings`.
    pub operation: &'static str,
    /// The upstream, by name.
    pub upstream: String,
    /// Where that is.
    pub host: String,
    /// Its port.
    pub port: Option<u16>,
    /// What it was asked for.
    pub model: String,
    /// How often it was asked before in vain.
    pub resends: u32,
    /// When its first event was there, of a stream.
    pub first_event: Option<Instant>,
    /// The model that it says it is.
    pub answered_as: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
    /// Why its answers ended.
    pub finish_reasons: Vec<String>,
    /// Tokens of the prompt, by its own count.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, by its own count.
    pub output_tokens: Option<u64>,
}

/// A step that was begun; none where nothing is noted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Begun(Option<usize>);

impl Steps {
    /// Notes the steps from here on, where the request is recorded, and tells upstreams of its trace.
    pub fn follow(&self, context: &Context) {
        let steps = Mutex::default();
        let context = context.clone();
        let _ = self.0.set(Box::new(Followed { context, steps }));
    }

    /// Begins a search.
    pub fn search(&self) -> Begun {
        match self.recorded() {
            Some(followed) => followed.begin(SpanId::random(), What::Search(Search::default())),
            None => Begun::default(),
        }
    }

    /// Ends a search, which took this long.
    pub fn searched(
        &self,
        search: Begun,
        took: Duration,
        found: Search,
        failed: Option<&'static str>,
    ) {
        self.change(search, |step| {
            step.ended = Some(step.began + took);
            step.failed = failed;
            step.what = What::Search(found);
        });
    }

    /// Begins a call, whose `headers` tell of it.
    pub fn call(&self, headers: &mut HeaderMap, call: impl FnOnce() -> Call) -> Begun {
        let Some(followed) = self.0.get() else {
            return Begun::default();
        };
        let span = SpanId::random();
        followed.context.tell(span, headers);
        if followed.context.is_sampled() {
            followed.begin(span, What::Call(Box::new(call())))
        } else {
            Begun::default()
        }
    }

    /// Notes that a call is answered; a whole answer is there, a stream begins.
    pub fn answered(&self, call: Begun) {
        self.change(call, |step| {
            if let What::Call(call) = &mut step.what {
                call.first_event = Some(Instant::now());
            }
        });
    }

    /// Notes what the answer to the last call says, if that is still under way.
    pub fn hear(&self, hear: impl FnOnce(&mut Call)) {
        if let Some(followed) = self.recorded()
            && let Some(step) = open_call(&mut followed.lock())
            && let What::Call(call) = &mut step.what
        {
            hear(call);
        }
    }

    /// Ends the last call, if it is still under way, with what its whole answer says.
    pub fn over(&self, hear: impl FnOnce(&mut Call)) {
        self.hear(hear);
        self.end_last(None);
    }

    /// Ends the last call, if it is still under way: it failed.
    pub fn failed(&self, kind: &'static str) {
        self.end_last(Some(kind));
    }

    /// Ends this very call, beside which others may be under way.
    pub fn ended(&self, call: Begun, failed: Option<&'static str>, hear: impl FnOnce(&mut Call)) {
        self.change(call, |step| {
            step.ended = Some(Instant::now());
            step.failed = failed;
            if let What::Call(call) = &mut step.what {
                hear(call);
            }
        });
    }

    /// Takes what was noted.
    pub fn take(&self) -> Vec<Step> {
        let followed = self.recorded();
        followed.map_or_else(Vec::new, |followed| std::mem::take(&mut *followed.lock()))
    }

    fn recorded(&self) -> Option<&Followed> {
        let followed = self.0.get()?;
        followed.context.is_sampled().then_some(followed)
    }

    fn end_last(&self, failed: Option<&'static str>) {
        if let Some(followed) = self.recorded()
            && let Some(step) = open_call(&mut followed.lock())
        {
            step.ended = Some(Instant::now());
            step.failed = failed;
        }
    }

    fn change(&self, begun: Begun, change: impl FnOnce(&mut Step)) {
        if let (Begun(Some(at)), Some(followed)) = (begun, self.recorded())
            && let Some(step) = followed.lock().get_mut(at)
        {
            change(step);
        }
    }
}

/// The last call, if it is still under way.
fn open_call(steps: &mut [Step]) -> Option<&mut Step> {
    let mut calls = steps.iter_mut().rev();
    let last = calls.find(|step| matches!(step.what, What::Call(_)))?;
    last.ended.is_none().then_some(last)
}

impl Followed {
    fn begin(&self, span: SpanId, what: What) -> Begun {
        let mut steps = self.lock();
        if steps.len() >= MOST {
            return Begun::default();
        }
        steps.push(Step {
            span,
            began: Instant::now(),
            ended: None,
            failed: None,
            what,
        });
        Begun(Some(steps.len() - 1))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(flags: u8) -> Steps {
        let steps = Steps::default();
        let mut context = Context::joining(&HeaderMap::new(), 1.0);
        context.flags = flags;
        steps.follow(&context);
        steps
    }

    #[test]
    fn nothing_is_noted_of_a_request_that_nobody_follows() {
        let steps = Steps::default();
        let mut headers = HeaderMap::new();

        let search = steps.search();
        steps.searched(search, Duration::ZERO, Search::default(), None);
        let call = steps.call(&mut headers, || unreachable!("nobody asks what it is"));
        steps.answered(call);

        assert!(headers.is_empty() && steps.take().is_empty());
    }

    #[test]
    fn an_upstream_is_told_of_a_trace_that_is_not_recorded() {
        let steps = followed(0);
        let mut headers = HeaderMap::new();

        steps.call(&mut headers, || unreachable!("nobody asks what it is"));

        let told = headers["traceparent"].to_str().unwrap();
        assert!(told.ends_with("-00"), "{told}");
        assert!(steps.take().is_empty());
    }

    #[test]
    fn a_call_that_failed_hears_nothing_of_the_next_one() {
        let steps = followed(1);
        let mut headers = HeaderMap::new();

        steps.call(&mut headers, Call::default);
        steps.failed("timeout");
        steps.hear(|call| call.input_tokens = Some(1));
        steps.call(&mut headers, Call::default);
        steps.over(|call| call.input_tokens = Some(2));

        let taken = steps.take();
        let tokens = taken.iter().map(|step| match &step.what {
            What::Call(call) => call.input_tokens,
            What::Search(_) => None,
        });
        assert_eq!(tokens.collect::<Vec<_>>(), [None, Some(2)]);
        assert_eq!(taken[0].failed, Some("timeout"));
        assert!(taken.iter().all(|step| step.ended.is_some()));
    }

    #[test]
    fn no_request_notes_steps_without_end() {
        let steps = followed(1);
        for _ in 0..2 * MOST {
            let search = steps.search();
            steps.searched(search, Duration::ZERO, Search::default(), None);
        }
        assert_eq!(steps.take().len(), MOST);
    }
}
