//! LightOn's files and workspaces, as a store of documents.
//!
//! Endpoints and fields: LightOn's files and workspaces tutorials and its Python SDK 1.1.0. Everything but an upload is tried again as
//! searches are; an upload's body is gone once it was sent.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    LightOn, call, disposition,
    errors::{self, Asked},
    retry::Failure,
    upload,
    wire::{WireWorkspace, lenient},
};
use crate::{
    config::WorkspaceId,
    retrieval::{
        Error, Workspace,
        documents::{
            Content, DocumentStore, FileFilter, FileStatus, Listed, Page, StoredFile,
            StoredWorkspace, Upload,
        },
    },
};

/// The largest JSON answer about documents that is read, in bytes.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

impl DocumentStore for LightOn {
    fn file<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<StoredFile>, Error>> {
        async move {
            let found: Option<WireFile> = self.one(format!("files/{id}")).await?;
            Ok(found.map(WireFile::into_file))
        }
        .boxed()
    }

    fn content<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<Content>, Error>> {
        self.open(id).boxed()
    }

    fn list<'a>(
        &'a self,
        filter: &'a FileFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredFile>, Error>> {
        async move {
            let mut parameters = Vec::new();
            if !filter.workspaces.is_empty() {
                parameters.push(("workspace_id", joined(&filter.workspaces)));
            }
            if !filter.tag_id.is_empty() {
                parameters.push(("tag_id", joined(&filter.tag_id)));
            }
            if let Some(filename) = &filter.filename {
                parameters.push(("filename", filename.clone()));
            }
            self.some("files", parameters, page, WireFile::into_file)
                .await
        }
        .boxed()
    }

    fn upload<'a>(&'a self, upload: Upload) -> BoxFuture<'a, Result<StoredFile, Error>> {
        self.store(upload).boxed()
    }

    fn delete<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<bool, Error>> {
        self.remove(id).boxed()
    }

    fn workspaces<'a>(
        &'a self,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredWorkspace>, Error>> {
        self.some(
            "workspaces",
            Vec::new(),
            page,
            WireStoredWorkspace::into_workspace,
        )
        .boxed()
    }

    fn workspace<'a>(
        &'a self,
        id: WorkspaceId,
    ) -> BoxFuture<'a, Result<Option<StoredWorkspace>, Error>> {
        async move {
            let found: Option<WireStoredWorkspace> = self.one(format!("workspaces/{id}")).await?;
            Ok(found.map(WireStoredWorkspace::into_workspace))
        }
        .boxed()
    }
}

impl LightOn {
    /// Asks for one thing; `None` on 404.
    async fn one<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>, Error> {
        let once = || async {
            let request = self.caller.request(Method::GET, &path)?;
            match present(call::send(request).await?).await? {
                Some(response) => json(response).await.map(Some),
                None => Ok(None),
            }
        };
        self.caller.call(once).await
    }

