//! `POST /v1/chat/completions`: reads, calls, and maps. What is decided here is who may ask for what; how it is answered is `rag`'s.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use tokio::time::{Instant, timeout_at};

use super::{
    error::{self, ApiError, Told},
    extract::{json_body, own_address},
    middleware::{notes::Notes, rate_limit, visit::Visit},
    stream::{Frameless, StreamBody},
    stream_headers,
};
use crate::{
    access::{Principal, Scope},
    app::App,
    config::{ApiKey, Mode, Rag},
    openai::{ChatRequest, Json},
    rag::{
        self, Answer, Job, Meta,
        completion::Endpoint,
        settings::{self, RagOptions},
        tool,
    },
    upstream::{Resolved, Upstream, catalog::Allowed, headers},
};

const UPSTREAM: HeaderName = HeaderName::from_static("x-groundwire-upstream");
const MODEL: HeaderName = HeaderName::from_static("x-groundwire-model");
const MODE: HeaderName = HeaderName::from_static("x-groundwire-mode");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Answers a chat request.
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
    let mut request = ChatRequest::parse(body)?;
    let asked = Asked {
        rag: request.remove("rag"),
        request,
        endpoint: Endpoint::Chat,
        arrived,
    };
    let mut job = job(&app, &principal, &head, asked).await?;
    rate_limit::hold_tokens(&app, &principal, &mut job).await?;
    answer(&app, job, arrived, &notes).await
}

/// What a handler read of a request.
pub(super) struct Asked {
    /// Its `rag`.
    pub(super) rag: Option<Json>,
    /// The conversation, without `rag`.
    pub(super) request: ChatRequest,
    /// Where it was asked.
    pub(super) endpoint: Endpoint,
    /// When.
    pub(super) arrived: Instant,
}

/// Decides who may ask for what: the settings, the scope and the place of the model.
pub(super) async fn job(
    app: &App,
    principal: &Principal,
    head: &Parts,
    asked: Asked,
) -> Result<Job, ApiError> {
    let options = RagOptions::read(asked.rag.as_ref(), &head.headers)?;
    let allowed = principal
        .allow_overrides
        .as_ref()
        .unwrap_or(&app.config.allow_overrides);
    options.allowed(allowed)?;

    let resolved = app
        .catalog
        .resolve(&asked.request.model, reach(app, principal, &head.headers))
        .await?;
    let settings = settings::settings(
        &app.config.rag,
        &[&principal.rag, &resolved.route.rag],
        &options,
    );
    let scope = scope(&app.config.rag, principal, &resolved, &options)?;
    let authorization = client_authorization(app, &resolved.route.upstream, &head.headers)?;
    let mode = rag::mode(&settings, &asked.request);
    let base = match &app.config.public_url {
        // Nothing is linked to.
        _ if mode == Mode::Off => String::new(),
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => own_address(head),
    };
    Ok(Job {
        mode,
        request: asked.request,
        endpoint: asked.endpoint,
        settings,
        options,
        tenant: principal.name.clone(),
        scope,
        reach: Arc::clone(&app.search(principal).reach),
        resolved,
        headers: headers::to_upstream(&head.headers),
        authorization,
        base,
        until: asked.arrived + app.config.timeouts.total,
        limits: principal.limits.clone(),
        progress: Arc::default(),
    })
}

/// What a caller may name.
pub(super) fn reach<'a>(
    app: &App,
    principal: &'a Principal,
    headers: &'a HeaderMap,
) -> Allowed<'a> {
    // Of several upstreams that take callers' keys nobody knows whose key it is, and no provider is to see another's.
    let passes_on = || {
        let upstreams = app.config.upstreams.iter();
        let takers = upstreams.filter(|upstream| matches!(upstream.api_key, ApiKey::Client));
        takers.count() == 1
    };
    Allowed {
        models: principal.models.as_deref(),
        upstreams: principal.upstreams.as_deref(),
        authorization: headers
            .get(header::AUTHORIZATION)
            .filter(|authorization| passes_on() && !holds_key(app, authorization)),
    }
}

