//! The reason the gateway exists: answers a request with, without, or by means of search.
//!
//! [`Pipeline::answer`] branches once on the mode. Everything it decides on was settled at the edge and comes in a [`Job`]: the request, the
//! settings, the scope, the model's place.

mod answer;
pub mod citations;
pub mod completion;
pub mod defuse;
pub mod delivery;
pub mod links;
pub mod passages;
pub mod prompt;
pub mod query;
pub mod report;
pub mod settings;
pub mod skip;
pub mod stream;
pub mod tally;
pub mod tokens;
pub mod tool;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use self::{
    completion::Endpoint,
    delivery::Delivery,
    links::Signer,
    passages::{Bounds, Style},
    report::{Report, Timings},
    settings::RagOptions,
    stream::{Grounding, Outgoing, Relay},
    tally::Tally,
};
use crate::{
    access::Scope,
    config::{self, Citations, Mode, OnNoResults, OnSearchError, QueryFrom, Rag},
    openai::{ChatRequest, Identity, Json, Message, Object, chat::ToolChoice, chunk::Family},
    retrieval::{self, Retriever, SearchQuery},
    sse,
    upstream::{self, Catalog, Client, Head, Resolved, Route, catalog::Allowed, client::Call},
};

/// What answers when search found nothing and the operator wants no model to be asked.
const REFUSAL: &str = "I could not find anything about this in the documents that I can search.";

/// What `rag.warnings` says of an answer that used up its tokens while thinking.
const RAN_OUT: &str = "the model used up its tokens before it wrote an answer; raise `max_tokens` (reasoning models need a few thousand)";

/// The tokens kept free for an answer whose length the client does not limit, where the context window is known.
const ANSWER_RESERVE: u32 = 1024;

/// Answers requests.
pub struct Pipeline {
    /// Finds passages.
    pub retriever: Arc<dyn Retriever>,
    /// Talks to upstreams.
    pub client: Client,
    /// Knows where models are, for the one that rewrites queries.
    pub catalog: Arc<Catalog>,
    /// When an upstream is asked again.
    pub retry: config::Retry,
    /// Signs the links in citations.
    pub signer: Signer,
    /// What clients do not see while they run tools of their own.
    pub kept: tool::KeptTurns,
}

/// One request, with everything that was decided at the edge.
#[derive(Debug)]
pub struct Job {
    /// What the client asks; `rag` was taken out.
    pub request: ChatRequest,
    /// Where it asked that.
    pub endpoint: Endpoint,
    /// How it is grounded.
    pub settings: Rag,
    /// What the request itself said of that.
    pub options: RagOptions,
    /// Whose it is: what is kept for one is never found by another.
    pub tenant: String,
    /// The workspaces it may see.
    pub scope: Scope,
    /// Where the model is.
    pub resolved: Resolved,
    /// What of the client's headers goes along.
    pub headers: HeaderMap,
    /// The client's own `Authorization`, for upstreams that want it.
    pub authorization: Option<HeaderValue>,
    /// Scheme and host that the client knows the gateway by.
    pub base: String,
    /// When the request must be over.
    pub until: Instant,
    /// What the edge and the answer tell each other.
    pub progress: Arc<Progress>,
}

/// What the edge and a streamed answer tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// The identity of the stream: the upstream's, or the gateway's where a chunk of its own came first.
    pub identity: OnceLock<Identity>,
    /// What the answer takes.
    pub tally: Arc<Tally>,
    committed: AtomicBool,
}

impl Progress {
    /// Notes that the head went out before the upstream was known.
    pub fn commit(&self) {
        self.committed.store(true, Ordering::Relaxed);
    }

    fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Relaxed)
    }
}

/// The answer to a request.
pub enum Answer {
    /// All of it.
    Whole(Meta, Bytes),
    /// Piece by piece; an error is the last piece.
    Stream(Meta, Pieces),
}

