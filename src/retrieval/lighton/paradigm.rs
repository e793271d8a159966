//! LightOn Paradigm's files, version 2 of its API, as a store of documents.
//!
//! It differs from version 3: files tell no workspace, lists are numbered pages of twenty, and there are no bytes to download, only the text
//! that was read from them (LightOn's "list documents" and "delete a document" guides, its OpenAI-compatibility page). Workspaces are told
//! only where a list was asked for by workspace, so a caller whose scope is not everything finds a file by such a list.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{Method, StatusCode};
use jiff::Timestamp;
use reqwest::multipart::Form;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use super::{
    Options, call,
    call::Caller,
    documents::status,
    errors::{Asked, unavailable},
    retry::Failure,
    upload,
    wire::lenient,
};
use crate::{
    config::{Secret, WorkspaceId},
    retrieval::{
        Error, Workspace,
        documents::{
            Content, DocumentStore, FileFilter, Listed, Page, StoredFile, StoredWorkspace, Upload,
        },
    },
};

/// The largest answer that is read, in bytes: the text of a whole document.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How many files a page has, always.
const PAGE_SIZE: u64 = 20;

/// Paradigm's files.
#[derive(Clone)]
pub struct Paradigm {
    caller: Caller,
}

impl Paradigm {
    /// A client for the API at `base_url` (`https://paradigm.lighton.ai/api/v2`); fails where no header can carry the key.
    pub fn new(base_url: &Url, api_key: Secret, options: Options) -> Result<Self, Error> {
        let api = format!("{}/", base_url.as_str().trim_end_matches('/'));
        let caller = Caller::under(api, api_key, options)?;
        Ok(Self { caller })
    }

    async fn one(&self, id: i64, query: &[(&str, &str)]) -> Result<Option<WireFile>, Error> {
        let path = format!("files/{id}");
        let once = || async {
            let request = self.caller.request(Method::GET, &path)?.query(query);
            match present(call::send(request).await?).await? {
                Some(response) => json(response).await.map(Some),
                None => Ok(None),
            }
        };
        self.caller.call(once).await
    }

    /// One of the service's own pages, counted from 1; one beyond the last is empty.
    async fn page(&self, workspace: Option<WorkspaceId>, number: u64) -> Result<WirePage, Error> {
        let mut parameters = vec![("page", number.to_string())];
        if let Some(workspace) = workspace {
            parameters.push(("workspace_scope", workspace.to_string()));
        }
        let once = || async {
            let request = self.caller.request(Method::GET, "files")?;
            match present(call::send(request.query(&parameters)).await?).await? {
                Some(response) => json(response).await,
                None => Ok(WirePage::default()),
            }
        };
        self.caller.call(once).await
    }

    /// Lists by workspace, one after the other: the service takes one at a time and tells of none.
    async fn some(&self, filter: &FileFilter, page: Page) -> Result<Listed<StoredFile>, Error> {
        let places: Vec<Option<WorkspaceId>> = match filter.workspaces.as_slice() {
            [] => vec![None],
            ids => ids.iter().copied().map(Some).collect(),
        };
        let (size, pages_before) = (page.size.max(1), page.number.max(1) - 1);
        let skip = u64::from(size) * u64::from(pages_before);
        // Where nothing but the service's own order counts, its pages that are skipped whole are not asked for.
        let direct = places.len() == 1 && filter.filename.is_none();
        let skipped_pages = if direct { skip / PAGE_SIZE } else { 0 };
        let mut seen = skipped_pages * PAGE_SIZE;
        let mut listed = Listed {
            items: Vec::new(),
            total: 0,
            more: false,
        };
        for place in places {
            for number in skipped_pages + 1.. {
                let answer = self.page(place, number).await?;
                let (count, last) = (answer.count, answer.next.is_none());
                let files = answer.files().map(|file| file.into_file(place));
                for file in files.filter(|file| fits(filter, file)) {
                    seen += 1;
                    if seen > skip + u64::from(size) {
                        listed.more = true;
                        return Ok(listed);
                    }
                    if seen > skip {
                        listed.items.push(file);
                    }
                }
                if last {
                    listed.total += count.unwrap_or(0);
                    break;
                }
            }
        }
        Ok(listed)
    }

