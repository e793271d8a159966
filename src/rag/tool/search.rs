//! What the model's calls ask for, done within the caller's scope and bounds.
//!
//! Nothing that the model wrote is read for a search but its words and a number: the scope is the caller's.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::{
    calls::Call,
    kept::{Body, KeptTurn},
    session::Session,
    spec::{self, Arguments},
};
use crate::{
    config::OnSearchError,
    rag::{
        Error, Job,
        job::search_query,
        passages::{Bounds, Reason},
    },
    retrieval::{self, Found, SearchQuery},
    trace::Begun,
};

/// What the model is told when it searches for the same words again.
const ALREADY: &str = "Already searched: the results for these words are above.";

/// What it is told when it may search no more.
const NO_MORE: &str = "No more searches are possible. Answer with what was found.";

/// What it is told when the caller's key may search no more this minute.
const LIMITED: &str = "The limit of searches is used up. Answer with what was found.";

/// What the caller is told of that.
const LIMITED_WARNING: &str = "the searches a minute of your key (`searches_per_minute`) were used up, so the model could not search as often as it wanted";

/// What it is told when what it found does not fit.
const NO_ROOM: &str = "There is no room for more passages. Answer with those above.";

/// What it is told when search does not take its words.
const OTHER_WORDS: &str = "This search is not possible. Use other words.";

/// What it is told when search failed and the operator wants an answer all the same.
const FAILED: &str = "The search failed. Answer without it, and say so.";

/// A hidden call and what is done about it.
#[derive(Debug)]
pub(super) struct Planned {
    id: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Search(Arguments),
    Say(String),
}

/// What a search came to, for the events of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    results: usize,
    took: Duration,
}

impl Session {
    /// What is done about a call to the search.
    pub(super) fn plan_search(&mut self, call: &Call) -> Planned {
        let say = |text: &str| Action::Say(text.to_owned());
        let action = match Arguments::read(&call.arguments) {
            Err(sentence) => say(sentence),
            Ok(arguments) if self.asked.contains(&same_words(&arguments.query)) => say(ALREADY),
            Ok(_) if self.report.searches >= self.job.settings.max_searches => say(NO_MORE),
            Ok(arguments) => {
                self.asked.push(same_words(&arguments.query));
                self.report.searches += 1;
                self.report.queries.push(arguments.query.clone());
                Action::Search(arguments)
            }
        };
        Planned {
            id: call.id.clone(),
            action,
        }
    }

    /// Holds planned searches to the limit of the caller's key. One beyond it is answered to the model: the request got this far, and what was
    /// found may be enough.
    pub(super) async fn within_limit(&mut self, mut planned: Vec<Planned>) -> Vec<Planned> {
        let Some(limits) = self.job.limits.clone() else {
            return planned;
        };
        for planned in &mut planned {
            let Action::Search(arguments) = &planned.action else {
                continue;
            };
            if self.job.use_search(&limits).await.is_ok() {
                continue;
            }
            // It was not made: neither told as made, nor known when the model asks for the same words again.
            self.report.searches = self.report.searches.saturating_sub(1);
            self.report
                .queries
                .retain(|query| *query != arguments.query);
            let words = same_words(&arguments.query);
            self.asked.retain(|asked| *asked != words);
            planned.action = Action::Say(LIMITED.to_owned());
            self.warn_once(LIMITED_WARNING.to_owned());
        }
        planned
    }

    /// Runs what was planned and adds the turn to the hidden ones; its searches run at the same time.
    pub(super) async fn run(
        &mut self,
        mut turn: KeptTurn,
        planned: Vec<Planned>,
    ) -> Result<Vec<Ran>, Error> {
        let found = self.search(&planned).await?;
        let mut ran = Vec::new();
        for (planned, found) in planned.into_iter().zip(found) {
            let body = match (planned.action, found) {
                (Action::Search(_), Some((found, step, took))) => {
                    self.job.progress.tally.searched(step, &found, took);
                    let (body, results) = self.record(found)?;
                    ran.push(Ran { results, took });
                    body
                }
                (Action::Search(_), None) => Body::Text(NO_MORE.to_owned()),
                (Action::Say(text), _) => Body::Text(text),
            };
            turn.results.push((planned.id, body));
        }
        self.job.progress.tally.given(&self.report.selection);
        self.hidden.push(turn);
        Ok(ran)
    }

    /// What each search brought, and how long it took; `None` where nothing is searched for.
    async fn search(&mut self, planned: &[Planned]) -> Result<Vec<Option<Searched>>, Error> {
        let queries: Vec<Option<SearchQuery>> = planned
            .iter()
            .map(|planned| planned.query(&self.job))
            .collect();
        if queries.iter().all(Option::is_none) {
            return Ok(queries.iter().map(|_| None).collect());
        }
        let began = Instant::now();
        let retriever = &self.job.reach.retriever;
        let steps = &self.job.progress.tally.steps;
        let searches = join_all(queries.iter().map(|query| async move {
            let query = query.as_ref()?;
            let (step, began) = (steps.search(), Instant::now());
            Some((retriever.search(query).await, step, began.elapsed()))
        }));
        let found =
            timeout_at(self.job.until, searches)
                .await
                .map_err(|_| retrieval::Error::Timeout {
                    after: began.elapsed(),
                })?;
        self.timings.search = Some(self.timings.search.unwrap_or_default() + began.elapsed());
        let passages = found
            .iter()
            .flatten()
            .filter_map(|(found, ..)| found.as_ref().ok())
            .flat_map(|found| &found.passages);
        let pipeline = Arc::clone(&self.pipeline);
        if self.job.resolved.route.context_window.is_none() {
            pipeline.learn_window(&mut self.job, passages).await;
            self.budget = self.budget.min(self.job.passage_budget());
        }
        Ok(found)
    }

