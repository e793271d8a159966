//! `POST /v1/embeddings`: routed like chat, forwarded as it is, answered as it comes.

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use tokio::time::Instant;

use super::{
    chat,
    error::ApiError,
    extract::json_body,
    middleware::{rate_limit, visit::Visit},
};
use crate::{
    config::Mode,
    openai::EmbeddingRequest,
    rag::{delivery::Forward, estimate},
    upstream::headers,
};

/// Answers a request for embeddings.
pub(super) async fn create(
    Visit {
        app,
        principal,
        notes,
    }: Visit,
    request: Request,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let body = json_body(&head.headers, body, &app.config).await?;
    let request = EmbeddingRequest::parse(body)?;
    let reach = chat::reach(&app, &principal, &head.headers);
    let resolved = app.catalog.resolve(&request.model, reach).await?;
    // There is nothing to search for.
    let mode = Mode::Off;
    notes.route(resolved.route.upstream.name(), &request.model, mode.word());
    let upstream = &resolved.route.upstream;
    let authorization = chat::client_authorization(&app, upstream, &head.headers)?;
    let tally = Arc::default();
    notes.count_in(&tally);
    // The answer is vectors: there is nothing to count but the input.
    let input = || estimate::input(&request);
    rate_limit::hold(&app, &principal, &tally, Some(0), input).await?;
    let forward = Forward {
        request,
        resolved,
        headers: headers::to_upstream(&head.headers),
        authorization,
        until: arrived + app.config.timeouts.total,
        tally,
    };
    let sent = app.pipeline.embed(&forward).await;
    let (meta, body) = sent.map_err(chat::error_of)?;
    let json = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    Ok(chat::respond(meta, mode, (json, body).into_response()))
}
