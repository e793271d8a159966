//! What a handler behind the key's check is given: who asks, by which parts it is answered, and where it is noted.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::notes::Notes;
use crate::{access::Principal, app::App, http::error::ApiError};

/// A request that was let through.
#[derive(Clone)]
pub(in crate::http) struct Visit {
    /// The parts that answer it, whatever is reloaded meanwhile.
    pub(in crate::http) app: Arc<App>,
    /// Who asks.
    pub(in crate::http) principal: Arc<Principal>,
    /// What the log is told.
    pub(in crate::http) notes: Arc<Notes>,
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let visit = parts.extensions.get::<Self>().cloned();
        // Every route that takes it stands behind the check.
        visit.ok_or_else(|| ApiError::internal().into_response())
    }
}