/// What goes to the client, piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// What the head of an answer says.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// The upstream that answered; unknown where none was asked yet.
    pub upstream: Option<String>,
    /// What it calls the model.
    pub model: Option<String>,
    /// The upstream's headers that go on to the client.
    pub headers: HeaderMap,
    /// How long the steps took.
    pub timings: Timings,
}

/// Why a request has no answer. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Search failed.
    #[error(transparent)]
    Search(#[from] retrieval::Error),
    /// The upstream failed.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// The upstream failed as often as the operator allows, so that the client need not try as well.
    #[error("{0} (retries used up)")]
    Exhausted(#[source] upstream::Error),
}

/// What grounding a request brought.
struct Grounded {
    report: Report,
    style: Style,
    search: Option<Duration>,
    /// Whether a fixed sentence answers.
    refused: bool,
}

impl Job {
    /// How the request is answered: the settings, unless a rule says that it is not searched for.
    pub fn mode(&self) -> Mode {
        let skipped = skip::matching(&self.settings.skip, &self.request.messages);
        if skipped.is_some() {
            Mode::Off
        } else {
            self.settings.mode
        }
    }

    fn cited(&self) -> Style {
        let cited = match self.settings.citations {
            // A prompt is continued, not answered: nothing asks for citations.
            _ if self.endpoint.family() == Family::Completion => false,
            Citations::On => true,
            Citations::Off => false,
            Citations::Auto => {
                !self.request.wants_json()
                    && !matches!(
                        self.request.tool_choice(),
                        ToolChoice::Required | ToolChoice::Named
                    )
            }
        };
        if cited { Style::Numbered } else { Style::Plain }
    }

    /// The tokens that passages may take: what the operator allows, and what the model's window leaves.
    fn passage_budget(&self) -> u32 {
        let Some(window) = self.resolved.route.context_window else {
            return self.settings.passage_tokens;
        };
        let limit = self
            .request
            .completion_limit()
            .and_then(|limit| u32::try_from(limit).ok());
        let answer = limit
            .unwrap_or(ANSWER_RESERVE)
            .max(self.resolved.route.min_completion_tokens);
        let conversation: u32 = self
            .request
            .messages
            .iter()
            .map(|message| tokens::estimate(&message.text()).saturating_add(8))
            .sum();
        let tools = self.request.object().value("tools").map_or(0, |tools| {
            u32::try_from(tools.bytes().len() / 3).unwrap_or(u32::MAX)
        });
        let left = window
            .saturating_sub(answer)
            .saturating_sub(conversation)
            .saturating_sub(self.endpoint.longest_beyond_first())
            .saturating_sub(tools)
            .saturating_sub(100);
        self.settings.passage_tokens.min(left)
    }

    /// The names of the token limits that are below what the route's answers need.
    fn low_limits(&self, route: &Route) -> Vec<&'static str> {
        let minimum = u64::from(route.min_completion_tokens);
        let low = |key: &&str| {
            self.request
                .object()
                .read_value::<u64>(key)
                .is_some_and(|limit| limit < minimum)
        };
        ["max_completion_tokens", "max_tokens"]
            .into_iter()
            .filter(low)
            .collect()
    }

    fn body(&self, route: &Route) -> Bytes {
        if let Endpoint::Completions(request) = &self.endpoint {
            return completion::body(self, request, route);
        }
        let limits = self.low_limits(route);
        if limits.is_empty() {
            return self.request.body(&route.model);
        }
        let mut request = self.request.clone();
        for key in limits {
            request.set(key, Json::of(&route.min_completion_tokens));
        }
        request.body(&route.model)
    }

    fn delivery(&self) -> Delivery<'_> {
        Delivery {
            path: self.endpoint.path(),
            resolved: &self.resolved,
            headers: &self.headers,
            authorization: self.authorization.as_ref(),
            until: self.until,
            tally: &self.progress.tally,
        }
    }

    fn call(&self, route: &Route) -> Call {
        self.delivery().call(route, self.body(route))
    }
}

