//! `/v1/files`: LightOn's documents in the shape of OpenAI's files.
//!
//! Ids are the service's numbers as text; `file-512` names the same file as `512`. What the caller's key does not reach does not exist
//! for it.

mod upload;

use axum::{
    body::Body,
    extract::{Path, RawQuery},
    response::Response,
};
use http::{HeaderValue, header};

pub(super) use self::upload::create;
use super::{
    error::{self, ApiError, Told},
    json,
    middleware::visit::Visit,
    paging::{self, Order, Paging, number},
    sources,
};
use crate::{
    access::{Principal, Scope},
    app::App,
    config::{FilesTarget, SearchBackend, WorkspaceId},
    openai::{
        Json,
        files::{DeletedFile, FileObject, FileState},
    },
    retrieval::{
        self, DocumentStore,
        documents::{FileFilter, FileStatus, Page, StoredFile},
    },
};

/// How many files are asked for at once, and in how many steps at most.
const STEP: u32 = 100;
const STEPS: u32 = 1000;

/// The longest list (OpenAI's own limit), which is also what comes where no limit is said.
const MOST: usize = 10_000;

/// The purposes of files that are searched. Every stored file is one of these, whatever its upload said.
const SEARCHED: [&str; 3] = ["assistants", "user_data", "documents"];

/// Lists the files that the caller may see.
pub(super) async fn list(
    Visit { app, principal, .. }: Visit,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut paging = Paging::read(query.as_deref(), MOST, MOST)?;
    for cursor in [&mut paging.after, &mut paging.before]
        .into_iter()
        .flatten()
    {
        *cursor = plain(cursor).to_owned();
    }
    let purpose = paging::parameters(query.as_deref())
        .into_iter()
        .find(|(key, _)| key == "purpose");
    let mut files = Vec::new();
    if purpose.is_none_or(|(_, purpose)| SEARCHED.contains(&purpose.as_str())) {
        files = all(&app, &principal, &paging).await?;
    }
    if paging.order == Order::Ascending {
        files.reverse();
    }
    let page = paging.cut(files, |file| file.id.as_str())?;
    Ok(page.respond(|file| file.id.as_str()))
}

/// One file.
pub(super) async fn retrieve(
    Visit { app, principal, .. }: Visit,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let file = within(&app, &principal, &id).await?;
    Ok(json(&Json::of(&shown(file))))
}

