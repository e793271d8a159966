//! `/v1/vector_stores`: workspaces in the shape of OpenAI's vector stores, and search in them.
//!
//! `vs_42` and `42` name the same one. What the caller's key does not reach does not exist for it.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, Request},
    response::Response,
};
use http::{HeaderValue, header};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    chat,
    error::{self, ApiError, Told},
    extract::json_body,
    json,
    middleware::{rate_limit, visit::Visit},
    paging::{Order, Paging, number},
    wrong_method,
};
use crate::{
    access::Scope,
    config::{RelevanceScoring, SearchBackend, WorkspaceId},
    openai::{
        Json,
        vector_stores::{
            Content, Ranker, SearchPage, SearchResult, VectorStore, VectorStoreSearch,
        },
    },
    rag::{
        self, filters,
        lookup::{self, Lookup, Rewriting},
        settings::{RagOptions, settings},
    },
    retrieval::{self, Passage, documents::Page, documents::StoredWorkspace},
};

/// How many workspaces are asked for at once, and in how many steps at most.
const STEP: u32 = 100;
const STEPS: u32 = 100;

/// The longest text that an attribute may be (OpenAI's schema), in characters, and how many attributes there may be.
const ATTRIBUTE_CHARS: usize = 512;
const ATTRIBUTES: usize = 16;

/// Lists the workspaces that the caller may see.
pub(super) async fn list(
    Visit { app, principal, .. }: Visit,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let paging = Paging::read(query.as_deref(), 20, 100)?;
    let search = app.search(&principal);
    let mut stores = Vec::new();
    for step in 1..=STEPS {
        let page = Page {
            number: step,
            size: STEP,
        };
        let listed = search.documents.workspaces(page).await.map_err(failed)?;
        stores.extend(
            listed
                .items
                .into_iter()
                .filter(|workspace| principal.scope.holds(Some(workspace.id)))
                .map(store),
        );
        if !listed.more {
            break;
        }
    }
    // Stable, so that those without a time keep the order of their names.
    stores.sort_by_key(|store: &VectorStore| store.created_at);
    if paging.order == Order::Descending {
        stores.reverse();
    }
    let page = paging
        .prefixed("vs_")
        .cut(stores, |store| store.id.as_str())?;
    Ok(page.respond(|store| store.id.as_str()))
}

/// One workspace.
pub(super) async fn retrieve(
    Visit { app, principal, .. }: Visit,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let workspace = within(&principal.scope, &id)?;
    let documents = &app.search(&principal).documents;
    let found = documents.workspace(workspace).await.map_err(failed)?;
    Ok(json(&Json::of(&store(found.ok_or_else(unknown)?))))
}

/// Searches in one workspace.
pub(super) async fn search(
    Visit {
        app,
        principal,
        notes,
    }: Visit,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let body = json_body(&head.headers, body, &app.config).await?;
    let asked = VectorStoreSearch::parse(body)?;
    let workspace = within(&principal.scope, &id)?;
    let narrowing = match &asked.filters {
        Some(filter) => filters::narrowing(filter)?,
        None => filters::Narrowing::default(),
    };
    let mut settings = settings(&app.config.rag, &[&principal.rag], &RagOptions::default());
    if asked.ranker == Ranker::None {
        settings.relevance_scoring = RelevanceScoring::None;
    }
    let lookup = Lookup {
        queries: asked.queries,
        tenant: principal.name.clone(),
        workspace,
        reach: Arc::clone(&app.search(&principal).reach),
        max_results: asked.max_num_results,
        narrowing,
        score_threshold: asked.score_threshold,
        settings,
        rewriting: if asked.rewrite_query {
            Rewriting::Allowed
        } else {
            Rewriting::Unwanted
        },
        until: arrived + app.config.timeouts.total,
        tally: Arc::default(),
    };
    notes.count_in(&lookup.tally);
    rate_limit::use_searches(&app, &principal, lookup.queries.len()).await?;
    if lookup.rewriting == Rewriting::Allowed {
        // Rewording takes few tokens, which are counted; a key that has none left must wait.
        rate_limit::hold(&app, &principal, &lookup.tally, Some(0), || 0).await?;
    }
    let found = match app.pipeline.look_up(&lookup).await {
        Ok(found) => found,
        Err(rag::Error::Search(error)) => return Err(failed(error)),
        Err(error) => return Err(chat::error_of(error)),
    };
    if found.passages.is_empty() {
        // Nothing found and nowhere to look are different answers.
        let documents = &app.search(&principal).documents;
        let known = documents.workspace(workspace).await.map_err(failed)?;
        known.ok_or_else(unknown)?;
    }
    let results = found.passages.into_iter().map(result).collect();
    Ok(json(&Json::of(&SearchPage::new(found.queries, results))))
}

