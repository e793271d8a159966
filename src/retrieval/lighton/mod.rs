//! LightOn: its search API and its documents, version 3.
//!
//! Facts of the API come from LightOn's documentation and the sources of its Python SDK 1.1.0. What the client does with them:
//!
//! - One deadline holds for a call, its wait for a turn, all its tries and its body included.
//! - Calls of all requests are paced together: askers take turns, each first come, first served; a turn that would come too late is refused at once.
//! - Connection failures, 429, 500, 502, 503 and 504 are tried again as the settings allow; maintenance and every other 4xx are not.
//! - Redirects are never followed: a query and a key go nowhere but to `search.base_url`.

mod call;
mod disposition;
mod documents;
mod errors;
mod pacing;
pub mod paradigm;
mod query;
mod reply;
mod retry;
mod upload;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use url::Url;

use self::{
    call::Caller,
    errors::{Asked, unavailable},
    reply::SearchReply,
    retry::Failure,
    wire::SearchRequest,
};
use super::{Error, Found, Retriever, SearchQuery};
use crate::config::{self, Secret};

/// The largest answer to a search that is read, in bytes: a hundred page images of several hundred kilobytes each.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Above that many bytes an answer is parsed on a thread that may block: it takes over half a millisecond.
const PARSE_INLINE_BYTES: usize = 256 * 1024;

/// LightOn's search API, as a source of passages and a store of documents.
#[derive(Clone)]
pub struct LightOn {
    caller: Caller,
}

/// How a [`LightOn`] behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a new connection may take.
    pub connect: Duration,
    /// How long one call may take, waiting for its turn and trying again included.
    pub timeout: Duration,
    /// Requests in any minute, over everything that this client sends.
    pub requests_per_minute: u32,
    /// How often and how patiently a call is tried again.
    pub retry: config::Retry,
}

impl LightOn {
    /// A client for the API at `base_url`, with or without its `/api/v3`; fails where no header can carry the key.
    pub fn new(base_url: &Url, api_key: Secret, options: Options) -> Result<Self, Error> {
        let caller = Caller::new(base_url, api_key, options)?;
        Ok(Self { caller })
    }

    /// Closes connections that rested for long enough; somebody has to call this now and then.
    pub fn sweep(&self) {
        self.caller.sweep();
    }

    async fn find(&self, query: &SearchQuery) -> Result<Found, Error> {
        let Some(text) = query::fit(&query.text) else {
            return Err(invalid_query("the query is blank"));
        };
        if query
            .workspaces
            .as_ref()
            .is_some_and(|workspaces| workspaces.is_empty())
        {
            // LightOn may take an empty list for no filter at all.
            let detail = "the scope holds no workspace".to_owned();
            return Err(Error::Scope { detail });
        }
        let request = SearchRequest::new(query, &text.text);
        let request = serde_json::to_vec(&request).map(Bytes::from);
        let request = request.map_err(|_| invalid_query("the query cannot be written as JSON"))?;
        let reply = self
            .caller
            .call_for(query.asker, || self.ask(request.clone()))
            .await?;
        Ok(found(reply, query, text.cut))
    }

    async fn ask(&self, request: Bytes) -> Result<SearchReply, Failure> {
        let response = self.caller.post("/search", request).await?;
        let response = call::success(Asked::Search, response).await?;
        let body = call::whole(response, ANSWER_BYTES).await?;
        let (reply, body) = parse(body).await?;
        let Some(reply) = reply else {
            let nonsense =
                || Failure::last(unavailable("its answer is no list of results in JSON"));
            return Err(errors::in_disguise(Asked::Search, &body).unwrap_or_else(nonsense));
        };
        Ok(reply)
    }
}

impl std::fmt::Debug for LightOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LightOn").finish_non_exhaustive()
    }
}

impl Retriever for LightOn {
    fn search<'a>(&'a self, query: &'a SearchQuery) -> BoxFuture<'a, Result<Found, Error>> {
        self.find(query).boxed()
    }
}

/// Reads the body of an answer to `query` as every search's is read; `None` where it holds no list of results.
pub fn read_answer(body: &[u8], query: &SearchQuery) -> Option<Found> {
    reply::read(body).map(|reply| found(reply, query, false))
}

async fn parse(body: Bytes) -> Result<(Option<SearchReply>, Bytes), Failure> {
    if body.len() <= PARSE_INLINE_BYTES {
        return Ok((reply::read(&body), body));
    }
    let parsing = tokio::task::spawn_blocking(move || (reply::read(&body), body));
    parsing.await.map_err(|error| {
        Failure::last(Error::Unavailable {
            detail: "its answer could not be parsed".to_owned(),
            source: Some(Box::new(error)),
        })
    })
}

/// Completes LightOn's warnings by ours.
fn found(mut reply: SearchReply, query: &SearchQuery, cut: bool) -> Found {
    let came = reply.passages.len() + reply.dropped;
    reply.passages.truncate(query.max_results.into());
    let mut warnings = reply.warnings;
    if reply.dropped > 0 {
        let dropped = reply.dropped;
        warnings.push(format!(
            "results: {dropped} of {came} lacked what a passage needs and were left out"
        ));
    }
    if cut {
        let limit = query::MAX_CHARS;
        warnings.push(format!(
            "query: only its first {limit} characters were searched for"
        ));
    }
    let passages = reply.passages;
    Found {
        passages,
        warnings,
        cached: false,
    }
}

fn invalid_query(detail: &str) -> Error {
    Error::Query {
        status: 422,
        detail: detail.to_owned(),
        field: Some("query".to_owned()),
    }
}
