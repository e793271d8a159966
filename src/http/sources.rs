//! `GET /sources/{file_id}`: the file behind a citation, for a key whose scope holds it or a link that was signed.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Extension, Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{
    Parts,
    error::{self, ApiError, Told},
    middleware::{auth::principal, notes::Notes, rate_limit},
    paging::number,
};
use crate::{
    app::{App, Search},
    retrieval::{self, documents::Content},
};

/// The characters that RFC 8187 lets stand in `filename*`.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// What a signed link carries.
#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    expires: Option<u64>,
    signature: Option<String>,
}

/// What a request shows in a key's place.
struct Link<'a> {
    /// Whether it says that it is signed.
    claimed: bool,
    /// What it was signed for, where it is.
    signed: Option<&'a Arc<Search>>,
}

impl<'a> Link<'a> {
    fn of(app: &'a App, id: i64, query: Result<Query<Signature>, QueryRejection>) -> Self {
        let Ok(Query(query)) = query else {
            // The two are there and one is no number, or stands twice.
            return Self {
                claimed: true,
                signed: None,
            };
        };
        let claimed = query.expires.is_some() || query.signature.is_some();
        let signed = query
            .expires
            .zip(query.signature)
            .and_then(|(expires, signature)| {
                app.searches()
                    .find(|search| search.reach.signer.opens(id, expires, &signature))
            });
        Self { claimed, signed }
    }
}

/// Opens a file.
pub(super) async fn open(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    signature: Result<Query<Signature>, QueryRejection>,
    Extension(notes): Extension<Arc<Notes>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let app = parts.load_full();
    let id = number(&id).ok_or_else(unknown)?;
    let Link { claimed, signed } = Link::of(&app, id, signature);
    let search = match signed {
        Some(search) => search,
        // A link that was changed or has expired opens nothing, not even where nobody is asked for a key: who follows it has to see that.
        None if claimed && !shows_key(&headers) => return Err(unsigned()),
        None => within_scope(&app, id, &headers, &notes).await?,
    };
    let documents = &search.documents;
    let content = documents.content(id).await.map_err(failed)?;
    let content = content.ok_or_else(unknown)?;
    let known = match &content.filename {
        Some(name) => Some(name.clone()),
        None => {
            let file = documents.file(id).await.map_err(failed)?;
            file.map(|file| file.filename)
        }
    };
    Ok(respond(
        content,
        known.unwrap_or_else(|| format!("file-{id}")),
    ))
}

/// What the caller's key searches with, where its scope holds the file.
async fn within_scope<'a>(
    app: &'a App,
    id: i64,
    headers: &HeaderMap,
    notes: &Notes,
) -> Result<&'a Arc<Search>, ApiError> {
    let principal = principal(app, headers).map_err(|error| {
        if shows_key(headers) {
            return error;
        }
        unsigned()
    })?;
    if let Some(limits) = &principal.limits {
        rate_limit::admit(app, limits, notes).await?;
    }
    let search = app.search(&principal);
    let file = search.documents.file(id).await.map_err(failed)?;
    let workspace = file
        .ok_or_else(unknown)?
        .workspace
        .map(|workspace| workspace.id);
    // A file outside the scope does not exist for this key.
    if principal.scope.holds(workspace) {
        Ok(search)
    } else {
        Err(unknown())
    }
}

fn respond(content: Content, name: String) -> Response {
    let kind = media_type(&name, content.content_type.as_deref());
    let mut response = Response::new(Body::from_stream(content.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, disposition("inline", &name));
    // A document is somebody's upload: it must not run as a page of this host.
    if kind != "application/pdf" {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'"),
        );
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-store"),
    );
    headers.insert(
        HeaderName::from_static("x-robots-tag"),
        HeaderValue::from_static("noindex"),
    );
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if let Some(length) = content.length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.status_mut() = StatusCode::OK;
    response
}

/// How a browser shall take a file, and what it is called (RFC 6266).
pub(super) fn disposition(kind: &'static str, name: &str) -> HeaderValue {
    let text = format!(
        "{kind}; filename*=UTF-8''{}",
        utf8_percent_encode(name, FILE_NAME)
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(kind))
}

/// The media type by the name, else what the store says.
fn media_type(name: &str, said: Option<&str>) -> String {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default();
    let known = match extension.as_str() {
        "pdf" => "application/pdf",
        "txt" => "text/plain; charset=utf-8",
        // A browser shows plain text; Markdown it would store.
        "md" => "text/plain; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => said.unwrap_or("application/octet-stream"),
    };
    known.to_owned()
}

fn shows_key(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key("api-key")
}

fn unsigned() -> ApiError {
    ApiError::unauthorized(
        "this link is not signed or has expired; ask again for a new one, or send a key",
    )
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such file here")
}

fn failed(cause: retrieval::Error) -> ApiError {
    let told = Told::of(&cause);
    let answer = match cause {
        retrieval::Error::Scope { .. } => unknown(),
        other => other.into(),
    };
    error::log(&told, &answer);
    answer
}
