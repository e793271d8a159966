//! Files in OpenAI's shape.

use serde::Serialize;

/// A file as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileObject {
    /// Its id.
    pub id: String,
    object: &'static str,
    /// Its size in bytes; 0 where the service does not tell.
    pub bytes: u64,
    /// When it was stored, in Unix seconds; 0 where the service does not tell.
    pub created_at: i64,
    /// Its name.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// How far it is.
    pub status: FileState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_details: Option<String>,
}

/// How far a file is on its way into search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Stored, not yet found by search.
    Uploaded,
    /// Found by search.
    Processed,
    /// It will never be found.
    Error,
}

/// That a file was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeletedFile {
    id: String,
    object: &'static str,
    deleted: bool,
}

impl FileObject {
    /// A file of which only id and name are known.
    pub fn new(id: String, filename: String, status: FileState) -> Self {
        Self {
            id,
            object: "file",
            bytes: 0,
            created_at: 0,
            filename,
            purpose: "assistants".to_owned(),
            status,
            status_details: None,
        }
    }
}

impl DeletedFile {
    /// That the file `id` was deleted.
    pub fn new(id: String) -> Self {
        Self {
            id,
            object: "file",
            deleted: true,
        }
    }
}
