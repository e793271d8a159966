//! The library: workspaces, tags and files over one full-text index, shared by the search service and the Paradigm service.
//!
//! Documents that were there at the start (`--documents`, else the handbook) are only read: changing or deleting one changes what the
//! sandbox shows until it stops, never the folder. Uploads and what was said of them last until the sandbox stops, or in `--data`.
//!
//! Every method blocks (the index, the disk, the readers of documents), so that handlers call them by [`Library::run`]. Changes take
//! turns: documents are read one at a time, which bounds the memory of many uploads at once to one document.

mod changes;
mod records;
mod seed;
mod shelf;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::retrieval::{
    self, Found, SearchQuery,
    local::{
        Document, LocalIndex, Page,
        documents::{self, ReadError},
    },
};

pub(crate) use changes::{Edit, Stored, Upload};
pub(crate) use records::{Body, File, Origin, Tag, Workspace, extension, stem};
pub(crate) use shelf::Incoming;
use shelf::Shelf;

/// The number of the first workspace that is made through the API; those below are sub-folders, whose numbers the catalogue keeps.
const FIRST_MADE_WORKSPACE: i64 = 1001;

/// The number of the first upload; those below are documents that were there at the start, which are counted anew at each start.
const FIRST_UPLOAD: i64 = 100_001;

/// Workspaces, tags and files over one full-text index.
pub(crate) struct Library {
    index: LocalIndex,
    shelf: Shelf,
    /// How long an upload takes to be `embedded` when nobody looks.
    settle: Duration,
    /// Held by whoever changes something, so that index, shelf and catalogue never disagree.
    turn: Mutex<()>,
    holdings: Mutex<Holdings>,
}

#[derive(Debug, Default)]
struct Holdings {
    workspaces: BTreeMap<i64, Workspace>,
    /// The numbers of sub-folders by their names, those included that are gone.
    folders: BTreeMap<String, i64>,
    tags: BTreeMap<i64, Tag>,
    files: BTreeMap<i64, File>,
}