    async fn store(&self, upload: Upload) -> Result<StoredFile, Error> {
        let idle = self.caller.timeout();
        let workspace = upload.workspace;
        self.caller.turn().await?;
        let mut fields = Form::new().text("purpose", "documents");
        if workspace.is_some() {
            fields = fields.text("collection_type", "workspace");
        }
        let (form, watch) = upload::form_with(fields, upload);
        let sending = async {
            let request = self.caller.request(Method::POST, "files")?.multipart(form);
            let response = call::success(Asked::Document, call::send(request).await?).await?;
            json::<WireFile>(response).await
        };
        let sent = tokio::select! {
            sent = sending => sent,
            () = watch.stalled(idle) => return Err(Error::Timeout { after: idle }),
        };
        sent.map(|file| file.into_file(workspace))
            .map_err(|failure| self.caller.without_key(failure.error))
    }

    async fn remove(&self, id: i64) -> Result<bool, Error> {
        let path = format!("files/{id}");
        let once = || async {
            let request = self.caller.request(Method::DELETE, &path)?;
            Ok(present(call::send(request).await?).await?.is_some())
        };
        self.caller.call(once).await
    }
}

impl DocumentStore for Paradigm {
    fn file<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<StoredFile>, Error>> {
        async move { Ok(self.one(id, &[]).await?.map(|file| file.into_file(None))) }.boxed()
    }

    /// The text that was read from the file: the service gives no bytes back.
    fn content<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<Content>, Error>> {
        async move {
            let found = self.one(id, &[("include_content", "true")]).await?;
            Ok(found.map(|file| {
                let text = Bytes::from(file.content.unwrap_or_default());
                Content {
                    content_type: Some("text/plain; charset=utf-8".to_owned()),
                    length: u64::try_from(text.len()).ok(),
                    filename: Some(file.filename),
                    bytes: stream::once(std::future::ready(Ok(text))).boxed(),
                }
            }))
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        filter: &'a FileFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredFile>, Error>> {
        self.some(filter, page).boxed()
    }

    fn upload<'a>(&'a self, upload: Upload) -> BoxFuture<'a, Result<StoredFile, Error>> {
        self.store(upload).boxed()
    }

    fn delete<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<bool, Error>> {
        self.remove(id).boxed()
    }

    fn workspaces<'a>(&'a self, _: Page) -> BoxFuture<'a, Result<Listed<StoredWorkspace>, Error>> {
        let none = Listed {
            items: Vec::new(),
            total: 0,
            more: false,
        };
        std::future::ready(Ok(none)).boxed()
    }

    fn workspace<'a>(
        &'a self,
        _: WorkspaceId,
    ) -> BoxFuture<'a, Result<Option<StoredWorkspace>, Error>> {
        std::future::ready(Ok(None)).boxed()
    }
}

fn fits(filter: &FileFilter, file: &StoredFile) -> bool {
    filter
        .filename
        .as_ref()
        .is_none_or(|part| file.filename.to_lowercase().contains(&part.to_lowercase()))
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
    serde_json::from_slice(&body).map_err(|_| {
        Failure::last(unavailable(
            "Paradigm's answer has not the form of a file or a list",
        ))
    })
}

#[derive(Deserialize, Default)]
struct WirePage {
    #[serde(default, deserialize_with = "lenient")]
    count: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    next: Option<String>,
    data: Vec<Value>,
}

impl WirePage {
    /// The files; what is none is left out.
    fn files(self) -> impl Iterator<Item = WireFile> {
        self.data
            .into_iter()
            .filter_map(|item| serde_json::from_value(item).ok())
    }
}

#[derive(Deserialize)]
struct WireFile {
    id: i64,
    #[serde(default)]
    filename: String,
    #[serde(default, deserialize_with = "lenient")]
    bytes: Option<u64>,
    /// Unix seconds; other endpoints of LightOn's write the time out.
    #[serde(default)]
    created_at: Value,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    content: Option<String>,
}

impl WireFile {
    fn into_file(self, workspace: Option<WorkspaceId>) -> StoredFile {
        let extension = self.filename.rsplit_once('.');
        StoredFile {
            id: self.id,
            title: None,
            extension: extension.map(|(_, extension)| extension.to_ascii_lowercase()),
            workspace: workspace.map(|id| Workspace {
                id,
                name: String::new(),
            }),
            size_bytes: self.bytes,
            status: status(self.status.as_deref()),
            status_detail: None,
            created_at: match &self.created_at {
                Value::Number(seconds) => seconds
                    .as_i64()
                    .and_then(|seconds| Timestamp::from_second(seconds).ok()),
                Value::String(text) => text.parse().ok(),
                _ => None,
            },
            filename: self.filename,
        }
    }
}
