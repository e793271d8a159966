//! One request in mode `tool`: which turn comes next, and what a turn means. No I/O but the searches.
//!
//! ```text
//! Open ──calls the search──▶ searches run ──▶ Open, or Last once rounds or searches are used up
//!  │                                            │
//!  ├─calls the client's tools──▶ the client     ├─answers──▶ done
//!  ├─answers──▶ done                            └─calls or says nothing──▶ Plain ──again──▶ an error
//!  └─says nothing──▶ Plain (or Last, when nothing was searched)
//! ```

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::{
    calls::{self, Call},
    kept::{Body, Kept, KeptTurn, Trail},
    spec::{self, Arguments, Owner},
    usage,
};
use crate::{
    config::{Mode, OnSearchError},
    openai::{Json, Message, chat::ToolChoice},
    rag::{
        Error, Job, Pipeline,
        links::Links,
        passages::{Bounds, Style},
        prompt,
        report::{Report, Timings},
        search_query,
    },
    retrieval::{self, Found},
    upstream,
};

/// What the model is told when it searches for the same words again.
const ALREADY: &str = "Already searched: the results for these words are above.";

/// What it is told when it may search no more.
const NO_MORE: &str = "No more searches are possible. Answer with what was found.";

/// One turn of the model, whole.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Its text as the upstream sent it; `None` for `null`.
    pub(super) content: Option<String>,
    /// Its calls.
    pub(super) calls: Vec<Call>,
    /// Why it ended.
    pub(super) finish: Option<String>,
    /// What it cost.
    pub(super) usage: Option<Value>,
}

/// What follows a turn.
#[derive(Debug)]
pub(super) enum Step {
    /// These calls are answered here, and the model is asked again.
    Answer(KeptTurn, Vec<Planned>),
    /// These calls go to the client; the rest is answered here meanwhile and kept.
    Client(KeptTurn, Vec<Planned>, Vec<Call>),
    /// The answer is complete.
    Done,
    /// The model is asked again in another way.
    Again,
}

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

/// How the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// With the search tool.
    Open,
    /// Without it.
    Last,
    /// Without it, and with the results as plain text: the last resort.
    Plain,
}

/// The state of one request.
pub(super) struct Session {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) job: Job,
    pub(super) style: Style,
    pub(super) report: Report,
    pub(super) timings: Timings,
    pub(super) usage: Option<Value>,
    client_tools: Vec<String>,
    /// The client's own fields, which later turns change.
    tools: Vec<Json>,
    tool_choice: ToolChoice,
    parallel: bool,
    budget: u32,
    phase: Phase,
    rounds: u32,
    asked: Vec<String>,
    hidden: Vec<KeptTurn>,
    /// The conversation as the client sent it, for finding this answer again.
    trail: Trail,
    /// The conversation before this request's own turns.
    base: Vec<Message>,
}

impl Session {
    pub(super) fn new(pipeline: Arc<Pipeline>, mut job: Job) -> Self {
        let style = job.cited();
        let mut trail = Trail::new(&job.tenant, &job.scope);
        job.request
            .messages
            .iter()
            .for_each(|message| trail.pass(message));
        let messages = std::mem::take(job.request.messages_mut());
        let (messages, kept) = pipeline
            .kept
            .put_back(&job.tenant, &job.scope, style, messages);
        *job.request.messages_mut() = messages.clone();

        let mut report = Report::new(Mode::Tool, job.settings.sources);
        report.selection = kept.selection();
        let tool_choice = job.request.tool_choice();
        let client_tools = spec::client_tools(&job.request);
        Self {
            style,
            timings: Timings::default(),
            usage: None,
            tools: job
                .request
                .object()
                .value("tools")
                .and_then(Json::items)
                .unwrap_or_default(),
            parallel: job.request.object().read_value("parallel_tool_calls") != Some(false),
            budget: job.passage_budget(),
            // A client that wants no tool called wants none of ours called either.
            phase: if tool_choice == ToolChoice::None {
                Phase::Last
            } else {
                Phase::Open
            },
            rounds: 0,
            asked: kept.queries.iter().map(|query| same_words(query)).collect(),
            hidden: Vec::new(),
            base: messages,
            client_tools,
            tool_choice,
            report,
            trail,
            pipeline,
            job,
        }
    }

