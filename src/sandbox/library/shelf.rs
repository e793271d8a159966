//! The shelf: a folder that holds uploads and the catalogue of what was said of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::records::{Origin, Tag, Workspace, moment};

/// A folder of uploads, kept for the next start or gone with the program.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    keep: Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    ForTheNextStart,
    UntilDropped,
}

/// What is written beside the uploads, so that the next start knows them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalog {
    /// The workspaces that were made through the API.
    pub(crate) workspaces: Vec<Workspace>,
    /// Every tag.
    pub(crate) tags: Vec<Tag>,
    /// The uploads.
    pub(crate) files: Vec<Entry>,
}

/// An upload in the catalogue.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) workspace_id: i64,
    /// The name of that workspace: sub-folders are numbered anew at each start, and a name finds them again.
    pub(crate) workspace_name: String,
    pub(crate) filename: String,
    pub(crate) title: String,
    pub(crate) tags: Vec<i64>,
    pub(crate) origin: Option<Origin>,
    #[serde(with = "moment")]
    pub(crate) created_at: Timestamp,
    #[serde(with = "moment")]
    pub(crate) updated_at: Timestamp,
    pub(crate) upload_session: Option<Uuid>,
}

impl Shelf {
    /// Opens the shelf in `data`, or one that goes with the program.
    pub(crate) fn open(data: Option<&Path>) -> io::Result<Self> {
        let shelf = match data {
            Some(folder) => Self {
                folder: folder.to_owned(),
                keep: Keep::ForTheNextStart,
            },
            None => Self {
                folder: std::env::temp_dir().join(format!("groundwire-sandbox-{}", Uuid::new_v4())),
                keep: Keep::UntilDropped,
            },
        };
        // What an upload left behind when the program was killed belongs to nobody.
        match fs::remove_dir_all(shelf.incoming()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(shelf.incoming())?;
        fs::create_dir_all(shelf.files())?;
        Ok(shelf)
    }

    /// Makes room for an upload.
    pub(crate) async fn receive(&self) -> io::Result<Incoming> {
        let path = self.incoming().join(Uuid::new_v4().to_string());
        let file = tokio::fs::File::create(&path).await?;
        Ok(Incoming {
            path,
            file: Some(file),
            size_bytes: 0,
        })
    }

    /// Puts a received upload into its place as file `id`, over an earlier one.
    pub(crate) fn adopt(&self, incoming: &Incoming, id: i64) -> io::Result<PathBuf> {
        let place = self.place(id);
        fs::rename(&incoming.path, &place)?;
        Ok(place)
    }

    /// Where file `id` is.
    pub(crate) fn place(&self, id: i64) -> PathBuf {
        self.files().join(id.to_string())
    }

    /// Takes file `id` away; one that is gone already is no failure.
    pub(crate) fn discard(&self, id: i64) -> io::Result<()> {
        match fs::remove_file(self.place(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether a catalogue is worth writing: a shelf that goes with the program needs none.
    pub(crate) fn keeps(&self) -> bool {
        self.keep == Keep::ForTheNextStart
    }

    /// Reads the catalogue of the last run; an empty one where there is none.
    pub(crate) fn read_catalog(&self) -> io::Result<Catalog> {
        match fs::read(self.catalog()) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Catalog::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the catalogue beside the old one and then over it, so that a crash leaves one of the two whole.
    pub(crate) fn write_catalog(&self, catalog: &Catalog) -> io::Result<()> {
        let fresh = self.folder.join("catalog.json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(catalog)?)?;
        fs::rename(fresh, self.catalog())
    }

    fn catalog(&self) -> PathBuf {
        self.folder.join("catalog.json")
    }

    fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if self.keep == Keep::UntilDropped
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(%error, "the sandbox's uploads could not be removed");
        }
    }
}

/// An upload on its way to the shelf. One that is dropped before it is adopted leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Incoming {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    size_bytes: u64,
}

impl Incoming {
    /// Writes the next piece.
    pub(crate) async fn write(&mut self, piece: &Bytes) -> io::Result<()> {
        self.size_bytes += piece.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(piece).await,
            None => Err(io::Error::other("the upload is finished")),
        }
    }

    /// Sees to it that every piece is on disk.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(mut file) => file.flush().await,
            None => Ok(()),
        }
    }

    /// How many bytes came.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Where they are until they are adopted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // An adopted upload is no longer at this path, so the failure to remove it is the usual case.
        let _ = fs::remove_file(&self.path);
    }
}
