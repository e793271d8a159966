//! Everything that changes the library. Each change takes its turn, does what can fail, and shows the result last.

use std::{collections::BTreeSet, fs};

use jiff::Timestamp;
use uuid::Uuid;

use crate::retrieval::local::Page;

use super::{
    Body, Error, FIRST_MADE_WORKSPACE, FIRST_UPLOAD, File, Incoming, Library, Origin, Tag,
    Workspace, count_pages, is_readable, read,
    records::Life,
    shelf::{Catalog, Entry},
    stem,
};

/// A document to add.
pub(crate) struct Upload {
    /// The workspace it goes to, which exists.
    pub(crate) workspace_id: i64,
    /// Its file name.
    pub(crate) filename: String,
    /// Its title; the file name without extension when there is none.
    pub(crate) title: Option<String>,
    /// Its tags, which exist.
    pub(crate) tags: Vec<i64>,
    /// Where it came from.
    pub(crate) origin: Option<Origin>,
    /// Its bytes.
    pub(crate) content: Incoming,
}

/// What became of an upload.
pub(crate) enum Stored {
    /// It is a new file.
    New(File),
    /// Its `external_id` is in the workspace already, as this file, which is left as it is.
    There(File),
}

/// What to change of a file; `None` leaves it as it is.
#[derive(Default)]
pub(crate) struct Edit {
    /// The new title.
    pub(crate) title: Option<String>,
    /// All of its tags, which exist.
    pub(crate) tags: Option<Vec<i64>>,
    /// Where it came from.
    pub(crate) origin: Option<Origin>,
    /// New bytes, and the name they came under.
    pub(crate) content: Option<(String, Incoming)>,
}

impl Library {
    /// Makes a workspace.
    pub(crate) fn create_workspace(
        &self,
        name: String,
        description: String,
    ) -> Result<Workspace, Error> {
        let _turn = self.take_turn();
        let now = Timestamp::now();
        let workspace = {
            let mut holdings = self.holdings();
            let id = next(holdings.workspaces.keys(), FIRST_MADE_WORKSPACE);
            let workspace = Workspace {
                id,
                name,
                description,
                created_at: now,
                updated_at: now,
            };
            holdings.workspaces.insert(id, workspace.clone());
            workspace
        };
        self.write_catalog()?;
        Ok(workspace)
    }

