//! A folder of documents, kept in step with an index.
//!
//! Files at the top are workspace 1; each sub-folder is a workspace, numbered from 2 by its name when the program starts. A sub-folder that
//! comes later gets the next number, so that none changes its meaning while the program runs. A file's number is made from its path: it
//! stays when the file is edited and when the program starts again, and a link signed for it never opens another file.

mod reading;
#[cfg(test)]
mod tests;
mod walk;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use self::walk::{Stamp, Walked};
use super::{LocalIndex, Size};
use crate::{config::WorkspaceId, retrieval::Workspace};

/// The workspace of the files at the top.
const TOP: WorkspaceId = WorkspaceId(1);

/// A directory whose files are searched. It reads when told to ([`Folder::sync`]) or whenever they change ([`Folder::watch`]).
pub struct Folder {
    root: PathBuf,
    index: Arc<LocalIndex>,
    /// Held while the folder is read, so that two readings do not mix.
    reading: Mutex<()>,
    state: Mutex<State>,
}

/// A file of the folder that is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its number.
    pub file_id: i64,
    /// Where it is.
    pub path: PathBuf,
    /// Its name without the folders.
    pub filename: String,
    /// Its title.
    pub title: String,
    /// Its file type, `pdf` rather than `application/pdf`.
    pub extension: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last changed, where the file system tells.
    pub modified: Option<SystemTime>,
    /// How many pages it has, where its format knows pages.
    pub total_pages: Option<u32>,
    /// The workspace it belongs to.
    pub workspace: Workspace,
}

/// What a reading of the folder comes to, told as it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The folder was walked: so many files are new or changed and will be read.
    Found {
        /// How many.
        files: usize,
    },
    /// A file was read.
    Read {
        /// Its path within the folder.
        path: String,
        /// How many files are read by now.
        done: usize,
        /// How many will be.
        files: usize,
    },
    /// A file cannot be searched; the others are.
    Skipped {
        /// Its path within the folder.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file is gone and no longer found.
    Removed {
        /// Its path within the folder.
        path: String,
    },
    /// The index is in step with the folder.
    Indexed {
        /// What it holds now.
        size: Size,
    },
}

/// Why a folder cannot be read or watched at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder itself cannot be opened.
    #[error("the folder `{}` cannot be read", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] super::Error),
    /// The reading died, which is a defect of this program.
    #[error("the reading of the folder died")]
    Died {
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

#[derive(Default)]
struct State {
    /// By path within the folder.
    files: BTreeMap<String, File>,
    /// Every file that was looked at, those that cannot be read included: it is looked at again when its stamp changes.
    stamps: BTreeMap<String, Stamp>,
    /// The path that each number was given to. A file that comes back gets its number back.
    numbers: HashMap<i64, String>,
    /// Numbers by folder, those of folders that are gone included: nothing else may take their meaning.
    workspaces: BTreeMap<String, WorkspaceId>,
    /// The folders that are there, the top as an empty name.
    present: BTreeSet<String>,
    /// Directories outside the folder that links lead to.
    outside: BTreeSet<PathBuf>,
    readings: u64,
}

impl Folder {
    /// A folder that was not read yet.
    pub fn new(root: impl Into<PathBuf>, index: Arc<LocalIndex>) -> Self {
        Self {
            root: root.into(),
            index,
            reading: Mutex::new(()),
            state: Mutex::new(State::default()),
        }
    }

    /// Brings the index in step with the folder: reads what is new or changed, takes out what is gone. Blocks for as long as that takes.
    ///
    /// A file that cannot be read is reported and left out; only a folder that cannot be read is an error, and then the index stays as it was.
    pub fn sync(&self, report: &dyn Fn(Progress)) -> Result<(), Error> {
        let _alone = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let walked = walk::walk(&self.root).map_err(|source| Error::Unreadable {
            path: self.root.clone(),
            source,
        })?;
        let first = self.name_workspaces(&walked);
        let gone = self.forget(&walked);
        let changed = self.changed(&walked);
        if gone.is_empty() && changed.is_empty() && !first {
            return Ok(());
        }
        self.index
            .remove_all(&gone.iter().map(|(_, file_id)| *file_id).collect::<Vec<_>>())?;
        for (path, _) in gone {
            report(Progress::Removed { path });
        }
        self.read_all(&walked, &changed, report)?;
        report(Progress::Indexed {
            size: self.index.size(),
        });
        Ok(())
    }

    /// The file with the number `file_id`.
    pub fn file(&self, file_id: i64) -> Option<File> {
        let state = self.state();
        state
            .numbers
            .get(&file_id)
            .and_then(|path| state.files.get(path))
            .cloned()
    }

    /// Every file that is searched, by path.
    pub fn files(&self) -> Vec<File> {
        self.state().files.values().cloned().collect()
    }

    /// Every workspace, by number; that of the top is named after the folder.
    pub fn workspaces(&self) -> Vec<Workspace> {
        let state = self.state();
        let present = state
            .workspaces
            .iter()
            .filter(|(name, _)| state.present.contains(*name));
        let mut all: Vec<_> = present
            .map(|(name, id)| self.workspace(name, *id))
            .collect();
        all.sort_by_key(|workspace| workspace.id);
        all
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directories elsewhere that links in the folder lead to.
    fn outside(&self) -> BTreeSet<PathBuf> {
        self.state().outside.clone()
    }

    fn workspace(&self, name: &str, id: WorkspaceId) -> Workspace {
        let shown = if id == TOP {
            self.root
                .canonicalize()
                .ok()
                .and_then(|root| root.file_name().map(text_of))
        } else {
            None
        };
        Workspace {
            id,
            name: shown.unwrap_or_else(|| {
                if name.is_empty() {
                    "documents".to_owned()
                } else {
                    name.to_owned()
                }
            }),
        }
    }

    /// Numbers the folders that have no number yet; tells whether this is the first reading.
    fn name_workspaces(&self, walked: &Walked) -> bool {
        let mut state = self.state();
        state.present = walked
            .folders
            .iter()
            .cloned()
            .chain([String::new()])
            .collect();
        state.outside.clone_from(&walked.outside);
        state.workspaces.insert(String::new(), TOP);
        for name in &walked.folders {
            let next = state
                .workspaces
                .values()
                .map(|id| id.0)
                .max()
                .unwrap_or(TOP.0)
                + 1;
            state
                .workspaces
                .entry(name.clone())
                .or_insert(WorkspaceId(next));
        }
        state.readings += 1;
        state.readings == 1
    }

    /// Forgets files that are gone; tells which of them were searched.
    fn forget(&self, walked: &Walked) -> Vec<(String, i64)> {
        let mut state = self.state();
        state.stamps.retain(|path, _| {
            walked.files.contains_key(path) || walked.unreadable.contains_key(path)
        });
        let gone: Vec<_> = state
            .files
            .iter()
            .filter(|(path, _)| !walked.files.contains_key(*path))
            .map(|(path, file)| (path.clone(), file.file_id))
            .collect();
        for (path, _) in &gone {
            state.files.remove(path);
        }
        gone
    }

    /// The files that are not as they were when they were last looked at.
    fn changed(&self, walked: &Walked) -> BTreeSet<String> {
        let state = self.state();
        let seen = |path: &String, stamp: &Stamp| state.stamps.get(path) == Some(stamp);
        let files = walked
            .files
            .iter()
            .filter(|(path, stamp)| !seen(path, stamp))
            .map(|(path, _)| path.clone());
        let unreadable = walked
            .unreadable
            .keys()
            .filter(|path| !seen(path, &Stamp::default()))
            .cloned();
        files.chain(unreadable).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_of(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}
