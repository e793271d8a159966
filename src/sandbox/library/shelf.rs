//! The shelf: a folder that holds uploads and the catalogue of what was said of them.

use std::{
    collections::BTreeMap,
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
    /// The numbers of sub-folders by their names, which keys and models refer to.
    #[serde(default)]
    pub(crate) folders: BTreeMap<String, i64>,
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
    /// The name of that workspace, which finds a sub-folder again.
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
        gone_is_fine(fs::remove_dir_all(shelf.incoming()))?;
        // A folder that goes with the program is made for the first upload, so that a program that is killed mostly leaves none behind.
        if shelf.keeps() {
            shelf.make_folders()?;
        }
        Ok(shelf)
    }

    fn make_folders(&self) -> io::Result<()> {
        fs::create_dir_all(self.incoming())?;
        fs::create_dir_all(self.files())
    }

    /// Where everything of it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes room for an upload.
    pub(crate) async fn receive(&self) -> io::Result<Incoming> {
        self.make_folders()?;
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
        gone_is_fine(fs::remove_file(self.place(id)))
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
            && let Err(error) = gone_is_fine(fs::remove_dir_all(&self.folder))
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

/// Takes it as done when what was to be removed is not there.
fn gone_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_passing_shelf_takes_no_room_until_an_upload_and_none_after_its_end() {
        let shelf = Shelf::open(None).unwrap();
        let folder = shelf.folder.clone();
        assert!(!folder.exists());

        let mut incoming = shelf.receive().await.unwrap();
        incoming.write(&Bytes::from_static(b"text")).await.unwrap();
        incoming.finish().await.unwrap();
        let place = shelf.adopt(&incoming, 7).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"text");

        drop((incoming, shelf));
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(Some(folder.path())).unwrap();

        let mut incoming = shelf.receive().await.unwrap();
        incoming
            .write(&Bytes::from_static(b"half of a te"))
            .await
            .unwrap();
        assert_eq!(fs::read_dir(shelf.incoming()).unwrap().count(), 1);
        drop(incoming);

        assert_eq!(fs::read_dir(shelf.incoming()).unwrap().count(), 0);
    }

    #[test]
    fn a_catalogue_that_is_no_json_is_an_error_not_a_lost_library() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(Some(folder.path())).unwrap();
        fs::write(shelf.catalog(), "{").unwrap();
        assert!(shelf.read_catalog().is_err());
    }
}
