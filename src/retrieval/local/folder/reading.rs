//! One reading of a folder: changed files become documents, batch by batch.

use std::{collections::BTreeSet, fs, mem};

use sha2::{Digest, Sha256};

use super::{
    Error, File, Folder, Progress, TOP,
    walk::{Stamp, Walked},
};
use crate::retrieval::{
    Workspace,
    local::{
        Document,
        documents::{self, EXTENSIONS, extension_of},
    },
};

/// Larger files are skipped, in bytes: the default of `limits.file`.
const FILE_BYTES_MAX: u64 = 512_000_000;

/// How much text is gathered before the index commits it, in bytes.
const BATCH_BYTES: usize = 8_000_000;

impl Folder {
    /// Reads the `changed` files into the index.
    pub(super) fn read_all(
        &self,
        walked: &Walked,
        changed: &BTreeSet<String>,
        report: &dyn Fn(Progress),
    ) -> Result<(), Error> {
        let files = changed.len();
        report(Progress::Found { files });
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        for (done, path) in (1..).zip(changed) {
            let stamp = walked.files.get(path).cloned().unwrap_or_default();
            let read = match walked.unreadable.get(path) {
                Some(reason) => Err(reason.clone()),
                None => self.read(path, &stamp),
            };
            self.state().stamps.insert(path.clone(), stamp);
            match read {
                Ok((file, document)) => {
                    batch_bytes += document
                        .pages
                        .iter()
                        .map(|page| page.text.len())
                        .sum::<usize>();
                    batch.push((path.clone(), file, document));
                    report(Progress::Read {
                        path: path.clone(),
                        done,
                        files,
                    });
                }
                Err(reason) => {
                    // What it said before it broke is no longer what it says.
                    if let Some(file) = self.state().files.remove(path) {
                        self.index.remove(file.file_id)?;
                    }
                    report(Progress::Skipped {
                        path: path.clone(),
                        reason,
                    });
                }
            }
            if batch_bytes > BATCH_BYTES {
                self.put(mem::take(&mut batch))?;
                batch_bytes = 0;
            }
        }
        self.put(batch)
    }

    fn put(&self, batch: Vec<(String, File, Document)>) -> Result<(), Error> {
        let (mut files, mut all) = (
            Vec::with_capacity(batch.len()),
            Vec::with_capacity(batch.len()),
        );
        for (path, file, document) in batch {
            files.push((path, file));
            all.push(document);
        }
        self.index.put_all(all)?;
        self.state().files.extend(files);
        Ok(())
    }

    fn read(&self, path: &str, stamp: &Stamp) -> Result<(File, Document), String> {
        if stamp.size_bytes > FILE_BYTES_MAX {
            return Err(format!(
                "it is larger than {} MB",
                FILE_BYTES_MAX / 1_000_000
            ));
        }
        let filename = path
            .rsplit_once('/')
            .map_or(path, |(_, filename)| filename)
            .to_owned();
        let extension = extension_of(&filename);
        if !EXTENSIONS.contains(&extension.as_str()) {
            return Err(documents::ReadError::Unknown { extension }.to_string());
        }
        let at = self.root.join(path);
        let bytes = fs::read(&at).map_err(|error| error.to_string())?;
        let pages = documents::read(&filename, &bytes).map_err(|error| error.to_string())?;
        let stem = filename
            .rsplit_once('.')
            .map_or(filename.as_str(), |(stem, _)| stem);
        let title = pages.title.unwrap_or_else(|| stem.to_owned());
        let (file_id, workspace) = self.place(path);
        let file = File {
            file_id,
            path: at,
            filename: filename.clone(),
            title: title.clone(),
            extension: extension.clone(),
            size_bytes: bytes.len() as u64,
            modified: stamp.modified,
            total_pages: pages.pages.iter().filter_map(|page| page.number).max(),
            workspace: workspace.clone(),
        };
        let document = Document {
            file_id,
            workspace,
            filename,
            title,
            extension,
            size_bytes: bytes.len() as u64,
            tags: Vec::new(),
            external_metadata: None,
            pages: pages.pages,
        };
        Ok((file, document))
    }

    /// The number and the workspace of the file at `path`.
    fn place(&self, path: &str) -> (i64, Workspace) {
        let mut state = self.state();
        let folder = path.split_once('/').map_or("", |(folder, _)| folder);
        let workspace =
            self.workspace(folder, state.workspaces.get(folder).copied().unwrap_or(TOP));
        let mut file_id = number_of(path);
        while state
            .numbers
            .get(&file_id)
            .is_some_and(|other| other != path)
        {
            file_id += 1;
        }
        state.numbers.insert(file_id, path.to_owned());
        (file_id, workspace)
    }
}

/// A number for the file at `path`: 48 bits of its SHA-256, so that JavaScript holds it exactly and two files hardly ever want the same.
fn number_of(path: &str) -> i64 {
    let digest = Sha256::digest(path.as_bytes());
    digest
        .iter()
        .take(6)
        .fold(0_i64, |number, byte| number << 8 | i64::from(*byte))
        .max(1)
}
