//! One request, with everything that was decided at the edge.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{
    Error,
    completion::{self, Endpoint},
    delivery::Delivery,
    estimate,
    passages::Style,
    query,
    reach::Reach,
    settings::RagOptions,
    skip,
    tally::Tally,
};
use crate::{
    access::{KeyLimits, Kind, Refused, Scope},
    config::{Citations, Mode, QueryFrom, Rag},
    openai::{ChatRequest, Identity, Json, chat::ToolChoice, chunk::Family},
    retrieval::{self, Asker, SearchQuery},
    upstream::{Resolved, Route},
};

/// The tokens kept free for an answer whose length the client does not limit, where the context window is known.
const ANSWER_RESERVE: u32 = 1024;

/// One request, with everything that was decided at the edge.
#[derive(Debug)]
pub struct Job {
    /// What the client asks; `rag` was taken out.
    pub request: ChatRequest,
    /// Where it asked that.
    pub endpoint: Endpoint,
    /// How it is answered, as [`mode`] says.
    pub mode: Mode,
    /// How it is grounded.
    pub settings: Rag,
    /// What the request itself said of that.
    pub options: RagOptions,
    /// Whose it is: what is kept for one is never found by another.
    pub tenant: String,
    /// The workspaces it may see.
    pub scope: Scope,
    /// What its key for search reaches.
    pub reach: Arc<Reach>,
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
    /// How much the caller's key may search; `None`: as much as it likes.
    pub limits: Option<Arc<KeyLimits>>,
    /// What the edge and the answer tell each other.
    pub progress: Arc<Progress>,
}

/// How a request is answered: as the settings say, unless one of their rules says that it is not searched for.
pub fn mode(settings: &Rag, request: &ChatRequest) -> Mode {
    // The rules read the whole question, which nobody needs where there is no search anyway.
    match settings.mode {
        Mode::Inject | Mode::Tool
            if skip::matching(&settings.skip, &request.messages).is_some() =>
        {
            Mode::Off
        }
        mode => mode,
    }
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

    pub(super) fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Relaxed)
    }
}

impl Job {
    /// Holds the files that the request names to its scope: LightOn takes no workspaces beside files, so that it would search in any.
    pub(super) async fn check_files(&self) -> Result<(), Error> {
        let outside = self.reach.outside(&self.scope, &self.options.file_id);
        let files = tokio::time::timeout_at(self.until, outside)
            .await
            .map_err(|_| retrieval::Error::Timeout {
                after: self.until.elapsed(),
            })??;
        if files.is_empty() {
            Ok(())
        } else {
            Err(Error::Files { files })
        }
    }

    pub(super) fn cited(&self) -> Style {
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
    pub(super) fn passage_budget(&self) -> u32 {
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
        let room = window
            .saturating_sub(answer)
            .saturating_sub(self.endpoint.longest_beyond_first())
            .saturating_sub(100);
        estimate::left_beside_conversation(self, room, self.settings.passage_tokens)
    }

    /// Uses one of the searches that the caller's key may make, where the request is searched for before the model is asked.
    pub(super) async fn may_search(&self) -> Result<(), Refused> {
        let Some(limits) = self.limits.as_ref().filter(|_| self.is_searched_for()) else {
            return Ok(());
        };
        self.use_search(limits).await
    }

    /// Uses one of the searches of `limits`; notes where none is left.
    pub(super) async fn use_search(&self, limits: &KeyLimits) -> Result<(), Refused> {
        let now = std::time::Instant::now();
        let taken = limits.take(Kind::Searches, 1, now).await;
        taken
            .map(drop)
            .inspect_err(|refused| self.progress.tally.limited(refused.word()))
    }

    fn is_searched_for(&self) -> bool {
        let messages = &self.request.messages;
        let has_query = || match self.settings.query_from {
            QueryFrom::LastUser | QueryFrom::Rewrite => query::last_user(messages).is_some(),
            QueryFrom::Conversation => query::conversation(messages).is_some(),
        };
        self.endpoint.is_readable() && (self.options.query.is_some() || has_query())
    }

    /// Asks upstreams for a stream's count of tokens, whether the client did or not.
    pub fn ask_for_usage(&mut self) {
        self.request.ask_for_usage();
        if let Endpoint::Completions(request) = &mut self.endpoint {
            request.ask_for_usage();
        }
    }

    /// The names of the token limits that are below what the route's answers need.
    pub(super) fn low_limits(&self, route: &Route) -> Vec<&'static str> {
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

    pub(super) fn body(&self, route: &Route) -> Bytes {
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

    pub(super) fn delivery(&self) -> Delivery<'_> {
        Delivery {
            path: self.endpoint.path(),
            resolved: &self.resolved,
            headers: &self.headers,
            authorization: self.authorization.as_ref(),
            until: self.until,
            tally: &self.progress.tally,
        }
    }
}

/// A search for `text` within the scope of `job`.
pub(super) fn search_query(job: &Job, text: String) -> SearchQuery {
    let options = &job.options;
    SearchQuery {
        max_results: job.settings.max_results,
        // Beside files as well, although LightOn is then asked for the files alone: what is kept of a search is kept for this scope.
        workspaces: match &job.scope {
            Scope::Only(ids) => Some(ids.clone()),
            Scope::Every => None,
        },
        tag_id: options.tag_id.clone(),
        file_id: options.file_id.clone(),
        content_type: options.content_type.clone(),
        attribute: options.attribute.clone(),
        mode: job.settings.search_mode,
        relevance_scoring: job.settings.relevance_scoring,
        asker: Asker::of(&job.tenant),
        ..SearchQuery::new(text)
    }
}
