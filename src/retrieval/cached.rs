//! A retriever in front of a retriever: what was found is kept for a while, and equal searches in flight are sent once.
//!
//! The key is the whole [`SearchQuery`], so that everything that decides a result decides it here too, the scope first of all. What failed,
//! what found nothing and what was degraded is not kept: the next search may do better. Nor is anything of a workspace that a new
//! file was put into a moment ago: it is found only when the service has read it, which nobody tells us.
//!
//! A search in flight is a shared future. Whoever waits for it drives it, so one that leaves takes nothing from the others, and when the last
//! one leaves the search is dropped, down to its socket. `moka`'s own coalescing would begin the search anew when its first caller leaves.

use std::{
    collections::HashMap,
    error, fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use moka::sync::Cache;

use super::{Error, Found, Passage, Retriever, SearchQuery};
use crate::config::{SearchCache, WorkspaceId};

/// What one entry may weigh before it counts as several, in bytes: five passages of text are far below, page images far above.
const ENTRY_BYTES: usize = 64 << 10;

/// How long after a new file nothing of its workspace is kept: most files are read in less.
const SETTLING: Duration = Duration::from_secs(120);

/// A retriever whose results are kept.
pub struct Cached<R> {
    inner: Arc<R>,
    state: Arc<State>,
}

/// What searches in flight share with the cache.
struct State {
    kept: Cache<Arc<SearchQuery>, Arc<Found>>,
    flights: Mutex<HashMap<Arc<SearchQuery>, Flight>>,
    /// Rises with each change of documents: what was searched before it is not kept after it.
    changes: AtomicU64,
    /// The workspaces that got a file a moment ago.
    settling: Cache<WorkspaceId, ()>,
    /// Numbers the flights, so that one that ends removes itself and no later one.
    begun: AtomicU64,
}

type Search = BoxFuture<'static, Result<Arc<Found>, Arc<Error>>>;

struct Flight {
    number: u64,
    search: WeakShared<Search>,
}

impl<R: Retriever> Cached<R> {
    /// Keeps what `inner` finds.
    pub fn new(inner: Arc<R>, settings: SearchCache) -> Self {
        let kept = Cache::builder()
            .weigher(|_: &Arc<SearchQuery>, found: &Arc<Found>| weight(found))
            .max_capacity(settings.entries)
            .time_to_live(settings.ttl)
            .build();
        let state = State {
            kept,
            flights: Mutex::default(),
            changes: AtomicU64::new(0),
            settling: Cache::builder()
                .max_capacity(settings.entries)
                .time_to_live(SETTLING)
                .build(),
            begun: AtomicU64::new(0),
        };
        Self {
            inner,
            state: Arc::new(state),
        }
    }

    /// Forgets every search that a change of documents in `workspace` can have made wrong: those of that workspace and the unscoped.
    pub fn invalidate(&self, workspace: WorkspaceId) {
        let concerned = |query: &SearchQuery| match &query.workspaces {
            Some(workspaces) => workspaces.contains(&workspace),
            None => true,
        };
        // First, so that a search that began before and ends meanwhile is not kept.
        self.state.changes.fetch_add(1, Ordering::SeqCst);
        self.state.flights().retain(|query, _| !concerned(query));
        for (query, _) in &self.state.kept {
            if concerned(&query) {
                self.state.kept.invalidate(query.as_ref());
            }
        }
    }

    /// Keeps nothing of `workspace` for a while, nor of unscoped searches: a document is on its way into it.
    pub fn unsettle(&self, workspace: WorkspaceId) {
        self.state.settling.insert(workspace, ());
    }

    /// Joins the equal search in flight, or begins one; says which.
    fn board(&self, query: &SearchQuery) -> (Shared<Search>, Boarded) {
        let mut flights = self.state.flights();
        if let Some(search) = flights
            .get(query)
            .and_then(|flight| flight.search.upgrade())
        {
            return (search, Boarded::Joined);
        }
        let query = Arc::new(query.clone());
        let number = self.state.begun.fetch_add(1, Ordering::Relaxed);
        let flying = Flying {
            state: Arc::clone(&self.state),
            query: Arc::clone(&query),
            number,
            changes: self.state.changes.load(Ordering::SeqCst),
        };
        let search = flying.search(Arc::clone(&self.inner)).boxed().shared();
        if let Some(weak) = search.downgrade() {
            flights.insert(
                query,
                Flight {
                    number,
                    search: weak,
                },
            );
        }
        (search, Boarded::Began)
    }
}

impl<R: Retriever> Retriever for Cached<R> {
    fn search<'a>(&'a self, query: &'a SearchQuery) -> BoxFuture<'a, Result<Found, Error>> {
        if let Some(found) = self.state.kept.get(query) {
            return std::future::ready(Ok(copy(&found, Boarded::Joined))).boxed();
        }
        let (search, boarded) = self.board(query);
        async move {
            match search.await {
                Ok(found) => Ok(copy(&found, boarded)),
                Err(error) => Err(retold(&error)),
            }
        }
        .boxed()
    }
}

impl State {
    /// Whether no document that `query` may find is on its way into search.
    fn is_settled(&self, query: &SearchQuery) -> bool {
        match &query.workspaces {
            Some(workspaces) => !workspaces
                .iter()
                .any(|workspace| self.settling.contains_key(workspace)),
            None => self.settling.iter().next().is_none(),
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<SearchQuery>, Flight>> {
        // Nothing panics while the lock is held.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> fmt::Debug for Cached<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("kept", &self.state.kept.entry_count())
            .finish_non_exhaustive()
    }
}

/// Whether a search was made for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boarded {
    Began,
    Joined,
}

/// A search in flight; it leaves the list of flights when it ends, by an answer or because nobody waits any longer.
struct Flying {
    state: Arc<State>,
    query: Arc<SearchQuery>,
    number: u64,
    changes: u64,
}

impl Flying {
    async fn search<R: Retriever>(self, inner: Arc<R>) -> Result<Arc<Found>, Arc<Error>> {
        let found = Arc::new(inner.search(&self.query).await.map_err(Arc::new)?);
        if is_worth_keeping(&found) && self.is_current() && self.state.is_settled(&self.query) {
            let kept = &self.state.kept;
            kept.insert(Arc::clone(&self.query), Arc::clone(&found));
            // A change may have come between the question and the insertion, and have looked for this entry in vain.
            if !self.is_current() {
                kept.invalidate(self.query.as_ref());
            }
        }
        Ok(found)
    }

    fn is_current(&self) -> bool {
        self.state.changes.load(Ordering::SeqCst) == self.changes
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        let mut flights = self.state.flights();
        if flights
            .get(&self.query)
            .is_some_and(|flight| flight.number == self.number)
        {
            flights.remove(&self.query);
        }
    }
}

/// Whether something was found, and all of it: blank passages are as good as none.
fn is_worth_keeping(found: &Found) -> bool {
    let says = |passage: &Passage| !passage.content.trim().is_empty() || passage.image.is_some();
    found.warnings.is_empty() && found.passages.iter().any(says)
}

fn weight(found: &Found) -> u32 {
    let size = |passage: &Passage| {
        passage.content.len() + passage.image.as_ref().map_or(0, String::len) + 1000
    };
    let bytes: usize = found.passages.iter().map(size).sum();
    u32::try_from(1 + bytes / ENTRY_BYTES).unwrap_or(u32::MAX)
}

fn copy(found: &Found, boarded: Boarded) -> Found {
    Found {
        cached: boarded == Boarded::Joined,
        ..found.clone()
    }
}

/// The same error for each of those who waited for it.
fn retold(error: &Arc<Error>) -> Error {
    match error.as_ref() {
        Error::Authentication { detail } => Error::Authentication {
            detail: detail.clone(),
        },
        Error::Scope { detail } => Error::Scope {
            detail: detail.clone(),
        },
        Error::Query {
            status,
            detail,
            field,
        } => Error::Query {
            status: *status,
            detail: detail.clone(),
            field: field.clone(),
        },
        Error::RateLimited {
            detail,
            retry_after,
        } => Error::RateLimited {
            detail: detail.clone(),
            retry_after: *retry_after,
        },
        Error::Maintenance { detail } => Error::Maintenance {
            detail: detail.clone(),
        },
        Error::Unavailable { detail, source } => Error::Unavailable {
            detail: detail.clone(),
            source: source
                .is_some()
                .then(|| Box::new(Cause(Arc::clone(error))) as _),
        },
        Error::Timeout { after } => Error::Timeout { after: *after },
    }
}

/// What lies below an error that several callers share.
#[derive(Debug)]
struct Cause(Arc<Error>);

impl Cause {
    fn below(&self) -> Option<&(dyn error::Error + 'static)> {
        error::Error::source(self.0.as_ref())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.below() {
            Some(error) => fmt::Display::fmt(error, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl error::Error for Cause {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.below().and_then(error::Error::source)
    }
}