    /// Makes the request ready for the next turn.
    pub(super) fn prepare(&mut self) {
        self.rounds += 1;
        let settings = &self.job.settings;
        if self.phase == Phase::Open
            && (self.rounds >= settings.max_rounds || self.report.searches >= settings.max_searches)
        {
            self.phase = Phase::Last;
        }
        let mut tools = self.tools.clone();
        if self.phase == Phase::Open {
            tools.push(spec::definition(self.style == Style::Numbered));
        }
        let request = &mut self.job.request;
        if tools.is_empty() {
            // An empty list is refused by most servers, and a choice without tools by some.
            for key in ["tools", "tool_choice", "parallel_tool_calls"] {
                request.remove(key);
            }
        } else {
            request.set("tools", Json::array(&tools));
            // `required` for every turn would make the model search for ever.
            let forced = matches!(self.tool_choice, ToolChoice::Required | ToolChoice::Named);
            if forced && !self.hidden.is_empty() {
                request.set("tool_choice", Json::of("auto"));
            }
        }
        if request.stream {
            let mut options = request
                .object()
                .value("stream_options")
                .and_then(crate::openai::Object::parse);
            let options = options.get_or_insert_with(crate::openai::Object::empty);
            options.set("include_usage", Json::of(&true));
            let options = options.to_json();
            request.set("stream_options", options);
        }
        let mut messages = self.base.clone();
        if self.phase == Phase::Plain {
            tell_in_text(&mut messages, &self.report.selection.context(self.style));
        } else {
            let sources = &self.report.selection.sources;
            messages.extend(
                self.hidden
                    .iter()
                    .flat_map(|turn| turn.messages(sources, self.style)),
            );
        }
        *self.job.request.messages_mut() = messages;
    }

    /// What a turn means.
    pub(super) fn conclude(&mut self, turn: Turn) -> Result<Step, Error> {
        usage::add(&mut self.usage, turn.usage);
        if let Some(usage) = &self.usage {
            self.job.progress.tally.used(&usage.to_string());
        }
        let cut = matches!(turn.finish.as_deref(), Some("length"));
        let mut calls = turn.calls;
        if cut {
            calls.retain(Call::is_whole);
        }
        if !self.parallel {
            calls.truncate(1);
        }
        let owner = |call: &Call| spec::owner(&call.name, &self.client_tools);
        let clients: Vec<Call> = calls
            .iter()
            .filter(|call| owner(call) == Owner::Client)
            .cloned()
            .collect();
        let hides = clients.len() < calls.len();
        let says = turn
            .content
            .as_deref()
            .is_some_and(|content| !content.trim().is_empty());

        if self.phase != Phase::Open {
            let failed = (hides && clients.is_empty())
                || (calls.is_empty() && !says && !ended_on_purpose(turn.finish.as_deref()));
            return match (failed, self.phase) {
                (true, Phase::Last) => {
                    self.phase = Phase::Plain;
                    Ok(Step::Again)
                }
                (true, _) => Err(self.no_answer()),
                (false, _) if clients.is_empty() => Ok(Step::Done),
                (false, _) => Ok(Step::Client(
                    KeptTurn {
                        content: turn.content,
                        calls: clients.clone(),
                        results: Vec::new(),
                    },
                    Vec::new(),
                    clients,
                )),
            };
        }
        if calls.is_empty() {
            if says || ended_on_purpose(turn.finish.as_deref()) {
                return Ok(Step::Done);
            }
            self.phase = if self.hidden.is_empty() {
                Phase::Last
            } else {
                Phase::Plain
            };
            return Ok(Step::Again);
        }
        let owned: Vec<(Call, Owner)> = calls
            .iter()
            .map(|call| (call.clone(), owner(call)))
            .collect();
        let hidden = owned
            .into_iter()
            .filter(|(_, owner)| *owner != Owner::Client);
        let planned = hidden
            .map(|(call, owner)| self.plan(&call, owner))
            .collect();
        let calls = calls.into_iter().map(|call| self.replayed(call)).collect();
        let kept = KeptTurn {
            content: turn.content,
            calls,
            results: Vec::new(),
        };
        Ok(if clients.is_empty() {
            Step::Answer(kept, planned)
        } else {
            Step::Client(kept, planned, clients)
        })
    }

