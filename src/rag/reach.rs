//! What one key for search reaches: passages, where files live, and the links to them.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use moka::sync::Cache;

use super::links::Signer;
use crate::{
    access::Scope,
    config::WorkspaceId,
    retrieval::{DocumentStore, Error, Retriever},
};

/// How long it is believed where a file lives: a file may be moved, and its old workspace must not open it for long.
const BELIEVED: Duration = Duration::from_secs(30);

/// Of how many files it is known at most where they live.
const KNOWN: u64 = 10_000;

/// How many files are asked for at once.
const AT_ONCE: usize = 8;

/// Where is searched, and with which key, as a digest: after a change of the configuration the same caller may search elsewhere.
pub type Realm = [u8; 32];

/// What one key for search reaches.
pub struct Reach {
    /// Finds passages.
    pub retriever: Arc<dyn Retriever>,
    /// Signs the links in citations.
    pub signer: Signer,
    /// Tells it from what every other key reaches, here or elsewhere.
    pub realm: Realm,
    documents: Arc<dyn DocumentStore>,
    homes: Cache<i64, WorkspaceId>,
}

impl Reach {
    /// What `retriever` and `documents` reach, which have the same key.
    pub fn new(
        retriever: Arc<dyn Retriever>,
        documents: Arc<dyn DocumentStore>,
        signer: Signer,
        realm: Realm,
    ) -> Self {
        let homes = Cache::builder()
            .max_capacity(KNOWN)
            .time_to_live(BELIEVED)
            .build();
        Self {
            retriever,
            signer,
            realm,
            documents,
            homes,
        }
    }

    /// Tells those of `files` that `scope` does not hold, each once and in the order of their numbers: those that live elsewhere, those of whom nobody tells
    /// where they live, and those that are not there, which a caller must not be able to tell apart.
    pub async fn outside(&self, scope: &Scope, files: &[i64]) -> Result<Vec<i64>, Error> {
        if matches!(scope, Scope::Every) {
            return Ok(Vec::new());
        }
        let files: BTreeSet<i64> = files.iter().copied().collect();
        stream::iter(files)
            .map(|file| async move { Ok((file, self.home(file).await?)) })
            .buffered(AT_ONCE)
            .try_filter_map(async |(file, home)| Ok((!scope.holds(home)).then_some(file)))
            .try_collect()
            .await
    }

    /// Forgets where files live, because some of them were changed.
    pub fn forget(&self) {
        self.homes.invalidate_all();
    }

    async fn home(&self, file: i64) -> Result<Option<WorkspaceId>, Error> {
        if let Some(known) = self.homes.get(&file) {
            return Ok(Some(known));
        }
        let found = match self.documents.file(file).await {
            Ok(found) => found,
            // The service has words for a file that the key for search may not see.
            Err(Error::Scope { .. }) => None,
            Err(error) => return Err(error),
        };
        let home = found.and_then(|file| file.workspace).map(|home| home.id);
        if let Some(home) = home {
            self.homes.insert(file, home);
        }
        Ok(home)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}