/// Making and deleting: workspaces are made in LightOn, and a folder's are its sub-folders.
pub(super) async fn write(Visit { app, .. }: Visit, request: Request) -> ApiError {
    match app.config.search.backend {
        SearchBackend::Local { .. } => ApiError::bad_request(
            "not_supported",
            "the vector stores of this gateway are the sub-folders of its documents and read only; change the folder",
        ),
        SearchBackend::LightOn { .. } => {
            let mut refused = wrong_method(request).await;
            let allowed = HeaderValue::from_static("GET,HEAD");
            refused.headers.insert(header::ALLOW, allowed);
            refused
        }
    }
}

/// The workspace that `id` names, where the scope holds it.
fn within(scope: &Scope, id: &str) -> Result<WorkspaceId, ApiError> {
    let workspace = number(id.strip_prefix("vs_").unwrap_or(id)).map(WorkspaceId);
    workspace
        .filter(|workspace| scope.holds(Some(*workspace)))
        .ok_or_else(unknown)
}

fn store(workspace: StoredWorkspace) -> VectorStore {
    let created = workspace.created_at.map_or(0, |time| time.as_second());
    VectorStore::new(
        format!("vs_{}", workspace.id),
        workspace.name,
        created,
        workspace.files.unwrap_or(0),
    )
}

fn result(passage: Passage) -> SearchResult {
    SearchResult {
        file_id: passage.source.file_id.to_string(),
        score: lookup::score(&passage),
        attributes: attributes(&passage),
        filename: passage.source.filename,
        content: [Content::text(passage.content)],
    }
}

/// Where the passage stands, and what a data source says of its file.
fn attributes(passage: &Passage) -> Map<String, Value> {
    let source = &passage.source;
    let own = [
        ("chunk_id", Some(Value::from(passage.chunk_id.clone()))),
        ("title", source.title.clone().map(Value::from)),
        ("page_start", source.page_start.map(Value::from)),
        ("page_end", source.page_end.map(Value::from)),
    ];
    let own = own
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let additional = source
        .external_metadata
        .as_ref()
        .and_then(|metadata| metadata.get("additional_metadata"))
        .and_then(Value::as_object);
    let theirs = additional
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()));
    let mut attributes = Map::new();
    for (key, value) in own.chain(theirs) {
        let fits = match &value {
            Value::String(text) => text.chars().count() <= ATTRIBUTE_CHARS,
            Value::Number(_) | Value::Bool(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if fits && key.chars().count() <= 64 && attributes.len() < ATTRIBUTES {
            attributes.entry(key).or_insert(value);
        }
    }
    attributes
}

fn unknown() -> ApiError {
    ApiError::not_found(
        "there is no such vector store here; `GET /v1/vector_stores` lists those that your key reaches",
    )
}

fn failed(cause: retrieval::Error) -> ApiError {
    let told = Told::of(&cause);
    let answer = match cause {
        retrieval::Error::Scope { .. } => unknown(),
        retrieval::Error::Query { field, .. } => {
            let param = match field.as_deref() {
                Some("attribute" | "tag_id" | "file_id" | "content_type") => "filters",
                Some("max_results") => "max_num_results",
                Some(_) | None => "query",
            };
            let message = format!("document search does not take this search; check `{param}`");
            ApiError::bad_request("invalid_value", message).param(param)
        }
        other => other.into(),
    };
    error::log(&told, &answer);
    answer
}
