//! LightOn's v3 API over the library: `search`, `workspaces`, `files` and `tags`, under `/api/v3`.
//!
//! Shapes and codes follow LightOn's public documentation and the types of its Python SDK (`lighton-sdk` 1.3). Where those are silent,
//! the sandbox decides as each module says. Any bearer key is taken, but one is demanded, so that a program which forgets its key finds
//! out here. What the sandbox lacks (facets, keys, ask, parse, extract) is 404 like any unknown path.

pub(super) mod body;
pub(super) mod error;
mod fields;
pub(super) mod files;
mod image;
mod page;
pub(super) mod params;
mod search;
mod tags;
mod workspaces;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

use super::library::Library;
use error::Error;

/// What every path begins with; the nested router sees paths without it.
const PREFIX: &str = "/api/v3";

/// An upload may have this many bytes at most: what the gateway takes at most, too.
pub(super) const UPLOAD_LIMIT_BYTES: usize = 512 * 1024 * 1024;

/// How the service behaves where LightOn's own behaviour changed over time or takes time.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// The shape of search results.
    pub contract: Contract,
    /// How long an upload takes to be `embedded` when nobody asks for its status; each status asked for moves it on by one step.
    pub settle: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            contract: Contract::FloatScore,
            settle: Duration::from_secs(1),
        }
    }
}

/// The shape of search results, which changed in June 2026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// The shape until June 2026: `score` is `{retrieval, reranking}`, queries have 1500 characters, 50 results at most.
    ObjectScore,
    /// Today's shape: `score` is a number and `scores` says what it was made of; 4000 characters, 100 results at most.
    FloatScore,
}

/// What every handler needs.
#[derive(Clone)]
struct Service {
    library: Arc<Library>,
    contract: Contract,
}

/// The routes of the service.
pub(super) fn router(library: Arc<Library>, contract: Contract) -> Router {
    let routes = Router::new()
        .route("/search", post(search::search))
        .route(
            "/workspaces",
            get(workspaces::list).post(workspaces::create),
        )
        .route(
            "/workspaces/{id}",
            get(workspaces::retrieve)
                .patch(workspaces::update)
                .delete(workspaces::delete),
        )
        .route("/files", get(files::list::list).post(files::upload::create))
        .route("/files/bulk-delete", post(files::delete_many))
        .route(
            "/files/{id}",
            get(files::retrieve)
                .patch(files::upload::update)
                .delete(files::delete),
        )
        .route("/files/{id}/download", get(files::download))
        .route("/files/{id}/tags", post(files::add_tags))
        .route("/files/{id}/tags/{tag_id}", delete(files::remove_tag))
        .route("/tags", get(tags::list).post(tags::create))
        .route("/tags/{id}", delete(tags::delete))
        // Routes only: a path that does not exist is 404 with or without a key, as with Django, where views authenticate.
        .route_layer(middleware::from_fn(demand_key))
        .method_not_allowed_fallback(async |request: Request| {
            Error::MethodNotAllowed(request.method().clone())
        })
        .layer(DefaultBodyLimit::max(UPLOAD_LIMIT_BYTES))
        .with_state(Service { library, contract });
    Router::new().nest(PREFIX, routes)
}

async fn demand_key(request: Request, next: Next) -> Response {
    if super::bearer_key(request.headers()).is_none() {
        return Error::Unauthorized.into_response();
    }
    next.run(request).await
}

/// The answer to a path that leads nowhere, in LightOn's envelope.
pub(super) fn unknown_path(path: &str) -> Response {
    Error::UnknownPath(path.to_owned()).into_response()
}