    /// Changes the name or the description of workspace `id`; `None` when there is no such workspace.
    pub(crate) fn edit_workspace(
        &self,
        id: i64,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Option<Workspace>, Error> {
        let _turn = self.take_turn();
        let Some(before) = self.workspace(id) else {
            return Ok(None);
        };
        let renamed = name.as_ref().is_some_and(|name| *name != before.name);
        let after = Workspace {
            name: name.unwrap_or(before.name),
            description: description.unwrap_or(before.description),
            updated_at: Timestamp::now(),
            ..before
        };
        self.holdings().workspaces.insert(id, after.clone());
        if renamed {
            self.index_again(|file| file.workspace_id == id)?;
        }
        self.write_catalog()?;
        Ok(Some(after))
    }

    /// Deletes workspace `id` with its files; false when there is no such workspace.
    pub(crate) fn delete_workspace(&self, id: i64) -> Result<bool, Error> {
        let _turn = self.take_turn();
        if self.workspace(id).is_none() {
            return Ok(false);
        }
        let files: Vec<i64> = self
            .holdings()
            .files
            .values()
            .filter(|file| file.workspace_id == id)
            .map(|file| file.id)
            .collect();
        self.take_away(&files)?;
        self.holdings().workspaces.remove(&id);
        self.write_catalog()?;
        Ok(true)
    }

    /// Makes a tag.
    pub(crate) fn create_tag(
        &self,
        name: String,
        description: String,
        auto_assign: bool,
    ) -> Result<Tag, Error> {
        let _turn = self.take_turn();
        let tag = {
            let mut holdings = self.holdings();
            let id = next(holdings.tags.keys(), 1);
            let tag = Tag {
                id,
                name,
                description,
                auto_assign,
                created_at: Timestamp::now(),
            };
            holdings.tags.insert(id, tag.clone());
            tag
        };
        self.write_catalog()?;
        Ok(tag)
    }

    /// Deletes tag `id`, from its documents too; false when there is no such tag.
    pub(crate) fn delete_tag(&self, id: i64) -> Result<bool, Error> {
        let _turn = self.take_turn();
        if self.holdings().tags.remove(&id).is_none() {
            return Ok(false);
        }
        let mut carriers = BTreeSet::new();
        for file in self
            .holdings()
            .files
            .values_mut()
            .filter(|file| file.tags.contains(&id))
        {
            file.tags.retain(|tag| *tag != id);
            carriers.insert(file.id);
        }
        self.index_again(|file| carriers.contains(&file.id))?;
        self.write_catalog()?;
        Ok(true)
    }

    /// Adds a document and indexes it. One that cannot be read is kept, with the reason in its status.
    pub(crate) fn add(&self, upload: Upload) -> Result<Stored, Error> {
        let _turn = self.take_turn();
        let external_id = upload
            .origin
            .as_ref()
            .map(|origin| origin.external_id.as_str());
        if let Some(there) =
            external_id.and_then(|id| self.file_with_origin(upload.workspace_id, id))
        {
            return Ok(Stored::There(there));
        }
        let now = Timestamp::now();
        let (pages, failure) = self.read_upload(&upload.filename, &upload.content)?;
        let id = next(self.holdings().files.keys(), FIRST_UPLOAD);
        let file = File {
            id,
            workspace_id: upload.workspace_id,
            title: upload
                .title
                .unwrap_or_else(|| stem(&upload.filename).to_owned()),
            filename: upload.filename,
            size_bytes: upload.content.size_bytes(),
            total_pages: count_pages(&pages),
            tags: upload.tags,
            origin: upload.origin,
            created_at: now,
            updated_at: now,
            upload_session: Some(Uuid::new_v4()),
            life: Life::begin(failure, self.settle),
            body: Body::Shelf(self.shelf.adopt(&upload.content, id)?),
        };
        self.show(&file, pages)?;
        self.write_catalog()?;
        Ok(Stored::New(file))
    }

    /// Changes file `id` and indexes it anew; `None` when there is no such file.
    pub(crate) fn edit(&self, id: i64, edit: Edit) -> Result<Option<File>, Error> {
        let _turn = self.take_turn();
        let Some(before) = self.file(id) else {
            return Ok(None);
        };
        let mut file = File {
            title: edit.title.unwrap_or(before.title),
            tags: edit.tags.unwrap_or(before.tags),
            origin: edit.origin.or(before.origin),
            updated_at: Timestamp::now(),
            ..before
        };
        let pages = match edit.content {
            None => self.pages(&file)?,
            Some((filename, content)) => {
                let (pages, failure) = self.read_upload(&filename, &content)?;
                file.filename = filename;
                file.size_bytes = content.size_bytes();
                file.total_pages = count_pages(&pages);
                file.life = Life::begin(failure, self.settle);
                file.body = Body::Shelf(self.shelf.adopt(&content, id)?);
                pages
            }
        };
        self.show(&file, pages)?;
        self.write_catalog()?;
        Ok(Some(file))
    }

    /// Deletes `ids`, all of them or, when one is unknown, none and false.
    pub(crate) fn delete(&self, ids: &[i64]) -> Result<bool, Error> {
        let _turn = self.take_turn();
        let known = {
            let holdings = self.holdings();
            ids.iter().all(|id| holdings.files.contains_key(id))
        };
        if !known {
            return Ok(false);
        }
        self.take_away(ids)?;
        self.write_catalog()?;
        Ok(true)
    }

    fn read_upload(
        &self,
        filename: &str,
        content: &Incoming,
    ) -> Result<(Vec<Page>, Option<String>), Error> {
        // What cannot be read anyway, a film perhaps, is not brought into memory to find that out.
        let bytes = match is_readable(filename) {
            true => fs::read(content.path())?,
            false => Vec::new(),
        };
        Ok(match read(filename, &bytes) {
            Ok(pages) => (pages.pages, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        })
    }

    /// Puts `file` into the index, where it can be read, and among the holdings.
    fn show(&self, file: &File, pages: Vec<Page>) -> Result<(), Error> {
        match file.life.failure() {
            None => self.index.put(self.document(file, pages))?,
            Some(_) => self.index.remove(file.id)?,
        }
        self.holdings().files.insert(file.id, file.clone());
        Ok(())
    }

    fn index_again(&self, wanted: impl Fn(&File) -> bool) -> Result<(), Error> {
        let files: Vec<File> = self
            .holdings()
            .files
            .values()
            .filter(|file| wanted(file))
            .cloned()
            .collect();
        for file in files.iter().filter(|file| file.life.failure().is_none()) {
            self.index.put(self.document(file, self.pages(file)?))?;
        }
        Ok(())
    }

    fn take_away(&self, ids: &[i64]) -> Result<(), Error> {
        for id in ids {
            self.index.remove(*id)?;
            self.shelf.discard(*id)?;
            self.holdings().files.remove(id);
        }
        Ok(())
    }

    /// Writes down what the next start has to know; nothing when there will be none.
    pub(super) fn write_catalog(&self) -> Result<(), Error> {
        if !self.shelf.keeps() {
            return Ok(());
        }
        let catalog = {
            let holdings = self.holdings();
            Catalog {
                workspaces: holdings
                    .workspaces
                    .range(FIRST_MADE_WORKSPACE..)
                    .map(|(_, workspace)| workspace.clone())
                    .collect(),
                folders: holdings.folders.clone(),
                tags: holdings.tags.values().cloned().collect(),
                files: holdings
                    .files
                    .range(FIRST_UPLOAD..)
                    .map(|(_, file)| Entry {
                        id: file.id,
                        workspace_id: file.workspace_id,
                        workspace_name: holdings
                            .workspaces
                            .get(&file.workspace_id)
                            .map(|w| w.name.clone())
                            .unwrap_or_default(),
                        filename: file.filename.clone(),
                        title: file.title.clone(),
                        tags: file.tags.clone(),
                        origin: file.origin.clone(),
                        created_at: file.created_at,
                        updated_at: file.updated_at,
                        upload_session: file.upload_session,
                    })
                    .collect(),
            }
        };
        Ok(self.shelf.write_catalog(&catalog)?)
    }
}

/// The number after the highest of `taken`, and `first` at least.
fn next<'a>(taken: impl DoubleEndedIterator<Item = &'a i64>, first: i64) -> i64 {
    taken
        .last()
        .map_or(first, |highest| first.max(highest.saturating_add(1)))
}