/// Why the library could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of documents cannot be read.
    #[error("the documents in `{}` cannot be read", folder.display())]
    Documents {
        /// The folder.
        folder: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// There is no folder for uploads: a root file system that is only read, as in a hardened container, has no temporary folder.
    #[error("`{}` cannot be made for uploads", folder.display())]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The folder of uploads cannot be used.
    #[error("the uploads cannot be kept")]
    Shelf(#[from] io::Error),
    /// The index failed.
    #[error("the index failed")]
    Index(#[from] retrieval::local::Error),
    /// The program is stopping.
    #[error("the work was cut short")]
    Stopped,
}

impl Library {
    /// Runs `work` on a thread where it may block.
    pub(crate) async fn run<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    {
        let library = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&library))
            .await
            .map_err(|_| Error::Stopped)?
    }

    /// Every workspace, by number.
    pub(crate) fn workspaces(&self) -> Vec<Workspace> {
        self.holdings().workspaces.values().cloned().collect()
    }

    /// The workspace with number `id`.
    pub(crate) fn workspace(&self, id: i64) -> Option<Workspace> {
        self.holdings().workspaces.get(&id).cloned()
    }

    /// How many files each workspace has, and their bytes.
    pub(crate) fn usage(&self) -> BTreeMap<i64, (u64, u64)> {
        let mut usage = BTreeMap::new();
        for file in self.holdings().files.values() {
            let (files, bytes) = usage.entry(file.workspace_id).or_insert((0, 0));
            *files += 1;
            *bytes += file.size_bytes;
        }
        usage
    }

    /// Every tag, by number.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        self.holdings().tags.values().cloned().collect()
    }

    /// How many documents carry each tag.
    pub(crate) fn tag_counts(&self) -> BTreeMap<i64, u64> {
        let mut counts = BTreeMap::new();
        for tag in self.holdings().files.values().flat_map(|file| &file.tags) {
            *counts.entry(*tag).or_insert(0) += 1;
        }
        counts
    }

    /// Those of `ids` that name no tag.
    pub(crate) fn unknown_tags(&self, ids: &[i64]) -> Vec<i64> {
        let holdings = self.holdings();
        ids.iter()
            .copied()
            .filter(|id| !holdings.tags.contains_key(id))
            .collect()
    }

    /// Looks at file `id`, which moves its status on.
    pub(crate) fn look(&self, id: i64) -> Option<File> {
        let mut holdings = self.holdings();
        let file = holdings.files.get_mut(&id)?;
        file.life.look();
        Some(file.clone())
    }

    /// File `id` as it is, without a look at its status.
    pub(crate) fn file(&self, id: i64) -> Option<File> {
        self.holdings().files.get(&id).cloned()
    }

    /// The file of workspace `workspace_id` that came from `external_id`.
    fn file_with_origin(&self, workspace_id: i64, external_id: &str) -> Option<File> {
        let holdings = self.holdings();
        let same = |file: &&File| {
            file.workspace_id == workspace_id
                && file
                    .origin
                    .as_ref()
                    .is_some_and(|origin| origin.external_id == external_id)
        };
        holdings.files.values().find(same).cloned()
    }

    /// Makes room for an upload.
    pub(crate) async fn receive(&self) -> Result<Incoming, Error> {
        self.shelf.receive().await.map_err(|source| Error::NoRoom {
            folder: self.shelf.folder().to_owned(),
            source,
        })
    }

    /// Looks at every file, which moves their statuses on.
    pub(crate) fn look_at_all(&self) -> Vec<File> {
        let mut holdings = self.holdings();
        holdings
            .files
            .values_mut()
            .map(|file| {
                file.life.look();
                file.clone()
            })
            .collect()
    }

    /// Whether the filters of `query` name anything that exists: LightOn refuses a search whose filters reach nothing.
    pub(crate) fn reaches(&self, query: &SearchQuery) -> bool {
        let holdings = self.holdings();
        let any = |ids: &mut dyn Iterator<Item = i64>, known: &dyn Fn(i64) -> bool| {
            let mut ids = ids.peekable();
            ids.peek().is_none() || ids.any(known)
        };
        any(
            &mut query.workspaces.iter().flatten().map(|id| id.0),
            &|id| holdings.workspaces.contains_key(&id),
        ) && any(&mut query.tag_id.iter().copied(), &|id| {
            holdings.tags.contains_key(&id)
        }) && any(&mut query.file_id.iter().copied(), &|id| {
            holdings.files.contains_key(&id)
        })
    }

    /// Searches the index.
    pub(crate) fn search(&self, query: &SearchQuery) -> Result<Found, Error> {
        Ok(self.index.find(query)?)
    }

    /// The text of `file` by page; none where it cannot be read.
    pub(crate) fn pages(&self, file: &File) -> Result<Vec<Page>, Error> {
        if file.life.failure().is_some() {
            return Ok(Vec::new());
        }
        Ok(match read(&file.filename, &bytes_of(&file.body)?) {
            Ok(pages) => pages.pages,
            Err(_) => Vec::new(),
        })
    }

    /// The document that the index holds for `file`.
    fn document(&self, file: &File, pages: Vec<Page>) -> Document {
        let holdings = self.holdings();
        let workspace = holdings.workspaces.get(&file.workspace_id);
        Document {
            file_id: file.id,
            workspace: retrieval::Workspace {
                id: crate::config::WorkspaceId(file.workspace_id),
                name: workspace
                    .map(|workspace| workspace.name.clone())
                    .unwrap_or_default(),
            },
            filename: file.filename.clone(),
            title: file.title.clone(),
            extension: file.extension(),
            size_bytes: file.size_bytes,
            tags: file
                .tags
                .iter()
                .filter_map(|id| holdings.tags.get(id))
                .map(Into::into)
                .collect(),
            external_metadata: file.origin.as_ref().map(Origin::in_search),
            pages,
        }
    }

    /// What is held. The lock is never kept over anything that can fail or wait.
    fn holdings(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether documents of this type are read at all.
fn is_readable(filename: &str) -> bool {
    documents::EXTENSIONS.contains(&documents::extension_of(&known_as(filename)).as_str())
}

/// Reads a document.
fn read(filename: &str, bytes: &[u8]) -> Result<documents::Pages, ReadError> {
    documents::read(&known_as(filename), bytes)
}

/// The name that the readers know a document by: some formats are plain text or HTML under another name.
fn known_as(filename: &str) -> Cow<'_, str> {
    match extension(filename).as_str() {
        "csv" | "json" | "yaml" | "yml" => Cow::Owned(format!("{}.txt", stem(filename))),
        "xhtml" => Cow::Owned(format!("{}.html", stem(filename))),
        _ => Cow::Borrowed(filename),
    }
}

fn bytes_of(body: &Body) -> io::Result<Vec<u8>> {
    match body {
        Body::Static(text) => Ok(text.as_bytes().to_vec()),
        Body::Folder(path) | Body::Shelf(path) => fs::read(path),
    }
}

/// The numbers of the pages that a document has: the last number told, else how many there are.
fn count_pages(pages: &[Page]) -> u32 {
    let told = pages.iter().filter_map(|page| page.number).max();
    told.unwrap_or_else(|| u32::try_from(pages.len()).unwrap_or(u32::MAX))
}
