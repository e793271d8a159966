//! Documents as such: what a store holds, what comes out of it and what goes in.
//!
//! A [`DocumentStore`] knows nothing of who is asking: the caller compares [`StoredFile::workspace`] with the scope before anything of
//! the file goes out.

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

use super::{Error, Workspace};
use crate::config::WorkspaceId;

/// Stores, lists, opens and deletes documents.
pub trait DocumentStore: Send + Sync + 'static {
    /// Finds what is known of a file; `None` where there is none or the store's key cannot see it.
    fn file<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<StoredFile>, Error>>;

    /// Opens the bytes of a file as they were uploaded; `None` as in [`file`](Self::file).
    fn content<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<Option<Content>, Error>>;

    /// Lists one page of the files that fit the filter, newest first.
    fn list<'a>(
        &'a self,
        filter: &'a FileFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredFile>, Error>>;

    /// Stores a file, without ever holding it whole.
    fn upload<'a>(&'a self, upload: Upload) -> BoxFuture<'a, Result<StoredFile, Error>>;

    /// Deletes a file; false where there is none or the store's key cannot see it.
    fn delete<'a>(&'a self, id: i64) -> BoxFuture<'a, Result<bool, Error>>;

    /// Lists one page of the workspaces, by name.
    fn workspaces<'a>(
        &'a self,
        page: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredWorkspace>, Error>>;

    /// Finds a workspace; `None` where there is none or the store's key cannot see it.
    fn workspace<'a>(
        &'a self,
        id: WorkspaceId,
    ) -> BoxFuture<'a, Result<Option<StoredWorkspace>, Error>>;
}

/// What a store knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its number.
    pub id: i64,
    /// Its file name, which the store may have made unique.
    pub filename: String,
    /// Its title.
    pub title: Option<String>,
    /// Its extension without the dot, `pdf`.
    pub extension: Option<String>,
    /// The workspace it lives in, where the store tells.
    pub workspace: Option<Workspace>,
    /// Its size, where the store tells.
    pub size_bytes: Option<u64>,
    /// How far it is on its way into search.
    pub status: FileStatus,
    /// Why it failed, in the store's words.
    pub status_detail: Option<String>,
    /// When it was stored.
    pub created_at: Option<Timestamp>,
}

/// How far a file is on its way into search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStatus {
    /// Stored, not yet found by search.
    Pending,
    /// Found by search.
    Embedded,
    /// It will never be found.
    Failed,
}

/// The bytes of a file.
pub struct Content {
    /// Its media type, where the store tells.
    pub content_type: Option<String>,
    /// How many bytes come, where the store tells.
    pub length: Option<u64>,
    /// Its file name, where the store tells.
    pub filename: Option<String>,
    /// The bytes as they come; after an error nothing follows.
    pub bytes: BoxStream<'static, Result<Bytes, Error>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("content_type", &self.content_type)
            .field("length", &self.length)
            .field("filename", &self.filename)
            .finish_non_exhaustive()
    }
}

/// Which files a list holds; empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// Files of these workspaces.
    pub workspaces: Vec<WorkspaceId>,
    /// Files with any of these tags.
    pub tag_id: Vec<i64>,
    /// Files whose name holds this text, whatever its case.
    pub filename: Option<String>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The page, counted from 1.
    pub number: u32,
    /// How many items a page has.
    pub size: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            number: 1,
            size: 20,
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// How many items all pages have together.
    pub total: u64,
    /// Whether another page follows.
    pub more: bool,
}

/// A file on its way into a store.
pub struct Upload {
    /// Where it shall live; unset: wherever the store puts what names no workspace, which not every store does.
    pub workspace: Option<WorkspaceId>,
    /// Its file name.
    pub filename: String,
    /// Its title; unset: the file name without its extension.
    pub title: Option<String>,
    /// Its media type, where the client told.
    pub content_type: Option<String>,
    /// How many bytes come, where it is known.
    pub length: Option<u64>,
    /// The bytes as they come; an error ends the upload.
    pub bytes: BoxStream<'static, std::io::Result<Bytes>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("workspace", &self.workspace)
            .field("filename", &self.filename)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// What a store knows of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWorkspace {
    /// Its number.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// How many files it has, where the store tells.
    pub files: Option<u64>,
}