/// Answers a job, whole or streamed.
pub(super) async fn answer(
    app: &Arc<App>,
    job: Job,
    arrived: Instant,
    notes: &Notes,
) -> Result<Response, ApiError> {
    let mode = job.mode;
    if mode == Mode::Tool {
        tool::check(&job.request)?;
    }
    notes.route(
        job.resolved.route.upstream.name(),
        &job.request.model,
        mode.word(),
    );
    notes.count_in(&job.progress.tally);
    let frame = Frameless {
        stop: app.stop.clone(),
        family: job.endpoint.family(),
        model: job.request.model.clone(),
        progress: Arc::clone(&job.progress),
        ending: Arc::clone(&notes.ending),
    };
    let streamed = job.request.stream;
    let planned = Meta::planned(&job);
    let mut work: BoxFuture<'static, Result<Answer, rag::Error>> =
        Box::pin(Arc::clone(&app.pipeline).answer(job));
    let outcome = if streamed {
        let Ok(outcome) = timeout_at(arrived + app.config.stream.commit_after, &mut work).await
        else {
            // The status can wait no longer: proxies and clients give up on a silent request.
            frame.progress.commit();
            let body = StreamBody::preparing(work, &app.config.stream, frame);
            return Ok(respond(planned, mode, streaming(body)));
        };
        outcome
    } else {
        work.await
    };
    match outcome {
        Ok(Answer::Whole(meta, bytes)) => {
            let json = [(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )];
            Ok(respond(meta, mode, (json, bytes).into_response()))
        }
        Ok(Answer::Stream(meta, pieces)) => Ok(respond(
            meta,
            mode,
            streaming(StreamBody::speaking(pieces, &app.config.stream, frame)),
        )),
        Err(failed) => Err(error_of(failed)),
    }
}

/// Logs a failure once, where it becomes an answer.
pub(super) fn error_of(failed: rag::Error) -> ApiError {
    let cause = Told::of(&failed);
    let answer = ApiError::from(failed);
    error::log(&cause, &answer);
    answer
}

fn streaming(body: StreamBody) -> Response {
    let mut response = Response::new(Body::new(body));
    stream_headers(&mut response);
    response
}

/// The head of an answer: what the upstream said that crosses, and what the gateway adds.
pub(super) fn respond(meta: Meta, mode: Mode, mut response: Response) -> Response {
    let headers = response.headers_mut();
    // With those about the key's limits and the request's id, which come after these.
    headers.reserve(meta.headers.len() + 16);
    headers.extend(meta.headers);
    headers.insert(MODE, HeaderValue::from_static(mode.word()));
    let told = [
        (UPSTREAM, meta.upstream),
        (MODEL, meta.model),
        (SERVER_TIMING, meta.timings.header()),
    ];
    for (name, value) in told {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

/// The workspaces that a request may see: bounds by key and model, then what it asks for, else the defaults.
fn scope(
    base: &Rag,
    principal: &Principal,
    resolved: &Resolved,
    options: &RagOptions,
) -> Result<Scope, ApiError> {
    let mut scope = principal.scope.clone();
    if let Some(bound) = &resolved.route.rag.workspace_id {
        let bound = bound.iter().copied().collect();
        scope = scope.bounded(&bound).map_err(|_| {
            ApiError::forbidden(
                "workspace_not_allowed",
                "your key and this model have no workspace in common; use another model",
            )
        })?;
    }
    if let Some(asked) = &options.workspace_id {
        return scope.narrowed(asked).map_err(|outside| {
            let ids: Vec<String> = outside.ids.iter().map(ToString::to_string).collect();
            let message = format!(
                "your key does not reach workspace {}; ask without it, or ask the operator",
                ids.join(", ")
            );
            ApiError::forbidden("workspace_not_allowed", message).param("rag.workspace_id")
        });
    }
    let default = principal
        .rag
        .workspace_id
        .as_ref()
        .unwrap_or(&base.workspace_id);
    if default.is_empty() || !options.file_id.is_empty() {
        return Ok(scope);
    }
    scope.bounded(&default.iter().copied().collect()).map_err(|_| {
        let message = "the workspaces set by default are outside what your key and this model may see; name some in `rag.workspace_id`";
        ApiError::forbidden("workspace_not_allowed", message).param("rag.workspace_id")
    })
}

/// The caller's own `Authorization`, where the upstream wants it. A key of the gateway's is never passed on.
pub(super) fn client_authorization(
    app: &App,
    upstream: &Upstream,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, ApiError> {
    if !matches!(upstream.settings.api_key, ApiKey::Client) {
        return Ok(None);
    }
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    if holds_key(app, authorization) {
        return Err(ApiError::unauthorized(
            "`Authorization` holds a key of this gateway, which is not passed on; put the model provider's key there and the gateway's into `api-key`",
        ));
    }
    Ok(Some(authorization.clone()))
}

/// Whether a key of the gateway's stands in `authorization`, with or without a scheme before it: some clients write the bare key.
fn holds_key(app: &App, authorization: &HeaderValue) -> bool {
    authorization.to_str().is_ok_and(|text| {
        text.split_whitespace()
            .any(|word| app.keys.find(word).is_some())
    })
}