impl Pipeline {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, mut job: Job) -> Result<Answer, Error> {
        job.request.remove_own_annotations();
        match job.mode() {
            Mode::Off => self.relay(&job, None).await,
            Mode::Tool if job.request.stream => tool::stream(self, job).await,
            Mode::Tool => tool::whole(self, job).await,
            Mode::Inject if job.request.stream && job.options.events => Ok(self.narrate(job)),
            Mode::Inject => {
                let grounded = self.ground(&mut job).await?;
                self.relay(&job, Some(grounded)).await
            }
        }
    }

    /// Searches, and puts what was found into the conversation.
    async fn ground(&self, job: &mut Job) -> Result<Grounded, Error> {
        let mut grounded = Grounded {
            report: Report::new(Mode::Inject, job.settings.sources),
            style: job.cited(),
            search: None,
            refused: false,
        };
        if !job.endpoint.can_be_grounded(&mut grounded.report) {
            return Ok(grounded);
        }
        let Some(text) = self.query(job, &mut grounded.report).await else {
            grounded.report.warnings.push(
                "nothing was searched for: the conversation has no text of a user".to_owned(),
            );
            return Ok(grounded);
        };
        let query = search_query(job, text.clone());
        let began = Instant::now();
        let found = self.retriever.search(&query).await;
        grounded.search = Some(began.elapsed());
        job.progress.tally.searched(&found, began.elapsed());
        grounded.report.queries.push(text);
        grounded.report.searches += 1;
        let found = match found {
            Ok(found) => found,
            Err(error)
                if job.settings.on_search_error == OnSearchError::Answer
                    && may_answer_without(&error) =>
            {
                warn!(error = %error, "search failed; the model answers without context");
                grounded
                    .report
                    .warnings
                    .push("search failed, so this answer is not grounded in documents".to_owned());
                return Ok(grounded);
            }
            Err(error) => return Err(error.into()),
        };
        grounded.report.cached += u32::from(found.cached);
        grounded.report.warnings.extend(found.warnings);
        let bounds = Bounds {
            scope: &job.scope,
            min_relevance: job.settings.min_relevance,
            budget: job.passage_budget(),
            style: grounded.style,
        };
        grounded.report.selection.add(found.passages, &bounds);
        job.progress.tally.given(&grounded.report.selection);
        for chunk in &grounded.report.selection.suspicious {
            grounded.report.warnings.push(format!(
                "passage {chunk} held control tokens or imitated a passage; they were defused"
            ));
        }
        if grounded.report.selection.sources.is_empty()
            && job.settings.on_no_results == OnNoResults::Refuse
        {
            grounded.refused = true;
            return Ok(grounded);
        }
        let question = query::last_user(&job.request.messages).unwrap_or_default();
        let grounding = prompt::Grounding {
            selection: &grounded.report.selection,
            style: grounded.style,
            inject_as: job.settings.inject_as,
            template: job.settings.template.as_deref(),
            question: &question,
        };
        match &mut job.endpoint {
            Endpoint::Chat => grounding.put_into(job.request.messages_mut()),
            Endpoint::Completions(request) => request.prepend(&grounding.text()),
        }
        Ok(grounded)
    }

    /// What is searched for: what the request says, else what the conversation does.
    async fn query(&self, job: &Job, report: &mut Report) -> Option<String> {
        if let Some(query) = &job.options.query {
            return Some(query.trim().to_owned());
        }
        let messages = &job.request.messages;
        match job.settings.query_from {
            QueryFrom::LastUser => query::last_user(messages),
            QueryFrom::Conversation => query::conversation(messages),
            QueryFrom::Rewrite => {
                let last = query::last_user(messages)?;
                match self.rewritten(job).await {
                    Some(rewritten) => Some(rewritten),
                    None => {
                        report.warnings.push(
                            "the query could not be rewritten; the last message was searched for"
                                .to_owned(),
                        );
                        Some(last)
                    }
                }
            }
        }
    }

    async fn rewritten(&self, job: &Job) -> Option<String> {
        let name = job.settings.rewrite_model.as_deref()?;
        let resolved = self.catalog.resolve(name, Allowed::default()).await.ok()?;
        let [system, user] = query::rewriting_prompt(&job.request.messages)?;
        let body = Json::of(&json!({
            "model": resolved.route.model,
            "messages": [value_of(&system), value_of(&user)],
            "temperature": 0,
        }));
        let call = Call {
            path: Endpoint::Chat.path(),
            body: body.bytes().clone(),
            ..job.call(&resolved.route)
        };
        let (_, answer) = match self.client.whole(&call).await {
            Ok(answer) => answer,
            Err(error) => {
                warn!(error = %error, "the query could not be rewritten");
                return None;
            }
        };
        let choices = answer.value("choices")?.items()?;
        let message = choices
            .first()
            .and_then(Object::parse)?
            .value("message")
            .cloned()?;
        let text = Message::read(message)?.text();
        let query = text.trim().trim_matches('"').trim();
        (!query.is_empty() && query.len() < 4000).then(|| query.to_owned())
    }

    /// Sends the request on and gives the answer back, with what grounding adds.
    async fn relay(&self, job: &Job, grounded: Option<Grounded>) -> Result<Answer, Error> {
        let mut timings = Timings {
            search: grounded.as_ref().and_then(|grounded| grounded.search),
            upstream: None,
        };
        if let Some(grounded) = grounded.as_ref().filter(|grounded| grounded.refused) {
            return Ok(refuse(job, grounded, timings));
        }
        let links = grounded
            .as_ref()
            .filter(|grounded| grounded.style == Style::Numbered)
            .map(|_| self.signer.links(&job.base));
        if job.request.stream {
            let ((head, events), route) = self
                .deliver(job, |client, call| Box::pin(client.stream(call)))
                .await?;
            timings.upstream = Some(head.latency);
            let name = route.upstream.name();
            job.progress.tally.answered(name, timings);
            let progress = Arc::clone(&job.progress);
            let mut outgoing = Outgoing::new(
                job.endpoint.family(),
                name,
                &route.model,
                progress,
                timings,
                job.request.include_usage,
            );
            if let Some(grounded) = grounded {
                outgoing = outgoing.grounded(Grounding {
                    report: grounded.report,
                    links,
                    told: false,
                });
            }
            return Ok(Answer::Stream(
                meta(route, head, timings),
                Relay::new(events, outgoing).boxed(),
            ));
        }
        let ((head, answer), route) = self
            .deliver(job, |client, call| Box::pin(client.whole(call)))
            .await?;
        timings.upstream = Some(head.latency);
        let tally = &job.progress.tally;
        tally.answered(route.upstream.name(), timings);
        tally.used_by(&answer);
        let body = match grounded {
            Some(grounded) => answer::finish(answer, grounded.report, links.as_ref()),
            None => answer.to_json().bytes().clone(),
        };
        Ok(Answer::Whole(meta(route, head, timings), body))
    }

    /// Streams that tell what the gateway is doing: the first event commits the status.
    fn narrate(self: Arc<Self>, mut job: Job) -> Answer {
        job.progress.commit();
        let (family, model) = (job.endpoint.family(), job.request.model.clone());
        let pieces = async_stream::try_stream! {
            let identity = job.progress.identity.get_or_init(|| Identity::new(&model)).clone();
            let asked = job.options.query.clone().or_else(|| query::last_user(&job.request.messages)).unwrap_or_default();
            yield event_chunk(family, &identity, &json!({"type": "search.started", "query": asked}));
            let grounded = self.ground(&mut job).await?;
            let results = grounded.report.selection.sources.len() + grounded.report.selection.dropped.len();
            let duration = grounded.search.unwrap_or_default().as_millis();
            yield event_chunk(family, &identity, &json!({"type": "search.completed", "results": results, "duration_ms": duration}));
            if let Answer::Stream(_, mut rest) = self.relay(&job, Some(grounded)).await? {
                while let Some(piece) = rest.next().await {
                    yield piece?;
                }
            }
        };
        Answer::Stream(Meta::default(), pieces.boxed())
    }

    /// Sends one request until it succeeds, its attempts are used up, or time is.
    async fn deliver<'j, T>(
        &self,
        job: &'j Job,
        send: impl for<'a> Fn(&'a Client, &'a Call) -> BoxFuture<'a, Result<T, upstream::Error>> + Send,
    ) -> Result<(T, &'j Route), Error> {
        self.send(job.delivery(), |route| job.body(route), send)
            .await
    }
}