    /// Asks for one page of a list. What is no item is left out; a page beyond the last is empty.
    async fn some<W: DeserializeOwned, T>(
        &self,
        path: &str,
        mut parameters: Vec<(&'static str, String)>,
        page: Page,
        read: fn(W) -> T,
    ) -> Result<Listed<T>, Error> {
        parameters.push(("page", page.number.max(1).to_string()));
        parameters.push(("page_size", page.size.max(1).to_string()));
        let once = || async {
            let request = self.caller.request(Method::GET, path)?.query(&parameters);
            match present(call::send(request).await?).await? {
                Some(response) => json(response).await,
                None => Ok(WirePage::default()),
            }
        };
        let page: WirePage = self.caller.call(once).await?;
        let items = page
            .results
            .into_iter()
            .filter_map(|item| serde_json::from_value(item).ok());
        Ok(Listed {
            items: items.map(read).collect(),
            total: page.count.unwrap_or(0),
            more: page.next.is_some(),
        })
    }

    async fn open(&self, id: i64) -> Result<Option<Content>, Error> {
        let path = format!("files/{id}/download");
        let once = || async {
            let request = self.caller.request(Method::GET, &path)?;
            present(call::send(request.query(&[("purpose", "original")])).await?).await
        };
        let response = self.caller.call(once).await?;
        Ok(response.map(|response| Content {
            content_type: text(response.headers(), &header::CONTENT_TYPE),
            length: response.body().size_hint().exact(),
            filename: text(response.headers(), &header::CONTENT_DISPOSITION)
                .and_then(|value| disposition::filename(&value)),
            // The deadline held for the head. A large file may take longer; it may not stand still for longer.
            bytes: pieces(response.into_body(), self.caller.timeout()),
        }))
    }

    async fn store(&self, upload: Upload) -> Result<StoredFile, Error> {
        let idle = self.caller.timeout();
        self.caller.turn().await?;
        let (form, watch) = upload::form(upload);
        let sending = async {
            let request = self.caller.request(Method::POST, "files")?.multipart(form);
            let response = call::success(Asked::Document, call::send(request).await?).await?;
            json::<WireFile>(response).await
        };
        let sent = tokio::select! {
            sent = sending => sent,
            () = watch.stalled(idle) => return Err(Error::Timeout { after: idle }),
        };
        sent.map(WireFile::into_file)
            .map_err(|failure| self.caller.without_key(failure.error))
    }

    async fn remove(&self, id: i64) -> Result<bool, Error> {
        let path = format!("files/{id}");
        // A try whose answer was lost may have done its work, and the next one finds nothing.
        let unsure = AtomicBool::new(false);
        let once = || async {
            let request = self.caller.request(Method::DELETE, &path)?;
            let found = async { present(call::send(request).await?).await }
                .await
                .inspect_err(|failure| {
                    unsure.fetch_or(
                        matches!(failure.error, Error::Unavailable { .. }),
                        Ordering::Relaxed,
                    );
                })?;
            Ok(found.is_some() || unsure.load(Ordering::Relaxed))
        };
        self.caller.call(once).await
    }
}

/// Lets a success pass; `None` on 404.
async fn present(response: call::Answer) -> Result<Option<call::Answer>, Failure> {
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    call::success(Asked::Document, response).await.map(Some)
}

async fn json<T: DeserializeOwned>(response: call::Answer) -> Result<T, Failure> {
    let body = call::whole(response, ANSWER_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| {
        let nonsense = || {
            Failure::last(Error::Unavailable {
                detail: "its answer has not the form of a document or a list".to_owned(),
                source: Some(Box::new(error)),
            })
        };
        errors::in_disguise(Asked::Document, &body).unwrap_or_else(nonsense)
    })
}

/// A body as it comes, ended by an error where it stands still for longer than `idle`.
fn pieces(body: reqwest::Body, idle: Duration) -> BoxStream<'static, Result<Bytes, Error>> {
    let next = move |body: Option<reqwest::Body>| async move {
        let mut body = body?;
        match timeout(idle, body.frame()).await {
            // Trailers say nothing here.
            Ok(Some(Ok(frame))) => Some((Ok(frame.into_data().unwrap_or_default()), Some(body))),
            Ok(None) => None,
            Ok(Some(Err(error))) => Some((
                Err(call::broken("the connection broke in mid-file", error)),
                None,
            )),
            Err(_) => Some((Err(Error::Timeout { after: idle }), None)),
        }
    };
    stream::unfold(Some(body), next).boxed()
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Several ids in one parameter: LightOn's filters take them separated by commas.
fn joined<T: ToString>(ids: &[T]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// A page of any list, version 3.
#[derive(Deserialize, Default)]
struct WirePage {
    #[serde(default, deserialize_with = "lenient")]
    count: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    next: Option<String>,
    results: Vec<Value>,
}

#[derive(Deserialize)]
struct WireFile {
    id: i64,
    filename: String,
    #[serde(default, deserialize_with = "lenient")]
    title: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    extension: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    workspace: Option<WireWorkspace>,
    #[serde(default, deserialize_with = "lenient")]
    size: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    status_detail: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<String>,
}

impl WireFile {
    fn into_file(self) -> StoredFile {
        StoredFile {
            id: self.id,
            filename: self.filename,
            title: self.title,
            extension: self
                .extension
                .map(|extension| extension.trim_start_matches('.').to_owned()),
            workspace: self.workspace.map(|workspace| Workspace {
                id: WorkspaceId(workspace.id),
                name: workspace.name.unwrap_or_default(),
            }),
            size_bytes: self.size,
            status: status(self.status.as_deref()),
            status_detail: self.status_detail,
            created_at: self.created_at.and_then(|time| time.parse().ok()),
        }
    }
}

/// How far a file is, by the word that both versions of the API have for it.
pub(super) fn status(word: Option<&str>) -> FileStatus {
    match word {
        Some("embedded") => FileStatus::Embedded,
        Some("fail" | "parsing_failed" | "embedding_failed") => FileStatus::Failed,
        // Every other word is a step on the way, new ones included.
        Some(_) | None => FileStatus::Pending,
    }
}

#[derive(Deserialize)]
struct WireStoredWorkspace {
    id: i64,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    description: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    files_count: Option<u64>,
}

impl WireStoredWorkspace {
    fn into_workspace(self) -> StoredWorkspace {
        StoredWorkspace {
            id: WorkspaceId(self.id),
            name: self.name.unwrap_or_default(),
            description: self.description.filter(|text| !text.is_empty()),
            created_at: self.created_at.and_then(|time| time.parse().ok()),
            files: self.files_count,
        }
    }
}