    /// What the model is told of a search, and how many passages it brought.
    fn record(&mut self, found: Result<Found, retrieval::Error>) -> Result<(Body, usize), Error> {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return self
                    .failed(error)
                    .map(|text| (Body::Text(text.to_owned()), 0));
            }
        };
        let results = found.passages.len();
        self.report.cached += u32::from(found.cached);
        for warning in found.warnings {
            self.warn_once(warning);
        }
        let bounds = Bounds {
            scope: &self.job.scope,
            min_relevance: self.job.settings.min_relevance,
            budget: self.budget,
            style: self.style,
        };
        let selection = &mut self.report.selection;
        let before = selection.sources.last().map_or(0, |source| source.index);
        let (dropped, suspicious) = (selection.dropped.len(), selection.suspicious.len());
        let mut brought: Vec<usize> = Vec::new();
        for index in selection.add(found.passages, &bounds) {
            if !brought.contains(&index) {
                brought.push(index);
            }
        }
        let no_room = selection
            .dropped
            .iter()
            .skip(dropped)
            .any(|dropped| dropped.reason == Reason::Budget);
        let defused: Vec<String> = selection
            .suspicious
            .iter()
            .skip(suspicious)
            .map(|chunk| {
                format!(
                    "passage {chunk} held control tokens or hidden characters, or imitated a passage; they were defused"
                )
            })
            .collect();
        self.report.warnings.extend(defused);
        if brought.is_empty() && no_room {
            return Ok((Body::Text(NO_ROOM.to_owned()), results));
        }
        let (fresh, again): (Vec<usize>, Vec<usize>) =
            brought.into_iter().partition(|index| *index > before);
        debug!(
            fresh = fresh.len(),
            again = again.len(),
            "searched for the model"
        );
        Ok((Body::Passages { fresh, again }, results))
    }

    /// What the model is told of a search that failed, where the request does not fail with it.
    fn failed(&mut self, error: retrieval::Error) -> Result<&'static str, Error> {
        match error {
            // What the model wrote made no query: that is for the model to mend. The other fields are the caller's.
            retrieval::Error::Query { field, .. }
                if field.as_deref().is_none_or(|field| field == "query") =>
            {
                Ok(OTHER_WORDS)
            }
            // An answer without context is no better than none where the caller asked for what it may not see.
            error @ (retrieval::Error::Scope { .. } | retrieval::Error::Query { .. }) => {
                Err(error.into())
            }
            error => match self.job.settings.on_search_error {
                OnSearchError::Fail => Err(error.into()),
                OnSearchError::Answer => {
                    warn!(error = %error, "search failed; the model is told");
                    let warning =
                        "a search failed, so this answer may not be grounded in documents";
                    self.warn_once(warning.to_owned());
                    Ok(FAILED)
                }
            },
        }
    }

    fn warn_once(&mut self, warning: String) {
        if !self.report.warnings.contains(&warning) {
            self.report.warnings.push(warning);
        }
    }
}

type Searched = (Result<Found, retrieval::Error>, Begun, Duration);

impl Ran {
    /// What is told of a search that ended.
    pub(super) fn event(&self) -> Value {
        json!({"type": "search.completed", "results": self.results, "duration_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)})
    }
}

impl Planned {
    /// A call to a tool that nobody offered.
    pub(super) fn unknown_tool(call: &Call) -> Self {
        let name: String = call.name.chars().take(64).collect();
        let text = format!(
            "There is no tool called `{name}`. Use `{}`, or answer.",
            spec::NAME
        );
        Self {
            id: call.id.clone(),
            action: Action::Say(text),
        }
    }

    /// What is told of a search that begins; `None` for an answer that needs none.
    pub(super) fn event(&self) -> Option<Value> {
        match &self.action {
            Action::Search(arguments) => {
                Some(json!({"type": "search.started", "query": arguments.query}))
            }
            Action::Say(_) => None,
        }
    }

    /// The search, within the caller's scope. A call asks for as many passages as it says, but for no more than the request does.
    fn query(&self, job: &Job) -> Option<SearchQuery> {
        let Action::Search(arguments) = &self.action else {
            return None;
        };
        let query = search_query(job, arguments.query.clone());
        let most = job.options.max_results.unwrap_or(u16::MAX);
        let max_results = arguments
            .max_results
            .map_or(query.max_results, |said| said.min(most));
        Some(SearchQuery {
            max_results,
            ..query
        })
    }
}

/// The words of a query in the form in which two queries are the same.
pub(super) fn same_words(query: &str) -> String {
    query
        .split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}
