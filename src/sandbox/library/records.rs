//! What the library knows of a workspace, a tag and a file.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::retrieval;

/// A workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Workspace {
    /// Its number.
    pub(crate) id: i64,
    /// Its name; need not be unique.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) description: String,
    /// When it was made.
    #[serde(with = "moment")]
    pub(crate) created_at: Timestamp,
    /// When its name or description changed last.
    #[serde(with = "moment")]
    pub(crate) updated_at: Timestamp,
}

/// A label of documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tag {
    /// Its number.
    pub(crate) id: i64,
    /// Its name.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) description: String,
    /// Whether the system may assign it; kept and told, never acted on here.
    pub(crate) auto_assign: bool,
    /// When it was made, which is also when it changed last: tags have no update.
    #[serde(with = "moment")]
    pub(crate) created_at: Timestamp,
}

impl From<&Tag> for retrieval::Tag {
    fn from(tag: &Tag) -> Self {
        Self {
            id: tag.id,
            name: tag.name.clone(),
        }
    }
}

/// A file and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Its number.
    pub(crate) id: i64,
    /// The workspace it is in.
    pub(crate) workspace_id: i64,
    /// The name it was uploaded under. LightOn makes stored names unique; here the original stays, so that citations read well.
    pub(crate) filename: String,
    /// Its title.
    pub(crate) title: String,
    /// Its size in bytes.
    pub(crate) size_bytes: u64,
    /// How many pages it has; 0 when it could not be read.
    pub(crate) total_pages: u32,
    /// Its tags, by number.
    pub(crate) tags: Vec<i64>,
    /// Where it came from, when a data source told.
    pub(crate) origin: Option<Origin>,
    /// When it came.
    pub(crate) created_at: Timestamp,
    /// When it or what is said of it changed last.
    pub(crate) updated_at: Timestamp,
    /// The upload it came with; documents that were there at the start have none.
    pub(crate) upload_session: Option<uuid::Uuid>,
    /// How far it looks to be.
    pub(crate) life: Life,
    /// Where its bytes are.
    pub(crate) body: Body,
}

impl File {
    /// The file type: the name's extension in lower case, empty without one.
    pub(crate) fn extension(&self) -> String {
        extension(&self.filename)
    }
}

/// The extension of `filename` in lower case, empty without one.
pub(crate) fn extension(filename: &str) -> String {
    match filename.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
        Some(_) | None => String::new(),
    }
}

/// `filename` without its extension.
pub(crate) fn stem(filename: &str) -> &str {
    match filename.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        Some(_) | None => filename,
    }
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// In the program.
    Static(&'static str),
    /// On disk, in a folder that is only read.
    Folder(PathBuf),
    /// On the shelf of uploads.
    Shelf(PathBuf),
}

/// Where a document came from in a third-party system (LightOn's `external_metadata`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Its number there.
    pub(crate) external_id: String,
    /// Its type there.
    pub(crate) doc_type: String,
    /// What else is said of it.
    pub(crate) additional_metadata: Map<String, Value>,
}

impl Origin {
    /// The shape of the files API: three fields.
    pub(crate) fn in_files(&self) -> Value {
        json!({
            "external_id": self.external_id,
            "doc_type": self.doc_type,
            "additional_metadata": self.additional_metadata,
        })
    }

    /// The shape of search results: `external_url` is lifted out of the additional metadata.
    pub(crate) fn in_search(&self) -> Value {
        let mut rest = self.additional_metadata.clone();
        let url = rest.shift_remove("external_url").unwrap_or(Value::Null);
        json!({"external_id": self.external_id, "external_url": url, "additional_metadata": rest})
    }
}

/// How far ingestion looks to be.
///
/// A file is indexed before its upload is answered; its status still lives LightOn's life, because programs poll it. Each
/// look at the file moves it one step, and after `settle` it has arrived without being looked at.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    step: Step,
    failure: Option<String>,
    born: Instant,
    settle: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Pending,
    Parsing,
    Embedding,
    Over,
}

