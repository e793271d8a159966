//! Search in this process: documents of a folder, read, cut into passages and ranked by words.
//!
//! [`LocalIndex`] is the index, [`documents`] reads files into [`Page`]s, [`folder`] keeps an index in step with a directory, and
//! [`Local`] is the [`Retriever`] over it all. There is no embedding model here: what counts is the words, their stems, and how they stand
//! together. Scores are told as LightOn tells them: `keyword` is BM25, `relevance` its place between 0 and 1.

pub mod documents;
pub mod folder;
mod index;
mod passages;
mod question;
mod ranking;
mod schema;
mod store;
mod words;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::Value;

pub use self::{
    index::{Error, LocalIndex, Size},
    store::LocalFolder,
};
use super::{Found, Retriever, SearchQuery, Tag, Workspace};

/// A document to be searched.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its number; a document put later under the same one replaces it.
    pub file_id: i64,
    /// The workspace it belongs to.
    pub workspace: Workspace,
    /// Its file name.
    pub filename: String,
    /// Its title.
    pub title: String,
    /// Its file type, `pdf` rather than `application/pdf`.
    pub extension: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What a data source says of it.
    pub external_metadata: Option<Value>,
    /// Its text.
    pub pages: Vec<Page>,
}

/// A page of a document, or the whole of one that has no pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Its number, 1-based; `None` where the format knows no pages.
    pub number: Option<u32>,
    /// Its text as Markdown: headings are what passages are told by.
    pub text: String,
}

/// The retriever over a [`LocalIndex`]: searches on a blocking thread, under a deadline.
#[derive(Clone)]
pub struct Local {
    /// What is searched.
    pub index: Arc<LocalIndex>,
    /// How long one search may take.
    pub timeout: Duration,
}

impl Retriever for Local {
    fn search<'a>(&'a self, query: &'a SearchQuery) -> BoxFuture<'a, Result<Found, super::Error>> {
        let (index, query) = (Arc::clone(&self.index), query.clone());
        // Ranking takes more than a millisecond of CPU. It cannot be interrupted, so a search that nobody waits for runs to its short end.
        let search = tokio::task::spawn_blocking(move || index.find(&query));
        let after = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(after, search).await {
                Ok(Ok(found)) => Ok(found?),
                Ok(Err(died)) => {
                    let detail = "the local search died".to_owned();
                    Err(super::Error::Unavailable {
                        detail,
                        source: Some(Box::new(died)),
                    })
                }
                Err(_) => Err(super::Error::Timeout { after }),
            }
        })
    }
}

#[cfg(test)]
mod tests;
