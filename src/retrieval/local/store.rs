//! A watched folder as what the gateway asks: passages, and the documents behind them, read only.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use jiff::Timestamp;
use tokio_util::{io::ReaderStream, task::AbortOnDropHandle};

use super::{
    Local, LocalIndex,
    folder::{File, Folder, Progress},
};
use crate::{
    config::WorkspaceId,
    retrieval::{
        Error, Found, Retriever, SearchQuery, Workspace,
        documents::{
            Content, DocumentStore, FileFilter, FileStatus, Listed, Page, StoredFile,
            StoredWorkspace, Upload,
        },
    },
};

/// A folder that is searched and kept in step with its files for as long as this lives.
pub struct LocalFolder {
    search: Local,
    folder: Arc<Folder>,
    _watch: AbortOnDropHandle<()>,
}

impl LocalFolder {
    /// Reads `path`, telling `report` how far it is, and begins to watch it. Blocks until the folder is read; call it within a runtime.
    pub fn open(
        path: &Path,
        timeout: Duration,
        report: fn(Progress),
    ) -> Result<Self, super::folder::Error> {
        let index = Arc::new(LocalIndex::new()?);
        let folder = Arc::new(Folder::new(path, Arc::clone(&index)));
        folder.sync(&report)?;
        let watching = Arc::clone(&folder).watch(
            report,
            |error| tracing::warn!(error = %error, "the folder of documents cannot be read"),
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "the watch outlives requests; it is aborted when the folder is dropped"
        )]
        let watch = AbortOnDropHandle::new(tokio::spawn(watching));
        Ok(Self {
            search: Local { index, timeout },
            folder,
            _watch: watch,
        })
    }
}

impl Retriever for LocalFolder {
    fn search<'a>(&'a self, query: &'a SearchQuery) -> BoxFuture<'a, Result<Found, Error>> {
        self.search.search(query)
    }
}

impl DocumentStore for LocalFolder {
    fn file<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<StoredFile>, Error>> {
        std::future::ready(Ok(self.folder.file(id).map(stored))).boxed()
    }

    fn content<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<Content>, Error>> {
        async move {
            let Some(file) = self.folder.file(id) else {
                return Ok(None);
            };
            let opened = match tokio::fs::File::open(&file.path).await {
                Ok(opened) => opened,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unreadable(error)),
            };
            let length = opened.metadata().await.map_err(unreadable)?.len();
            let bytes = ReaderStream::new(opened)
                .map(|piece| piece.map_err(unreadable))
                .boxed();
            Ok(Some(Content {
                content_type: None,
                length: Some(length),
                filename: Some(file.filename),
                bytes,
            }))
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        filter: &'a FileFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredFile>, Error>> {
        let wanted = |file: &File| {
            let named = filter
                .filename
                .as_ref()
                .is_none_or(|part| file.filename.to_lowercase().contains(&part.to_lowercase()));
            named
                && filter.tag_id.is_empty()
                && (filter.workspaces.is_empty() || filter.workspaces.contains(&file.workspace.id))
        };
        let mut files: Vec<File> = self.folder.files().into_iter().filter(wanted).collect();
        files.sort_by(|a, b| {
            b.modified
                .cmp(&a.modified)
                .then_with(|| a.file_id.cmp(&b.file_id))
        });
        std::future::ready(Ok(paged(files.into_iter().map(stored).collect(), page))).boxed()
    }

    fn upload<'a>(&'a self, _: Upload) -> BoxFuture<'a, Result<StoredFile, Error>> {
        std::future::ready(Err(read_only())).boxed()
    }

    fn delete<'a>(&'a self, _: i64) -> BoxFuture<'a, Result<bool, Error>> {
        std::future::ready(Err(read_only())).boxed()
    }

    fn workspaces<'a>(
        &'a self,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredWorkspace>, Error>> {
        let workspaces = self
            .folder
            .workspaces()
            .into_iter()
            .map(|workspace| self.counted(workspace))
            .collect();
        std::future::ready(Ok(paged(workspaces, page))).boxed()
    }

    fn workspace<'a>(
        &'a self,
        id: WorkspaceId,
    ) -> BoxFuture<'a, Result<Option<StoredWorkspace>, Error>> {
        let found = self
            .folder
            .workspaces()
            .into_iter()
            .find(|workspace| workspace.id == id);
        std::future::ready(Ok(found.map(|workspace| self.counted(workspace)))).boxed()
    }
}

impl LocalFolder {
    fn counted(&self, workspace: Workspace) -> StoredWorkspace {
        let files = self
            .folder
            .files()
            .iter()
            .filter(|file| file.workspace.id == workspace.id)
            .count();
        StoredWorkspace {
            id: workspace.id,
            name: workspace.name,
            description: None,
            files: u64::try_from(files).ok(),
            created_at: None,
        }
    }
}

fn stored(file: File) -> StoredFile {
    StoredFile {
        id: file.file_id,
        filename: file.filename,
        title: Some(file.title),
        extension: Some(file.extension),
        workspace: Some(file.workspace),
        size_bytes: Some(file.size_bytes),
        status: FileStatus::Embedded,
        status_detail: None,
        created_at: file
            .modified
            .and_then(|modified| Timestamp::try_from(modified).ok()),
    }
}

fn paged<T>(items: Vec<T>, page: Page) -> Listed<T> {
    let total = items.len();
    let size = usize::try_from(page.size).unwrap_or(usize::MAX).max(1);
    let first =
        size.saturating_mul(usize::try_from(page.number.saturating_sub(1)).unwrap_or(usize::MAX));
    let items = items.into_iter().skip(first).take(size).collect();
    Listed {
        items,
        total: u64::try_from(total).unwrap_or(u64::MAX),
        more: first.saturating_add(size) < total,
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::Unavailable {
        detail: "a file of the folder cannot be read".to_owned(),
        source: Some(Box::new(error)),
    }
}

fn read_only() -> Error {
    Error::Query {
        status: 400,
        detail: "the folder is read only".to_owned(),
        field: None,
    }
}
