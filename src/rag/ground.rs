//! Searches before the model is asked, and puts what was found into the conversation.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::{
    Error, Pipeline,
    completion::Endpoint,
    heard,
    job::{Job, search_query},
    passages::{Bounds, Style},
    prompt, query,
    report::Report,
    tally::Tally,
};
use crate::{
    config::{Mode, OnNoResults, OnSearchError, QueryFrom},
    openai::{Json, Message, Object},
    retrieval::{self, Passage},
    trace,
    upstream::{Upstream, catalog::Allowed, client::Call},
};

/// What fits into every context window in use, with an answer, in bytes: never more tokens than bytes, and 4,096 tokens at least.
const SMALL_REQUEST_BYTES: usize = 6000;

/// What grounding a request brought.
pub(super) struct Grounded {
    pub(super) report: Report,
    pub(super) style: Style,
    pub(super) search: Option<Duration>,
    /// Whether a fixed sentence answers.
    pub(super) refused: bool,
    /// The conversation without the passages, for a model that has no room for all of them.
    before: Option<(Vec<Message>, Endpoint)>,
}

impl Grounded {
    /// Puts the passages into the conversation of `job`.
    fn put_into(&mut self, job: &mut Job) {
        self.before = Some((job.request.messages.clone(), job.endpoint.clone()));
        let template = job.settings.template.as_deref();
        // Only a template has a place for it.
        let question = template.and_then(|_| query::last_user(&job.request.messages));
        let grounding = prompt::Grounding {
            selection: &self.report.selection,
            style: self.style,
            inject_as: job.settings.inject_as,
            template,
            question: question.as_deref().unwrap_or_default(),
        };
        match &mut job.endpoint {
            Endpoint::Chat => grounding.put_into(job.request.messages_mut()),
            Endpoint::Completions(request) => request.prepend(&grounding.text()),
        }
    }

    /// Leaves out the weaker half of the passages, for a model whose context is smaller than anybody knew; false when none is left to give.
    pub(super) fn halve(&mut self, job: &mut Job) -> bool {
        let Some((messages, endpoint)) = self.before.take() else {
            return false;
        };
        if !self.report.selection.halve(self.style) {
            return false;
        }
        *job.request.messages_mut() = messages;
        job.endpoint = endpoint;
        self.report.warnings.push(
            "the model has no room for all passages, so half of them were left out; set the model's `context_window`"
                .to_owned(),
        );
        self.put_into(job);
        true
    }
}

impl Pipeline {
    /// Finds the query, searches, and puts what was found into the conversation.
    pub(super) async fn ground(&self, job: &mut Job) -> Result<Grounded, Error> {
        match self.ask_what(job).await {
            (grounded, Some(query)) => self.search_for(job, grounded, query).await,
            (grounded, None) => Ok(grounded),
        }
    }

    /// What is to be searched for; `None` where nothing is, which the report explains.
    pub(super) async fn ask_what(&self, job: &Job) -> (Grounded, Option<String>) {
        let mut grounded = Grounded {
            report: Report::new(Mode::Inject, job.settings.sources),
            style: job.cited(),
            search: None,
            refused: false,
            before: None,
        };
        if !job.endpoint.can_be_grounded(&mut grounded.report) {
            return (grounded, None);
        }
        let query = self.query(job, &mut grounded.report).await;
        if query.is_none() {
            grounded.report.warnings.push(
                "nothing was searched for: the conversation has no text of a user".to_owned(),
            );
        }
        (grounded, query)
    }

    /// Searches for `text`, and puts what was found into the conversation.
    pub(super) async fn search_for(
        &self,
        job: &mut Job,
        mut grounded: Grounded,
        text: String,
    ) -> Result<Grounded, Error> {
        let query = search_query(job, text.clone());
        let step = job.progress.tally.steps.search();
        let began = Instant::now();
        let found = job.reach.retriever.search(&query).await;
        grounded.search = Some(began.elapsed());
        job.progress.tally.searched(step, &found, began.elapsed());
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
        self.learn_window(job, found.passages.iter()).await;
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
                "passage {chunk} held control tokens or hidden characters, or imitated a passage; they were defused"
            ));
        }
        if grounded.report.selection.sources.is_empty()
            && job.settings.on_no_results == OnNoResults::Refuse
        {
            grounded.refused = true;
            return Ok(grounded);
        }
        grounded.put_into(job);
        Ok(grounded)
    }

    /// Finds out the model's context window, where nobody told it and it may be too small for these passages.
    ///
    /// Most requests are smaller than any window in use, so that no list of models is waited for.
    pub(super) async fn learn_window(
        &self,
        job: &mut Job,
        passages: impl Iterator<Item = &Passage>,
    ) {
        if job.resolved.route.context_window.is_some() {
            return;
        }
        let messages = job.request.messages.iter();
        let conversation: usize = messages.map(|message| message.json.bytes().len()).sum();
        let passages: usize = passages.map(|passage| passage.content.len()).sum();
        if conversation + passages > SMALL_REQUEST_BYTES {
            job.resolved.route.context_window = self.catalog.window(&job.resolved.route).await;
        }
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
        let call = |upstream: &Arc<Upstream>, body| Call {
            upstream: Arc::clone(upstream),
            path: Endpoint::Chat.path(),
            body,
            headers: job.headers.clone(),
            // A client's key was given for the upstream it named, and for no other.
            authorization: job
                .authorization
                .clone()
                .filter(|_| Arc::ptr_eq(upstream, &job.resolved.route.upstream)),
            until: job.until,
        };
        let tally = &job.progress.tally;
        self.reword(name, &job.request.messages, tally, call).await
    }

    /// The last question of `messages` in the words of the model called `name`; `None` where that fails.
    pub(super) async fn reword(
        &self,
        name: &str,
        messages: &[Message],
        tally: &Tally,
        call: impl FnOnce(&Arc<Upstream>, Bytes) -> Call,
    ) -> Option<String> {
        let resolved = self.catalog.resolve(name, Allowed::default()).await.ok()?;
        let [system, user] = query::rewriting_prompt(messages)?;
        let body = Json::of(&json!({
            "model": resolved.route.model,
            "messages": [value_of(&system), value_of(&user)],
            "temperature": 0,
        }));
        let mut call = call(&resolved.route.upstream, body.bytes().clone());
        let told = || heard::call(&resolved.route, Endpoint::Chat.path(), 0);
        let step = tally.steps.call(&mut call.headers, told);
        let (_, answer) = match self.client.whole(&call).await {
            Ok(answer) => answer,
            Err(error) => {
                tally.steps.ended(step, Some(error.kind()), |_| {});
                warn!(error = %error, "the query could not be rewritten");
                return None;
            }
        };
        let hear = |call: &mut trace::Call| heard::answer(call, &answer);
        tally.steps.ended(step, None, hear);
        tally.used_beside(&answer);
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
}

/// Whether an answer without context is better than none: not where the caller asked for what it may not see.
fn may_answer_without(error: &retrieval::Error) -> bool {
    !matches!(
        error,
        retrieval::Error::Scope { .. } | retrieval::Error::Query { .. }
    )
}

fn value_of(message: &Message) -> Value {
    message.json.read().unwrap_or(Value::Null)
}