impl Life {
    /// The life of a new upload; `failure` says why it could not be read.
    pub(crate) fn begin(failure: Option<String>, settle: Duration) -> Self {
        Self {
            step: Step::Pending,
            failure,
            born: Instant::now(),
            settle,
        }
    }

    /// A life that is over: the file was here before.
    pub(crate) fn over(failure: Option<String>) -> Self {
        Self {
            step: Step::Over,
            ..Self::begin(failure, Duration::ZERO)
        }
    }

    /// Moves on by one step, or to the end when the file has settled.
    pub(crate) fn look(&mut self) {
        self.step = match self.step {
            _ if self.born.elapsed() >= self.settle => Step::Over,
            Step::Pending => Step::Parsing,
            Step::Parsing if self.failure.is_some() => Step::Over,
            Step::Parsing => Step::Embedding,
            Step::Embedding | Step::Over => Step::Over,
        };
    }

    /// LightOn's word for the step.
    pub(crate) fn status(&self) -> &'static str {
        match (self.step, &self.failure) {
            (Step::Pending, _) => "pending",
            (Step::Parsing, _) => "parsing",
            (Step::Embedding, _) => "embedding",
            (Step::Over, None) => "embedded",
            (Step::Over, Some(_)) => "parsing_failed",
        }
    }

    /// Why the file could not be read, once that has come out.
    pub(crate) fn status_detail(&self) -> Option<&str> {
        match self.step {
            Step::Over => self.failure(),
            Step::Pending | Step::Parsing | Step::Embedding => None,
        }
    }

    /// Why the file cannot be read, whether or not that has come out.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// Moments in the catalogue, in RFC 3339.
pub(super) mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `moment`.
    pub(crate) fn serialize<S: Serializer>(
        moment: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    /// Reads a moment.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_moves_a_file_one_step_towards_embedded() {
        let mut life = Life::begin(None, Duration::MAX);

        let seen: Vec<_> = (0..5)
            .map(|_| {
                let status = life.status();
                life.look();
                status
            })
            .collect();

        assert_eq!(
            seen,
            ["pending", "parsing", "embedding", "embedded", "embedded"]
        );
    }

    #[test]
    fn an_unreadable_file_ends_in_parsing_failed_and_says_why_only_then() {
        let mut life = Life::begin(Some("no text".to_owned()), Duration::MAX);
        assert_eq!((life.status(), life.status_detail()), ("pending", None));
        life.look();
        assert_eq!((life.status(), life.status_detail()), ("parsing", None));
        life.look();
        assert_eq!(
            (life.status(), life.status_detail()),
            ("parsing_failed", Some("no text"))
        );
    }

    #[test]
    fn a_settled_file_has_arrived_at_the_first_look() {
        let mut life = Life::begin(None, Duration::ZERO);
        life.look();
        assert_eq!(life.status(), "embedded");
    }

    #[test]
    fn names_without_an_extension_are_their_own_stem() {
        for (name, expected) in [
            ("a.PDF", ("a", "pdf")),
            ("a.b.txt", ("a.b", "txt")),
            ("README", ("README", "")),
            (".env", (".env", "")),
        ] {
            assert_eq!((stem(name), extension(name).as_str()), expected, "{name}");
        }
    }

    #[test]
    fn search_lifts_the_external_url_out_of_the_metadata() {
        let origin = Origin {
            external_id: "INC-7".to_owned(),
            doc_type: "incident".to_owned(),
            additional_metadata: Map::from_iter([
                ("external_url".to_owned(), json!("https://desk.example/7")),
                ("version".to_owned(), json!(2)),
            ]),
        };
        assert_eq!(
            origin.in_search(),
            json!({"external_id": "INC-7", "external_url": "https://desk.example/7", "additional_metadata": {"version": 2}})
        );
    }
}
