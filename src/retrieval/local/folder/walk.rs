//! A walk over a directory: which files are there, and in which state.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Folders within folders, at most: a guard beside the one against links that lead in circles.
const DEPTH_MAX: usize = 64;

/// What a walk found. Paths are relative to the folder, with slashes.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The files, links followed.
    pub(super) files: BTreeMap<String, Stamp>,
    /// The folders directly within, by name.
    pub(super) folders: BTreeSet<String>,
    /// What could not be looked at, and why.
    pub(super) unreadable: BTreeMap<String, String>,
    /// Directories outside the folder that links lead to: changes there are changes here.
    pub(super) outside: BTreeSet<PathBuf>,
}

/// The state of a file, to tell whether it was changed or replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size_bytes: u64,
    pub(super) modified: Option<SystemTime>,
    /// Device, inode and time of the last change of the entry: they tell a file apart from one of the same size and age that replaced it.
    identity: (u64, u64, i64, i64),
}

/// Walks over `root`. Hidden files, and those that Office writes while a document is open (`~$`), are passed over.
pub(super) fn walk(root: &Path) -> io::Result<Walked> {
    let real = root.canonicalize()?;
    let mut walked = Walked::default();
    let mut open = vec![(real.clone(), String::new(), vec![real.clone()])];
    let mut first = true;
    while let Some((directory, prefix, ancestors)) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if first => return Err(error),
            Err(error) => {
                walked.unreadable.insert(prefix, error.to_string());
                continue;
            }
        };
        first = false;
        for entry in entries {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name.starts_with("~$") {
                continue;
            }
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}/{name}")
            };
            match look(&entry.path()) {
                Ok((_, metadata)) if metadata.is_file() && !is_utf8(&entry.file_name()) => {
                    walked
                        .unreadable
                        .insert(path, "its name is no Unicode text".to_owned());
                }
                Ok((target, metadata)) if metadata.is_file() => {
                    walked.note_outside(&real, target.parent());
                    walked.files.insert(path, Stamp::of(&metadata));
                }
                Ok((target, metadata)) if metadata.is_dir() => {
                    if prefix.is_empty() {
                        walked.folders.insert(name);
                    }
                    // A link to a folder above would lead round in circles.
                    if ancestors.contains(&target) || ancestors.len() > DEPTH_MAX {
                        walked
                            .unreadable
                            .insert(path, "the folder leads back to itself".to_owned());
                        continue;
                    }
                    walked.note_outside(&real, Some(&target));
                    let ancestors = ancestors.iter().cloned().chain([target.clone()]).collect();
                    open.push((target, path, ancestors));
                }
                // Sockets and pipes are not documents.
                Ok(_) => {}
                Err(error) => {
                    walked.unreadable.insert(path, error.to_string());
                }
            }
        }
    }
    Ok(walked)
}

fn look(path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let target = path.canonicalize()?;
    let metadata = fs::metadata(&target)?;
    Ok((target, metadata))
}

fn is_utf8(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some()
}

impl Walked {
    fn note_outside(&mut self, root: &Path, directory: Option<&Path>) {
        if let Some(directory) = directory.filter(|directory| !directory.starts_with(root)) {
            self.outside.insert(directory.to_owned());
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size_bytes: metadata.len(),
            modified: metadata.modified().ok(),
            identity: identity(metadata),
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}
