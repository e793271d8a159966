//! What the library holds at its start: a folder of documents or the handbook, and the uploads of the last run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    retrieval::local::LocalIndex,
    sandbox::{handbook, library::shelf::Entry},
};

use super::{
    Body, Error, FIRST_MADE_WORKSPACE, File, Holdings, Library, Shelf, Workspace, bytes_of,
    count_pages, read, records::Life, shelf::Catalog, stem,
};

/// The extensions of the documents that a folder is searched for.
const READABLE: [&str; 5] = ["md", "txt", "html", "pdf", "docx"];

/// How many documents are indexed at once: enough to be fast, few enough for the progress to show.
const BATCH: usize = 200;

/// What is there at the start.
struct Seeds {
    /// The sub-folders of the top, those without documents included.
    folders: BTreeSet<String>,
    documents: Vec<Seed>,
}

/// A document that is there at the start.
struct Seed {
    /// The sub-folder it is in, directly or deeper; `None` at the top.
    folder: Option<String>,
    filename: String,
    modified: Timestamp,
    body: Body,
}

impl Library {
    /// Opens the library: `documents` (the handbook without them) and, in `data`, the uploads of the last run.
    ///
    /// `progress` is told how many of how many documents were read. A document that cannot be read is named in the log and left out.
    pub(crate) fn open(
        documents: Option<&Path>,
        data: Option<&Path>,
        settle: Duration,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let (name, seeds) = match documents {
            None => (handbook::WORKSPACE.to_owned(), handbook_seeds()),
            Some(folder) => {
                let unreadable = |source| Error::Documents {
                    folder: folder.to_owned(),
                    source,
                };
                let top = folder.canonicalize().map_err(unreadable)?;
                let name = top.file_name().map_or_else(
                    || "Documents".to_owned(),
                    |name| name.to_string_lossy().into_owned(),
                );
                (name, folder_seeds(&top).map_err(unreadable)?)
            }
        };
        let library = Self {
            index: LocalIndex::new()?,
            shelf: Shelf::open(data)?,
            settle,
            turn: Mutex::new(()),
            holdings: Mutex::new(Holdings::default()),
        };
        let catalog = library.shelf.read_catalog()?;
        let numbers = numbered(&seeds.folders, catalog.folders.clone());
        let is_new = numbers != catalog.folders;
        library.make_seed_workspaces(name, &seeds.folders, numbers);
        library.plant(seeds.documents, progress)?;
        library.fetch_uploads(catalog)?;
        if is_new {
            library.write_catalog()?;
        }
        Ok(library)
    }

    /// Makes workspace 1 for the top of the folder, and one for each sub-folder.
    fn make_seed_workspaces(
        &self,
        top: String,
        folders: &BTreeSet<String>,
        numbers: BTreeMap<String, i64>,
    ) {
        let now = Timestamp::now();
        let mut holdings = self.holdings();
        let folders = folders
            .iter()
            .filter_map(|name| Some((*numbers.get(name)?, name.clone())));
        for (id, name) in std::iter::once((1, top)).chain(folders) {
            let workspace = Workspace {
                id,
                name,
                description: String::new(),
                created_at: now,
                updated_at: now,
            };
            holdings.workspaces.insert(id, workspace);
        }
        holdings.folders = numbers;
    }

