//! Search that was not set up: only where nothing can search, so that what arrives here is an operator's mistake and says so.

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    Error, Found, Retriever, SearchQuery,
    documents::{
        Content, DocumentStore, FileFilter, Listed, Page, StoredFile, StoredWorkspace, Upload,
    },
};
use crate::config::WorkspaceId;

/// A retriever and a store without a service behind them.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

fn refused<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Error>> {
    let detail = "`search.api_key` is not set".to_owned();
    std::future::ready(Err(Error::Authentication { detail })).boxed()
}

impl Retriever for Nowhere {
    fn search<'a>(&'a self, _: &'a SearchQuery) -> BoxFuture<'a, Result<Found, Error>> {
        refused()
    }
}

impl DocumentStore for Nowhere {
    fn file<'a>(&'a self, _: i64) -> BoxFuture<'a, Result<Option<StoredFile>, Error>> {
        refused()
    }

    fn content<'a>(&'a self, _: i64) -> BoxFuture<'a, Result<Option<Content>, Error>> {
        refused()
    }

    fn list<'a>(
        &'a self,
        _: &'a FileFilter,
        _: Page,
    ) -> BoxFuture<'a, Result<Listed<StoredFile>, Error>> {
        refused()
    }

    fn upload<'a>(&'a self, _: Upload) -> BoxFuture<'a, Result<StoredFile, Error>> {
        refused()
    }

    fn delete<'a>(&'a self, _: i64) -> BoxFuture<'a, Result<bool, Error>> {
        refused()
    }

    fn workspaces<'a>(&'a self, _: Page) -> BoxFuture<'a, Result<Listed<StoredWorkspace>, Error>> {
        refused()
    }

    fn workspace<'a>(
        &'a self,
        _: WorkspaceId,
    ) -> BoxFuture<'a, Result<Option<StoredWorkspace>, Error>> {
        refused()
    }
}