/// Whether an answer without context is better than none: not where the caller asked for what it may not see.
fn may_answer_without(error: &retrieval::Error) -> bool {
    !matches!(
        error,
        retrieval::Error::Scope { .. } | retrieval::Error::Query { .. }
    )
}

fn search_query(job: &Job, text: String) -> SearchQuery {
    let options = &job.options;
    SearchQuery {
        max_results: job.settings.max_results,
        // LightOn refuses files together with workspaces; what comes back is held to the scope passage by passage.
        workspaces: match &job.scope {
            Scope::Only(ids) if options.file_id.is_empty() => Some(ids.clone()),
            Scope::Only(_) | Scope::Every => None,
        },
        tag_id: options.tag_id.clone(),
        file_id: options.file_id.clone(),
        content_type: options.content_type.clone(),
        attribute: options.attribute.clone(),
        mode: job.settings.search_mode,
        relevance_scoring: job.settings.relevance_scoring,
        ..SearchQuery::new(text)
    }
}

fn meta(route: &Route, head: Head, timings: Timings) -> Meta {
    Meta {
        upstream: Some(route.upstream.name().to_owned()),
        model: Some(route.model.clone()),
        headers: head.headers,
        timings,
    }
}

/// The fixed sentence, as an answer in the form that the client asked for.
fn refuse(job: &Job, grounded: &Grounded, timings: Timings) -> Answer {
    let identity = job
        .progress
        .identity
        .get_or_init(|| Identity::new(&job.request.model))
        .clone();
    let meta = Meta {
        timings,
        ..Meta::default()
    };
    if !job.request.stream {
        let mut answer = match &job.endpoint {
            Endpoint::Chat => answer::own(&identity, REFUSAL),
            Endpoint::Completions(_) => completion::own(&identity, REFUSAL),
        };
        answer.set("rag", grounded.report.to_json());
        return Answer::Whole(meta, answer.to_json().bytes().clone());
    }
    let family = job.endpoint.family();
    let mut first = identity.text_chunk(family, REFUSAL);
    first.set("rag", grounded.report.to_json());
    let last = identity.empty_chunk(family, Some("stop"));
    let mut pieces = vec![
        Ok(sse::encode::data(first.to_json().bytes())),
        Ok(sse::encode::data(last.to_json().bytes())),
    ];
    if job.request.include_usage {
        let mut usage = identity.empty_chunk(family, None);
        usage.set("choices", Json::of(&json!([])));
        let none = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        usage.set("usage", Json::of(&none));
        pieces.push(Ok(sse::encode::data(usage.to_json().bytes())));
    }
    pieces.push(Ok(sse::encode::DONE.clone()));
    Answer::Stream(meta, futures_util::stream::iter(pieces).boxed())
}

fn event_chunk(family: Family, identity: &Identity, event: &Value) -> Bytes {
    let mut chunk = identity.empty_chunk(family, None);
    chunk.set("rag", Json::of(&json!({"event": event})));
    sse::encode::data(chunk.to_json().bytes())
}

fn value_of(message: &Message) -> Value {
    message.json.read().unwrap_or(Value::Null)
}