/// The bytes of one file; of Paradigm's, the text that was read from it.
pub(super) async fn content(
    Visit { app, principal, .. }: Visit,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let file = within(&app, &principal, &id).await?;
    let content = app
        .search(&principal)
        .files
        .content(file.id)
        .await
        .map_err(failed)?;
    let content = content.ok_or_else(unknown)?;
    let kind = content
        .content_type
        .as_deref()
        .and_then(|kind| HeaderValue::from_str(kind).ok())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(Body::from_stream(content.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(
        header::CONTENT_DISPOSITION,
        sources::disposition("attachment", &file.filename),
    );
    // It is somebody's upload: no browser shall take it for a page of this host.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(length) = content.length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// Deletes one file.
pub(super) async fn delete(
    Visit { app, principal, .. }: Visit,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    writable(&app)?;
    let file = within(&app, &principal, &id).await?;
    let deleted = app.search(&principal).files.delete(file.id).await;
    // Whatever the answer was: it may have been done.
    changed(&app, file.workspace.map(|workspace| workspace.id));
    if !deleted.map_err(failed)? {
        return Err(unknown());
    }
    Ok(json(&Json::of(&DeletedFile::new(file.id.to_string()))))
}

/// Every file within the scope, newest first; no more of them than the page that is asked for needs.
async fn all(
    app: &App,
    principal: &Principal,
    paging: &Paging,
) -> Result<Vec<FileObject>, ApiError> {
    let (store, scope) = (&app.search(principal).files, &principal.scope);
    let filter = FileFilter {
        workspaces: workspaces(scope),
        ..FileFilter::default()
    };
    let mut files: Vec<FileObject> = Vec::new();
    for step in 1..=STEPS {
        let page = Page {
            number: step,
            size: STEP,
        };
        let listed = store.list(&filter, page).await.map_err(failed)?;
        let inside = listed.items.into_iter().filter(|file| holds(scope, file));
        files.extend(inside.map(shown));
        if !listed.more || reaches(&files, paging) {
            break;
        }
    }
    Ok(files)
}

/// Whether the page that is asked for, and what tells that another follows, is among `files`.
fn reaches(files: &[FileObject], paging: &Paging) -> bool {
    if paging.order == Order::Ascending || paging.before.is_some() {
        return false;
    }
    let first = match &paging.after {
        None => Some(0),
        Some(after) => files
            .iter()
            .position(|file| file.id == *after)
            .map(|at| at + 1),
    };
    first.is_some_and(|first| files.len() > first.saturating_add(paging.limit))
}

/// The file that `id` names, where the scope holds it.
async fn within(app: &App, principal: &Principal, id: &str) -> Result<StoredFile, ApiError> {
    let (store, scope) = (app.search(principal).files.as_ref(), &principal.scope);
    let id = number(plain(id)).ok_or_else(unknown)?;
    let file = store.file(id).await.map_err(failed)?;
    let file = file.ok_or_else(unknown)?;
    let told = file.workspace.is_some();
    if holds(scope, &file) {
        return Ok(file);
    }
    if told || !listed(store, scope, id).await? {
        return Err(unknown());
    }
    Ok(file)
}

/// Whether a file whose workspace nobody tells is on the lists of the scope's workspaces.
async fn listed(store: &dyn DocumentStore, scope: &Scope, id: i64) -> Result<bool, ApiError> {
    for workspace in workspaces(scope) {
        let filter = FileFilter {
            workspaces: vec![workspace],
            ..FileFilter::default()
        };
        for step in 1..=STEPS {
            let page = Page {
                number: step,
                size: STEP,
            };
            let page = store.list(&filter, page).await.map_err(failed)?;
            if page
                .items
                .iter()
                .any(|file| file.id == id && holds(scope, file))
            {
                return Ok(true);
            }
            if !page.more {
                break;
            }
        }
    }
    Ok(false)
}

fn holds(scope: &Scope, file: &StoredFile) -> bool {
    scope.holds(file.workspace.as_ref().map(|workspace| workspace.id))
}

fn workspaces(scope: &Scope) -> Vec<WorkspaceId> {
    match scope {
        Scope::Every => Vec::new(),
        Scope::Only(ids) => ids.iter().copied().collect(),
    }
}

/// An id without the prefix that OpenAI's have.
fn plain(id: &str) -> &str {
    id.strip_prefix("file-").unwrap_or(id)
}

fn shown(file: StoredFile) -> FileObject {
    let state = match file.status {
        FileStatus::Pending => FileState::Uploaded,
        FileStatus::Embedded => FileState::Processed,
        FileStatus::Failed => FileState::Error,
    };
    let mut object = FileObject::new(file.id.to_string(), file.filename, state);
    object.bytes = file.size_bytes.unwrap_or(0);
    object.created_at = file.created_at.map_or(0, |time| time.as_second());
    if state == FileState::Error {
        let reason = file.status_detail.filter(|detail| !detail.is_empty());
        object.status_details =
            Some(reason.unwrap_or_else(|| "the service does not say why".to_owned()));
    }
    object
}

/// Lets what was found before be looked for again.
fn changed(app: &App, workspace: Option<WorkspaceId>) {
    if let Some(workspace) = workspace {
        app.documents_changed(workspace);
    }
}

fn stores_in_paradigm(app: &App) -> bool {
    app.config.files.target == FilesTarget::Paradigm && !is_local(app)
}

fn is_local(app: &App) -> bool {
    matches!(app.config.search.backend, SearchBackend::Local { .. })
}

fn writable(app: &App) -> Result<(), ApiError> {
    if is_local(app) {
        let message = "the files of this gateway are a folder's and read only; change the folder (`search.documents`)";
        return Err(ApiError::bad_request("not_supported", message));
    }
    Ok(())
}

fn unknown() -> ApiError {
    ApiError::not_found(
        "there is no such file here; `GET /v1/files` lists those that your key reaches",
    )
}

fn failed(cause: retrieval::Error) -> ApiError {
    let told = Told::of(&cause);
    let answer = match cause {
        retrieval::Error::Scope { .. } => unknown(),
        retrieval::Error::Query { detail, .. } => {
            let message = format!("the file service refused this: {detail}");
            ApiError::bad_request("invalid_value", message)
        }
        other => other.into(),
    };
    error::log(&told, &answer);
    answer
}
