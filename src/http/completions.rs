//! `POST /v1/completions`: chat's road with a prompt in place of a conversation.

use axum::{extract::Request, response::Response};
use tokio::time::Instant;

use super::{
    chat::{self, Asked},
    error::ApiError,
    extract::json_body,
    middleware::{rate_limit, visit::Visit},
};
use crate::{
    config::Mode,
    openai::{ChatRequest, CompletionRequest},
    rag::completion::Endpoint,
};

/// Answers a completion request.
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
    let mut completion = CompletionRequest::parse(body)?;
    let asked = Asked {
        rag: completion.remove("rag"),
        request: ChatRequest::of_completion(&completion),
        endpoint: Endpoint::Completions(Box::new(completion)),
        arrived,
    };
    let mut job = chat::job(&app, &principal, &head, asked).await?;
    if job.options.mode == Some(Mode::Tool) {
        let message = "mode `tool` needs tool calls, which completions do not have; set `rag.mode` to `inject` or `off`, or use `POST /v1/chat/completions`";
        return Err(ApiError::bad_request("invalid_value", message).param("rag.mode"));
    }
    // Settings are for chat as well: the nearest that a prompt can have is to be searched for beforehand.
    if job.mode == Mode::Tool {
        job.mode = Mode::Inject;
    }
    rate_limit::hold_tokens(&app, &principal, &mut job).await?;
    chat::answer(&app, job, arrived, &notes).await
}