    /// Runs what was planned; the searches of a turn run at the same time.
    pub(super) async fn run(
        &mut self,
        mut turn: KeptTurn,
        planned: Vec<Planned>,
    ) -> Result<Vec<Ran>, Error> {
        let began = Instant::now();
        let queries: Vec<_> = planned
            .iter()
            .map(|planned| planned.query(&self.job))
            .collect();
        let retriever = &self.pipeline.retriever;
        let found = join_all(queries.iter().map(|query| async move {
            match query {
                Some(query) => Some((retriever.search(query).await, began.elapsed())),
                None => None,
            }
        }))
        .await;
        let mut ran = Vec::new();
        if queries.iter().any(Option::is_some) {
            self.timings.search = Some(self.timings.search.unwrap_or_default() + began.elapsed());
        }
        for (planned, found) in planned.into_iter().zip(found) {
            let body = match (planned.action, found) {
                (Action::Search(arguments), Some((found, took))) => {
                    self.job.progress.tally.searched(&found, took);
                    let body = self.record(&arguments, found)?;
                    let results = match &body {
                        Body::Passages { fresh, again } => fresh.len() + again.len(),
                        Body::Text(_) => 0,
                    };
                    ran.push(Ran { results, took });
                    body
                }
                (Action::Search(_), None) => Body::Text(NO_MORE.to_owned()),
                (Action::Say(text), _) => Body::Text(text),
            };
            turn.results.push((planned.id, body));
        }
        self.hidden.push(turn);
        Ok(ran)
    }

    /// Keeps the hidden turns for the client's return.
    pub(super) fn keep(&self, visible: &[Call]) {
        let kept = Kept {
            turns: self.hidden.clone(),
            sources: self.report.selection.sources.clone(),
            queries: self.report.queries.clone(),
        };
        self.pipeline.kept.keep(self.trail.key(visible), kept);
    }

    /// Where citations lead; `None`: the answer is not cited.
    pub(super) fn links(&self) -> Option<Links> {
        (self.style == Style::Numbered).then(|| self.pipeline.signer.links(&self.job.base))
    }

    /// Whether turns were answered here that the client does not see.
    pub(super) fn has_hidden_turns(&self) -> bool {
        !self.hidden.is_empty()
    }

    fn plan(&mut self, call: &Call, owner: Owner) -> Planned {
        let action = match owner {
            Owner::Nobody | Owner::Client => {
                let name: String = call.name.chars().take(64).collect();
                Action::Say(format!(
                    "There is no tool called `{name}`. Use `{}`, or answer.",
                    spec::NAME
                ))
            }
            Owner::Search => match Arguments::read(&call.arguments) {
                Err(sentence) => Action::Say(sentence.to_owned()),
                Ok(arguments) if self.asked.contains(&same_words(&arguments.query)) => {
                    Action::Say(ALREADY.to_owned())
                }
                Ok(_) if self.report.searches >= self.job.settings.max_searches => {
                    Action::Say(NO_MORE.to_owned())
                }
                Ok(arguments) => {
                    self.asked.push(same_words(&arguments.query));
                    self.report.searches += 1;
                    self.report.queries.push(arguments.query.clone());
                    Action::Search(arguments)
                }
            },
        };
        Planned {
            id: call.id.clone(),
            action,
        }
    }

    /// A call as it goes back to the model: its id verbatim, and arguments that chat templates can parse.
    fn replayed(&self, mut call: Call) -> Call {
        if spec::owner(&call.name, &self.client_tools) == Owner::Search {
            spec::NAME.clone_into(&mut call.name);
            if !is_object(&call.arguments) {
                call.arguments = Arguments::read(&call.arguments)
                    .map_or_else(|_| "{}".to_owned(), |arguments| arguments.to_json());
            }
        } else if !is_object(&call.arguments)
            && spec::owner(&call.name, &self.client_tools) == Owner::Nobody
        {
            "{}".clone_into(&mut call.arguments);
        }
        call
    }

