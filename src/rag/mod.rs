//! The reason the gateway exists: answers a request with, without, or by means of search.
//!
//! [`Pipeline::answer`] branches once on the mode. Everything it decides on was settled at the edge and comes in a [`Job`]: the request, the
//! settings, the scope, the model's place.

pub mod answer;
pub mod citations;
pub mod completion;
pub mod defuse;
pub mod delivery;
pub mod estimate;
pub mod filters;
mod frame;
mod ground;
mod heard;
mod job;
pub mod links;
pub mod lookup;
mod metered;
pub mod passages;
pub mod prompt;
pub mod query;
pub mod reach;
mod refusal;
pub mod report;
pub mod settings;
pub mod skip;
mod speakers;
pub mod stream;
pub mod tally;
pub mod tokens;
pub mod tool;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use http::HeaderMap;
use serde_json::{Value, json};

pub use self::job::{Job, Progress, mode};
use self::{
    ground::Grounded,
    passages::Style,
    report::Timings,
    stream::{Grounding, Outgoing, Relay},
};
use crate::{
    access::Refused,
    config::{self, Mode},
    openai::{Identity, Json, chunk::Family},
    retrieval, sse,
    upstream::{self, Catalog, Client, Head, Route, client::Call},
};

/// What `rag.warnings` says of an answer that used up its tokens while thinking.
const RAN_OUT: &str = "the model used up its tokens before it wrote an answer; raise `max_tokens` (reasoning models need a few thousand)";

/// Answers requests.
pub struct Pipeline {
    /// Talks to upstreams.
    pub client: Client,
    /// Knows where models are, for the one that rewrites queries.
    pub catalog: Arc<Catalog>,
    /// When an upstream is asked again.
    pub retry: config::Retry,
    /// What clients do not see while they run tools of their own.
    pub kept: tool::KeptTurns,
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
    /// A limit of the caller's key is used up.
    #[error(transparent)]
    Limited(#[from] Refused),
    /// Files were named that the caller may not see, or that are not there.
    #[error("outside the scope, or not there: {}", files.iter().map(|file| format!("file {file}")).collect::<Vec<_>>().join(", "))]
    Files {
        /// Their numbers.
        files: Vec<i64>,
    },
    /// The upstream failed.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// The upstream failed as often as the operator allows, so that the client need not try as well.
    #[error("{0} (retries used up)")]
    Exhausted(#[source] upstream::Error),
    /// The model kept calling tools or said nothing, in whatever way it was asked to answer.
    #[error(
        "the model of upstream `{upstream}` kept calling tools or said nothing when it was asked to answer"
    )]
    NoAnswer {
        /// The provider.
        upstream: String,
    },
}

impl Pipeline {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, mut job: Job) -> Result<Answer, Error> {
        job.request.remove_own_annotations();
        // What needs a search is several times as large as what a request needs that is only relayed, and on the heap by itself.
        match job.mode {
            Mode::Off => self.relay(&job, &mut None).await,
            Mode::Inject => Box::pin(self.inject(job)).await,
            Mode::Tool => Box::pin(self.call_tools(job)).await,
        }
    }

    async fn inject(self: Arc<Self>, mut job: Job) -> Result<Answer, Error> {
        job.check_files().await?;
        job.may_search().await?;
        if job.request.stream && job.options.events {
            return Ok(self.narrate(job));
        }
        let grounded = self.ground(&mut job).await?;
        self.relay_grounded(&mut job, grounded).await
    }

    async fn call_tools(self: Arc<Self>, job: Job) -> Result<Answer, Error> {
        job.check_files().await?;
        if job.request.stream {
            tool::stream(self, job).await
        } else {
            tool::whole(self, job).await
        }
    }

    /// Sends a grounded request on; a model that has no room for the passages is asked once more with half of them.
    async fn relay_grounded(&self, job: &mut Job, grounded: Grounded) -> Result<Answer, Error> {
        let mut grounded = Some(grounded);
        match self.relay(job, &mut grounded).await {
            Err(Error::Upstream(error)) if error.is_context_overflow() => {
                if !grounded
                    .as_mut()
                    .is_some_and(|grounded| grounded.halve(job))
                {
                    return Err(error.into());
                }
                self.relay(job, &mut grounded).await
            }
            outcome => outcome,
        }
    }

    /// Sends the request on and gives the answer back, with what grounding adds.
    async fn relay(&self, job: &Job, grounded: &mut Option<Grounded>) -> Result<Answer, Error> {
        let mut timings = Timings {
            search: grounded.as_ref().and_then(|grounded| grounded.search),
            upstream: None,
        };
        if let Some(grounded) = grounded.as_ref().filter(|grounded| grounded.refused) {
            return Ok(refusal::refuse(job, grounded, timings));
        }
        let links = grounded
            .as_ref()
            .filter(|grounded| grounded.style == Style::Numbered)
            .map(|_| job.reach.signer.links(&job.base));
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
            if let Some(grounded) = grounded.take() {
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
        let body = match grounded.take() {
            Some(grounded) => answer::finish(answer, grounded.report, links.as_ref()),
            None => answer.to_json().bytes().clone(),
        };
        Ok(Answer::Whole(meta(route, head, timings), body))
    }

    /// Streams that tell what the gateway is doing: the first event commits the status.
    fn narrate(self: Arc<Self>, mut job: Job) -> Answer {
        job.progress.commit();
        let (family, model) = (job.endpoint.family(), job.request.model.clone());
        // The head goes out before anybody is asked: it names who will be.
        let planned = Meta::planned(&job);
        let pieces = async_stream::try_stream! {
            let identity = job.progress.identity.get_or_init(|| Identity::new(family, &model)).clone();
            let (mut grounded, query) = self.ask_what(&job).await;
            if let Some(query) = query {
                yield event_chunk(family, &identity, &json!({"type": "search.started", "query": query}));
                grounded = self.search_for(&mut job, grounded, query).await?;
                let results = grounded.report.selection.sources.len() + grounded.report.selection.dropped.len();
                let duration = grounded.search.unwrap_or_default().as_millis();
                yield event_chunk(family, &identity, &json!({"type": "search.completed", "results": results, "duration_ms": duration}));
            }
            if let Answer::Stream(_, mut rest) = self.relay_grounded(&mut job, grounded).await? {
                while let Some(piece) = rest.next().await {
                    yield piece?;
                }
            }
        };
        Answer::Stream(planned, pieces.boxed())
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

impl Meta {
    /// What is known before anybody was asked.
    pub fn planned(job: &Job) -> Self {
        let route = &job.resolved.route;
        Self {
            upstream: Some(route.upstream.name().to_owned()),
            model: Some(route.model.clone()),
            ..Self::default()
        }
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

fn event_chunk(family: Family, identity: &Identity, event: &Value) -> Bytes {
    let mut chunk = identity.empty_chunk(family, None);
    chunk.set("rag", Json::of(&json!({"event": event})));
    sse::encode::data(chunk.to_json().bytes())
}