    fn plant(&self, seeds: Vec<Seed>, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
        let by_name = self.holdings().folders.clone();
        let total = seeds.len();
        let mut documents = Vec::with_capacity(BATCH);
        for (done, (id, seed)) in (1..).zip(seeds).enumerate() {
            progress(done, total);
            let bytes = match bytes_of(&seed.body) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(file.name = seed.filename, %error, "`{}` cannot be read and is left out", seed.filename);
                    continue;
                }
            };
            let pages = match read(&seed.filename, &bytes) {
                Ok(pages) => pages,
                Err(error) => {
                    tracing::warn!(file.name = seed.filename, %error, "`{}` cannot be read and is left out", seed.filename);
                    continue;
                }
            };
            let file = File {
                id,
                workspace_id: seed
                    .folder
                    .and_then(|folder| by_name.get(&folder).copied())
                    .unwrap_or(1),
                title: pages
                    .title
                    .unwrap_or_else(|| stem(&seed.filename).to_owned()),
                filename: seed.filename,
                size_bytes: bytes.len() as u64,
                total_pages: count_pages(&pages.pages),
                tags: Vec::new(),
                origin: None,
                created_at: seed.modified,
                updated_at: seed.modified,
                upload_session: None,
                life: Life::over(None),
                body: seed.body,
            };
            documents.push(self.document(&file, pages.pages));
            self.holdings().files.insert(id, file);
            if documents.len() == BATCH {
                self.index.put_all(std::mem::take(&mut documents))?;
            }
        }
        self.index.put_all(documents)?;
        progress(total, total);
        Ok(())
    }

    fn fetch_uploads(&self, catalog: Catalog) -> Result<(), Error> {
        {
            let mut holdings = self.holdings();
            holdings.workspaces.extend(
                catalog
                    .workspaces
                    .into_iter()
                    .map(|workspace| (workspace.id, workspace)),
            );
            holdings
                .tags
                .extend(catalog.tags.into_iter().map(|tag| (tag.id, tag)));
        }
        let mut documents = Vec::with_capacity(catalog.files.len());
        for entry in catalog.files {
            let Ok(bytes) = fs::read(self.shelf.place(entry.id)) else {
                tracing::warn!(
                    file.name = entry.filename,
                    "the upload `{}` is gone and is left out",
                    entry.filename
                );
                continue;
            };
            let (pages, failure) = match read(&entry.filename, &bytes) {
                Ok(pages) => (pages.pages, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            let file = File {
                id: entry.id,
                workspace_id: self.home_of(&entry),
                filename: entry.filename,
                title: entry.title,
                size_bytes: bytes.len() as u64,
                total_pages: count_pages(&pages),
                tags: entry.tags,
                origin: entry.origin,
                created_at: entry.created_at,
                updated_at: entry.updated_at,
                upload_session: entry.upload_session,
                life: Life::over(failure.clone()),
                body: Body::Shelf(self.shelf.place(entry.id)),
            };
            if failure.is_none() {
                documents.push(self.document(&file, pages));
            }
            self.holdings().files.insert(file.id, file);
        }
        Ok(self.index.put_all(documents)?)
    }

    /// The workspace that an upload of the last run is in: by number, or for a sub-folder by name, made anew where its folder is gone.
    fn home_of(&self, entry: &Entry) -> i64 {
        let mut holdings = self.holdings();
        if entry.workspace_id >= FIRST_MADE_WORKSPACE
            && holdings.workspaces.contains_key(&entry.workspace_id)
        {
            return entry.workspace_id;
        }
        let same_name = |workspace: &&Workspace| workspace.name == entry.workspace_name;
        if let Some(workspace) = holdings.workspaces.values().find(same_name) {
            return workspace.id;
        }
        if entry.workspace_id == 1 {
            return 1;
        }
        let last = holdings.workspaces.keys().last();
        let next = last.map_or(FIRST_MADE_WORKSPACE, |last| {
            FIRST_MADE_WORKSPACE.max(last.saturating_add(1))
        });
        let known = holdings.folders.get(&entry.workspace_name);
        let id = known.copied().unwrap_or(next);
        let workspace = Workspace {
            id,
            name: entry.workspace_name.clone(),
            description: String::new(),
            created_at: entry.created_at,
            updated_at: entry.created_at,
        };
        holdings.workspaces.insert(id, workspace);
        id
    }
}

/// The numbers of `folders`: those that they had, and the next ones for new folders in the order of their names.
///
/// A number whose folder is gone stays its own, in case it comes back.
fn numbered(folders: &BTreeSet<String>, had: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut numbers = had;
    let first = numbers
        .values()
        .max()
        .map_or(2, |last| last.saturating_add(1));
    let new: Vec<&String> = folders
        .iter()
        .filter(|name| !numbers.contains_key(*name))
        .collect();
    numbers.extend(new.into_iter().cloned().zip(first..));
    numbers
}

fn handbook_seeds() -> Seeds {
    let documents = handbook::DOCUMENTS.iter().map(|document| Seed {
        folder: document.folder.map(str::to_owned),
        filename: document.filename.to_owned(),
        modified: handbook::published(),
        body: Body::Static(document.text),
    });
    let folders = handbook::DOCUMENTS
        .iter()
        .filter_map(|document| document.folder);
    Seeds {
        folders: folders.map(str::to_owned).collect(),
        documents: documents.collect(),
    }
}

/// Every readable file below `top`, in the order of their paths, so that equal folders get equal numbers.
fn folder_seeds(top: &Path) -> io::Result<Seeds> {
    let mut paths = Vec::new();
    walk(top, &mut paths)?;
    paths.sort();
    let documents = paths
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(top).ok()?;
            let mut parts = inside.components();
            let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
            let folder = parts.next().map(|_| first);
            Some(Seed {
                folder,
                filename: path.file_name()?.to_string_lossy().into_owned(),
                modified: modified(&path),
                body: Body::Folder(path.clone()),
            })
        })
        .collect();
    Ok(Seeds {
        folders: sub_folders(top)?,
        documents,
    })
}

/// The names of the folders in `top` that [`walk`] goes into.
fn sub_folders(top: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && !name.starts_with('.') {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Collects the readable files below `folder`. Hidden ones and links to folders are passed over: the first are not documents, the
/// second can go in circles.
fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if let Err(error) = walk(&entry.path(), paths) {
                tracing::warn!(%error, "the folder `{}` cannot be read and is left out", entry.path().display());
            }
        } else if entry.path().is_file()
            && READABLE.contains(&super::extension(&name.to_string_lossy()).as_str())
        {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn modified(path: &Path) -> Timestamp {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| Timestamp::try_from(time).ok())
        .unwrap_or_default()
}
