//! A search that a client asks for itself, without any model's answer: several queries at once, their results merged.

use std::sync::Arc;

use futures_util::future::try_join_all;
use http::HeaderMap;
use tokio::time::Instant;
use tracing::info;

use super::{Error, Pipeline, filters::Narrowing, reach::Reach, tally::Tally};
use crate::{
    access::Scope,
    config::{Rag, WorkspaceId},
    openai::Message,
    retrieval::{Asker, Passage, SearchQuery},
    upstream::client::Call,
};

/// What is looked up.
#[derive(Debug)]
pub struct Lookup {
    /// The queries; at least one.
    pub queries: Vec<String>,
    /// Whose it is: where searches have to wait, each takes turns with the others.
    pub tenant: String,
    /// Where. The caller may see it.
    pub workspace: WorkspaceId,
    /// What the caller's key for search reaches.
    pub reach: Arc<Reach>,
    /// How many passages at most.
    pub max_results: u16,
    /// Which documents count.
    pub narrowing: Narrowing,
    /// Passages with a lower [`score`] are left out.
    pub score_threshold: f64,
    /// How the passages are judged, and which model rewrites.
    pub settings: Rag,
    /// Whether a model may reword the queries.
    pub rewriting: Rewriting,
    /// When the whole must be over.
    pub until: Instant,
    /// What it takes.
    pub tally: Arc<Tally>,
}

/// Whether a model may reword a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewriting {
    /// Yes, where the operator configured one.
    Allowed,
    /// No.
    Unwanted,
}

/// What was found, and by which queries.
#[derive(Debug)]
pub struct LookedUp {
    /// What was searched for in the end.
    pub queries: Vec<String>,
    /// The passages, best first, each once.
    pub passages: Vec<Passage>,
}

/// How well a passage fits, within 0 and 1: its relevance where that is known. Otherwise it is what the passage is sorted by, which has no
/// upper bound and is cut.
pub fn score(passage: &Passage) -> f64 {
    let known = passage.scores.relevance.unwrap_or(passage.score);
    if known.is_finite() {
        known.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

impl Pipeline {
    /// Searches for every query at once. One that fails fails the lookup: half of an answer would look like a whole one.
    pub async fn look_up(&self, lookup: &Lookup) -> Result<LookedUp, Error> {
        let queries = match lookup.rewriting {
            Rewriting::Unwanted => lookup.queries.clone(),
            Rewriting::Allowed => self.reworded(lookup).await,
        };
        let Some(files) = files(lookup).await? else {
            let passages = Vec::new();
            return Ok(LookedUp { queries, passages });
        };
        let searches: Vec<SearchQuery> = queries
            .iter()
            .map(|text| search_query(lookup, &files, text))
            .collect();
        let retriever = &lookup.reach.retriever;
        let found = try_join_all(searches.iter().map(|query| async {
            let (step, began) = (lookup.tally.steps.search(), Instant::now());
            let found = retriever.search(query).await;
            lookup.tally.searched(step, &found, began.elapsed());
            found
        }))
        .await?;
        let alone = found.len() == 1;
        let mut passages: Vec<Passage> = Vec::new();
        for passage in found.into_iter().flat_map(|found| found.passages) {
            // Whatever search returned: what stands elsewhere is not shown.
            let inside = passage
                .workspace
                .as_ref()
                .is_some_and(|workspace| workspace.id == lookup.workspace);
            if !inside
                || passage.content.trim().is_empty()
                || score(&passage) < lookup.score_threshold
            {
                continue;
            }
            match passages
                .iter_mut()
                .find(|known| known.chunk_id == passage.chunk_id)
            {
                Some(known) if score(known) < score(&passage) => *known = passage,
                Some(_) => {}
                None => passages.push(passage),
            }
        }
        // The order of one search is the service's own, and better than scores that were cut.
        if !alone {
            passages.sort_by(|a, b| score(b).total_cmp(&score(a)));
        }
        passages.truncate(lookup.max_results.into());
        Ok(LookedUp { queries, passages })
    }

    /// The queries in a model's words, each as it was where no model rewrites or it fails.
    async fn reworded(&self, lookup: &Lookup) -> Vec<String> {
        let Some(model) = &lookup.settings.rewrite_model else {
            info!(
                "`rewrite_query` was asked for, but `rag.rewrite_model` names no model; the query is searched for as it is"
            );
            return lookup.queries.clone();
        };
        let rewriting = lookup.queries.iter().map(|text| async move {
            let messages = [Message::new("user", text)];
            let call = |upstream: &Arc<_>, body| Call {
                upstream: Arc::clone(upstream),
                path: "/chat/completions",
                body,
                headers: HeaderMap::new(),
                authorization: None,
                until: lookup.until,
            };
            let reworded = self.reword(model, &messages, &lookup.tally, call).await;
            reworded.unwrap_or_else(|| text.clone())
        });
        futures_util::future::join_all(rewriting).await
    }
}

/// The files that are searched in, those of the workspace; `None` where all that were named are elsewhere, so that nothing can be found.
async fn files(lookup: &Lookup) -> Result<Option<Vec<i64>>, Error> {
    let named = &lookup.narrowing.file_id;
    let scope = Scope::Only([lookup.workspace].into());
    let outside = lookup.reach.outside(&scope, named).await?;
    let inside: Vec<i64> = named
        .iter()
        .copied()
        .filter(|file| !outside.contains(file))
        .collect();
    Ok((named.is_empty() || !inside.is_empty()).then_some(inside))
}

fn search_query(lookup: &Lookup, files: &[i64], text: &str) -> SearchQuery {
    let narrowing = &lookup.narrowing;
    SearchQuery {
        max_results: lookup.max_results,
        workspaces: Some([lookup.workspace].into()),
        tag_id: narrowing.tag_id.clone(),
        file_id: files.to_vec(),
        content_type: narrowing.content_type.clone(),
        attribute: narrowing.attribute.clone(),
        relevance_scoring: lookup.settings.relevance_scoring,
        asker: Asker::of(&lookup.tenant),
        ..SearchQuery::new(text)
    }
}
