//! One request in mode `tool`: which turn comes next, and what a turn means. No I/O.
//!
//! ```text
//! Open ──calls the search──▶ searches run ──▶ Open, or Last once rounds or searches are used up
//!  │                                            │
//!  ├─calls the client's tools──▶ the client     ├─answers──▶ done
//!  ├─answers──▶ done                            └─calls, says nothing, or is refused──▶ Plain ──again──▶ an error
//!  └─says nothing──▶ Plain (or Last, when nothing was searched)
//! ```

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::{
    calls::Call,
    kept::{Kept, KeptTurn},
    search::{Planned, same_words},
    spec::{self, Arguments, Owner},
    trail::Trail,
    usage,
};
use crate::{
    config::Mode,
    openai::{Json, Message, chat::ToolChoice},
    rag::{
        Error, Job, Pipeline,
        links::Links,
        passages::Style,
        prompt,
        report::{Report, Timings},
    },
    upstream::{self, Route},
};

/// One turn of the model, whole.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Its text as the upstream sent it; `None` for `null`.
    pub(super) content: Option<String>,
    /// Whether it said something that is no text: a refusal, or sound.
    pub(super) says_otherwise: bool,
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
    /// These calls go to the client; the rest is answered here and kept.
    Client(KeptTurn, Vec<Planned>, Vec<Call>),
    /// The answer is complete.
    Done,
    /// The model is asked again in another way.
    Again,
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
    /// The tokens that passages may take.
    pub(super) budget: u32,
    /// What was searched for, in the words that count as the same.
    pub(super) asked: Vec<String>,
    /// The turns that the client does not see.
    pub(super) hidden: Vec<KeptTurn>,
    client_tools: Vec<String>,
    /// The client's own fields, which later turns change.
    tools: Vec<Json>,
    tool_choice: ToolChoice,
    parallel: bool,
    phase: Phase,
    rounds: u32,
    /// The conversation as the client sent it, for finding this answer again.
    trail: Trail,
    /// The conversation before this request's own turns.
    base: Vec<Message>,
}

impl Session {
    pub(super) fn new(pipeline: Arc<Pipeline>, mut job: Job) -> Self {
        let style = job.cited();
        let start = Trail::new(&job.tenant, &job.reach.realm, &job.scope);
        let messages = std::mem::take(job.request.messages_mut());
        let mut trail = start.clone();
        messages.iter().for_each(|message| trail.pass(message));
        let (messages, kept) = pipeline.kept.put_back(start, &job.scope, style, messages);
        *job.request.messages_mut() = messages.clone();

        let mut report = Report::new(Mode::Tool, job.settings.sources);
        report.selection = kept.selection();
        let tool_choice = job.request.tool_choice();
        let request = job.request.object();
        let tools = request.value("tools").and_then(Json::items);
        Self {
            style,
            timings: Timings::default(),
            usage: None,
            tools: tools.unwrap_or_default(),
            parallel: request.read_value("parallel_tool_calls") != Some(false),
            budget: job.passage_budget(),
            // A client that wants no tool called wants none of ours called either.
            phase: match tool_choice {
                ToolChoice::None => Phase::Last,
                ToolChoice::Unset | ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named => {
                    Phase::Open
                }
            },
            rounds: 0,
            asked: kept.queries.iter().map(|query| same_words(query)).collect(),
            hidden: Vec::new(),
            base: messages,
            client_tools: spec::client_tools(&job.request),
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
        let used_up =
            self.rounds >= settings.max_rounds || self.report.searches >= settings.max_searches;
        if self.phase == Phase::Open && used_up {
            self.phase = Phase::Last;
        }
        self.put_tools();
        self.put_messages();
        if self.job.request.stream {
            // The usage of all turns is summed, whether the client asked for it or not: each turn's must be told.
            self.job.ask_for_usage();
        }
    }

    fn put_tools(&mut self) {
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
            return;
        }
        request.set("tools", Json::array(&tools));
        // `required` for every turn would make the model search for ever; the name of a tool that is not offered is refused.
        let forced = matches!(self.tool_choice, ToolChoice::Required | ToolChoice::Named);
        let names_search = spec::chooses_search(request);
        if forced && (!self.hidden.is_empty() || (self.phase != Phase::Open && names_search)) {
            request.set("tool_choice", Json::of("auto"));
        }
    }

    fn put_messages(&mut self) {
        let mut messages = self.base.clone();
        let sources = &self.report.selection.sources;
        if self.phase == Phase::Plain {
            tell_in_text(&mut messages, &self.told());
        } else {
            messages.extend(
                self.hidden
                    .iter()
                    .flat_map(|turn| turn.messages(sources, self.style)),
            );
        }
        *self.job.request.messages_mut() = messages;
    }

    /// What a model is told that will not answer after tool calls.
    fn told(&self) -> String {
        if self.report.searches == 0 {
            return "Answer now; do not call any tool.".to_owned();
        }
        let context = self.report.selection.context(self.style);
        let context = if context.is_empty() {
            prompt::NO_RESULTS
        } else {
            &context
        };
        format!(
            "Search results:\n{context}\n\nAnswer now, from these results; do not call any tool."
        )
    }

