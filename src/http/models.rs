//! `GET /v1/models` and `GET /v1/models/{id}`: what a client can name as `model`.

use axum::{extract::Path, response::Response};
use http::HeaderMap;

use super::{chat::reach, error::ApiError, json, middleware::visit::Visit};
use crate::{
    openai::{Json, Object},
    upstream::catalog::Unresolved,
};

/// Lists what the caller's key may name.
pub(super) async fn list(Visit { app, principal, .. }: Visit, headers: HeaderMap) -> Response {
    let listed = app.catalog.list(reach(&app, &principal, &headers)).await;
    let mut body = Object::empty();
    body.set("object", Json::of("list"));
    body.set("data", Json::array(listed.iter().map(|entry| &entry.json)));
    json(&body.to_json())
}

/// One of what is listed.
pub(super) async fn retrieve(
    Visit { app, principal, .. }: Visit,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let listed = app.catalog.list(reach(&app, &principal, &headers)).await;
    match listed.iter().find(|entry| entry.id == id) {
        Some(entry) => Ok(json(&entry.json)),
        None => {
            let close =
                crate::upstream::catalog::close_to(&id, listed.into_iter().map(|entry| entry.id));
            Err(Unresolved::Unknown { model: id, close }.into())
        }
    }
}