    fn record(
        &mut self,
        arguments: &Arguments,
        found: Result<Found, retrieval::Error>,
    ) -> Result<Body, Error> {
        let found = match found {
            Ok(found) => found,
            // What the model wrote made no query: that is for the model to mend.
            Err(retrieval::Error::Query { .. }) => {
                return Ok(Body::Text(
                    "This search is not possible. Use other words.".to_owned(),
                ));
            }
            Err(error @ retrieval::Error::Scope { .. }) => return Err(error.into()),
            Err(error) if self.job.settings.on_search_error == OnSearchError::Answer => {
                warn!(error = %error, "search failed; the model is told");
                let warning = "a search failed, so this answer may not be grounded in documents";
                if !self.report.warnings.iter().any(|known| known == warning) {
                    self.report.warnings.push(warning.to_owned());
                }
                return Ok(Body::Text(
                    "The search failed. Answer without it, and say so.".to_owned(),
                ));
            }
            Err(error) => return Err(error.into()),
        };
        self.report.cached += u32::from(found.cached);
        for warning in found.warnings {
            if !self.report.warnings.contains(&warning) {
                self.report.warnings.push(warning);
            }
        }
        let bounds = Bounds {
            scope: &self.job.scope,
            min_relevance: self.job.settings.min_relevance,
            budget: self.budget,
            style: self.style,
        };
        let selection = &mut self.report.selection;
        let before = selection.sources.last().map_or(0, |source| source.index);
        let some = !found.passages.is_empty();
        let mut brought = selection.add(found.passages, &bounds);
        self.job.progress.tally.given(selection);
        brought.dedup();
        let (fresh, again): (Vec<usize>, Vec<usize>) =
            brought.into_iter().partition(|index| *index > before);
        if fresh.is_empty() && again.is_empty() && some && selection.is_full(&bounds) {
            return Ok(Body::Text(
                "There is no room for more passages. Answer with those above.".to_owned(),
            ));
        }
        tracing::debug!(
            results = fresh.len(),
            max_results = arguments.max_results,
            "searched for the model"
        );
        Ok(Body::Passages { fresh, again })
    }

    fn no_answer(&self) -> Error {
        Error::Upstream(upstream::Error::Invalid {
            upstream: self.job.resolved.route.upstream.name().to_owned(),
            detail: "the model kept calling tools or said nothing when it was asked to answer"
                .to_owned(),
        })
    }
}

/// What a search came to, for the events of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    results: usize,
    took: Duration,
}

impl Ran {
    pub(super) fn event(&self) -> Value {
        json!({"type": "search.completed", "results": self.results, "duration_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)})
    }
}

impl Planned {
    /// What is told of a search that begins; `None` for an answer that needs none.
    pub(super) fn event(&self) -> Option<Value> {
        match &self.action {
            Action::Search(arguments) => {
                Some(json!({"type": "search.started", "query": arguments.query}))
            }
            Action::Say(_) => None,
        }
    }

    /// The search, within the caller's scope: nothing that the model wrote is read for it.
    fn query(&self, job: &Job) -> Option<retrieval::SearchQuery> {
        match &self.action {
            Action::Search(arguments) => {
                let query = search_query(job, arguments.query.clone());
                let max_results = job
                    .options
                    .max_results
                    .map_or(arguments.max_results, |most| {
                        most.min(arguments.max_results)
                    });
                Some(retrieval::SearchQuery {
                    max_results,
                    ..query
                })
            }
            Action::Say(_) => None,
        }
    }
}

/// Whether an answer without text may stand: it was cut, or refused, and says so.
fn ended_on_purpose(finish: Option<&str>) -> bool {
    matches!(finish, Some("length" | "content_filter"))
}

fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object())
}

fn same_words(query: &str) -> String {
    query
        .split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Puts what was found into the last user message, for models that will not answer after tool calls.
fn tell_in_text(messages: &mut Vec<Message>, context: &str) {
    let context = if context.is_empty() {
        prompt::NO_RESULTS
    } else {
        context
    };
    let text = format!(
        "Search results:\n{context}\n\nAnswer now, from these results; do not call any tool."
    );
    match messages
        .iter_mut()
        .rev()
        .find(|message| message.role == "user")
    {
        Some(user) => user.append_text(&text),
        None => messages.push(Message::new("user", &text)),
    }
}

/// The calls of a whole answer's message, leaked ones included; what leaked is taken out of the text.
pub(super) fn read_message(message: &crate::openai::Object) -> (Option<String>, Vec<Call>) {
    let mut calls = calls::of_message(message);
    let content = message.read_value::<Value>("content").map(|_| {
        Message::read(message.to_json())
            .map(|message| message.text())
            .unwrap_or_default()
    });
    let Some(text) = content else {
        return (None, calls);
    };
    let mut filter = super::leak::Filter::default();
    let mut kept = filter.push(&text);
    let (rest, leaked) = filter.finish();
    kept.push_str(&rest);
    let found = leaked
        .as_deref()
        .map(calls::of_leaked_text)
        .unwrap_or_default();
    if found.is_empty() {
        return (Some(text), calls);
    }
    calls.extend(found);
    (Some(kept), calls)
}