    /// Keeps to the model that answered: the next turn goes on with its calls, by its ids.
    pub(super) fn stay_with(&mut self, route: &Route) {
        let resolved = &mut self.job.resolved;
        let at = resolved.fallbacks.iter().position(|fallback| {
            Arc::ptr_eq(&fallback.upstream, &route.upstream) && fallback.model == route.model
        });
        let first = &resolved.route;
        let is_first = Arc::ptr_eq(&first.upstream, &route.upstream) && first.model == route.model;
        let Some(at) = at.filter(|_| !is_first) else {
            return;
        };
        // A client's key was given for the upstream it named, and for no other.
        if !Arc::ptr_eq(&first.upstream, &route.upstream) {
            self.job.authorization = None;
        }
        resolved.fallbacks.drain(..=at);
        resolved.route = route.clone();
    }

    /// Whether the model can be asked in another way after `error`: some servers refuse a history with tool calls when no tool is offered.
    pub(super) fn may_ask_otherwise(&mut self, error: &Error) -> bool {
        let (Error::Upstream(error) | Error::Exhausted(error)) = error else {
            return false;
        };
        let upstream::Error::Status { status, .. } = error else {
            return false;
        };
        let refused = matches!(
            *status,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY
        );
        let last = self.phase == Phase::Last && !self.hidden.is_empty();
        if refused && last {
            self.phase = Phase::Plain;
        }
        refused && last
    }

    /// What a turn means.
    pub(super) fn conclude(&mut self, mut turn: Turn) -> Result<Step, Error> {
        // Before the sum of all turns is told, which is not this one's.
        self.job.progress.tally.turned(turn.usage.as_ref());
        usage::add(&mut self.usage, turn.usage.take());
        if let Some(usage) = &self.usage {
            self.job.progress.tally.used(&usage.to_string());
        }
        // A call that was cut off is not run, and without a finish nobody knows whether it was.
        if matches!(turn.finish.as_deref(), None | Some("length")) {
            turn.calls.retain(Call::is_whole);
        }
        if !self.parallel {
            turn.calls.truncate(1);
        }
        if turn.calls.is_empty() {
            return if turn.answers() {
                Ok(Step::Done)
            } else {
                self.ask_otherwise()
            };
        }
        let clients: Vec<Call> = turn
            .calls
            .iter()
            .filter(|call| self.owner(call) == Owner::Client)
            .cloned()
            .collect();
        if self.phase != Phase::Open {
            if clients.is_empty() {
                return self.ask_otherwise();
            }
            let kept = KeptTurn::new(turn.content, clients.clone());
            return Ok(Step::Client(kept, Vec::new(), clients));
        }
        let planned = turn
            .calls
            .iter()
            .filter_map(|call| match self.owner(call) {
                Owner::Client => None,
                Owner::Search => Some(self.plan_search(call)),
                Owner::Nobody => Some(Planned::unknown_tool(call)),
            })
            .collect();
        let calls = turn.calls.into_iter().map(|call| self.replayed(call));
        let kept = KeptTurn::new(turn.content, calls.collect());
        Ok(if clients.is_empty() {
            Step::Answer(kept, planned)
        } else {
            Step::Client(kept, planned, clients)
        })
    }

    fn ask_otherwise(&mut self) -> Result<Step, Error> {
        self.phase = match self.phase {
            Phase::Open if self.hidden.is_empty() => Phase::Last,
            Phase::Open | Phase::Last => Phase::Plain,
            Phase::Plain => {
                return Err(Error::NoAnswer {
                    upstream: self.job.resolved.route.upstream.name().to_owned(),
                });
            }
        };
        Ok(Step::Again)
    }

    fn owner(&self, call: &Call) -> Owner {
        spec::owner(&call.name, &self.client_tools)
    }

    /// A call as it goes back to the model: its id verbatim, and arguments that chat templates can parse.
    fn replayed(&self, mut call: Call) -> Call {
        match self.owner(&call) {
            Owner::Client => {}
            Owner::Search => {
                spec::NAME.clone_into(&mut call.name);
                if !call.has_object() {
                    call.arguments = Arguments::read(&call.arguments)
                        .map_or_else(|_| "{}".to_owned(), |arguments| arguments.to_json());
                }
            }
            Owner::Nobody if call.has_object() => {}
            Owner::Nobody => "{}".clone_into(&mut call.arguments),
        }
        call
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
        (self.style == Style::Numbered).then(|| self.job.reach.signer.links(&self.job.base))
    }
}

impl Turn {
    /// Whether it may stand as an answer: it says something, or was cut or filtered, and says so.
    fn answers(&self) -> bool {
        let says = self
            .content
            .as_deref()
            .is_some_and(|content| !content.trim().is_empty());
        let on_purpose = matches!(self.finish.as_deref(), Some("length" | "content_filter"));
        says || self.says_otherwise || on_purpose
    }
}

/// Puts `text` into the last user message: a message of its own would follow another user's, which many templates refuse.
fn tell_in_text(messages: &mut Vec<Message>, text: &str) {
    match messages
        .iter_mut()
        .rev()
        .find(|message| message.role == "user")
    {
        Some(user) => user.append_text(text),
        None => messages.push(Message::new("user", text)),
    }
}
