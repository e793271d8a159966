//! `groundwire upload`: documents, several at a time, through a gateway to where search finds them.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{
    Body,
    multipart::{Form, Part},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::io::ReaderStream;

use super::{Failure, arguments::Upload, gateway::Gateway, terminal};
use crate::config::Environment;

/// How many files are sent at once.
const AT_ONCE: usize = 4;

/// How often a file's state is asked for; LightOn's documentation asks every two seconds.
const POLL: Duration = Duration::from_secs(2);

/// How long a file may take to be found by search before it is given up.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How often in a row its state may fail to be told.
const LOST: u32 = 5;

/// What is read ahead of a file, in bytes.
const PIECE: usize = 64 << 10;

/// The types of files that are taken out of folders: those that LightOn takes (its files tutorial). A file that is named is always sent.
const FORMATS: [&str; 21] = [
    "csv", "doc", "docx", "htm", "html", "jpeg", "jpg", "json", "md", "odp", "odt", "pdf", "png",
    "ppt", "pptx", "txt", "xhtml", "xls", "xlsx", "yaml", "yml",
];

/// Sends every file; one that fails does not stop the others.
pub(super) async fn run(args: Upload, env: &Environment) -> Result<(), Failure> {
    let gateway = Gateway::new(args.reach, env)?;
    let files = expand(&args.files)?;
    let bar = progress(files.iter().map(|file| file.bytes).sum());
    let job = Job {
        gateway: &gateway,
        workspace: args.workspace,
        until: if args.wait {
            Until::Searchable
        } else {
            Until::Stored
        },
        bar: &bar,
    };
    let mut outcomes = stream::iter(&files)
        .map(|file| {
            let job = &job;
            async move { (file, job.send(file).await) }
        })
        .buffer_unordered(AT_ONCE);
    let mut failures = Vec::new();
    while let Some((file, outcome)) = outcomes.next().await {
        let path = terminal::tame(&file.path.display().to_string());
        match outcome {
            Ok(stored) => {
                let line = format!("{}\t{}\t{path}", stored.id, stored.state);
                bar.suspend(|| terminal::data(&line))?;
            }
            Err(failure) => {
                bar.suspend(|| terminal::talk(&format!("{path}: {failure}")));
                failures.push(path);
            }
        }
    }
    drop(outcomes);
    bar.finish_and_clear();
    summary(files.len(), &failures)
}

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    name: String,
    bytes: u64,
}

/// What became of a file.
#[derive(Debug)]
struct Stored {
    id: String,
    state: String,
}

/// When a file is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It is stored.
    Stored,
    /// Search finds it.
    Searchable,
}

struct Job<'j> {
    gateway: &'j Gateway,
    workspace: Option<i64>,
    until: Until,
    bar: &'j ProgressBar,
}

impl Job<'_> {
    async fn send(&self, file: &File) -> Result<Stored, Failure> {
        let opened = tokio::fs::File::open(&file.path).await;
        let opened = opened.map_err(|error| unreadable(&file.path, &error))?;
        let bar = self.bar.clone();
        let bytes = ReaderStream::with_capacity(opened, PIECE).inspect(move |piece| {
            if let Ok(piece) = piece {
                bar.inc(u64::try_from(piece.len()).unwrap_or(0));
            }
        });
        let part = Part::stream(Body::wrap_stream(bytes)).file_name(file.name.clone());
        let mut form = Form::new().text("purpose", "assistants");
        if let Some(workspace) = self.workspace {
            form = form.text("workspace_id", workspace.to_string());
        }
        let stored = self.gateway.upload(form.part("file", part)).await?;
        let stored = self.read(&stored)?;
        match self.until {
            Until::Stored => Ok(stored),
            Until::Searchable => self.wait(stored).await,
        }
    }

    /// Asks for the file's state until search finds it or never will.
    async fn wait(&self, mut stored: Stored) -> Result<Stored, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut lost = 0;
        while stored.state != "processed" {
            if Instant::now() > deadline {
                let minutes = PATIENCE.as_secs() / 60;
                return Err(Failure::Running(format!(
                    "it is stored as {}, but search did not find it within {minutes} minutes",
                    stored.id
                )));
            }
            sleep(POLL).await;
            match self.gateway.file(&stored.id).await {
                Ok(file) => {
                    stored = self.read(&file)?;
                    lost = 0;
                }
                Err(failure) if lost + 1 >= LOST => return Err(failure),
                Err(_) => lost += 1,
            }
        }
        Ok(stored)
    }

    fn read(&self, file: &Value) -> Result<Stored, Failure> {
        let text = |key: &str| file.get(key).and_then(Value::as_str);
        let (Some(id), Some(state)) = (text("id"), text("status")) else {
            return Err(self.gateway.stranger());
        };
        if state == "error" {
            let reason = terminal::tame(text("status_details").unwrap_or("no reason given"));
            return Err(Failure::Running(format!(
                "it is stored as {id}, but search will not find it: {reason}"
            )));
        }
        Ok(Stored {
            id: terminal::tame(id),
            state: terminal::tame(state),
        })
    }
}

/// The files that `paths` name, those of folders included, each once.
fn expand(paths: &[PathBuf]) -> Result<Vec<File>, Failure> {
    let mut found = BTreeSet::new();
    let mut files = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let mut named = Vec::new();
        if metadata.is_dir() {
            walk(path, &mut named).map_err(|error| unreadable(path, &error))?;
            if named.is_empty() {
                return Err(Failure::Running(format!(
                    "{}: there is no document in it",
                    path.display()
                )));
            }
        } else {
            named.push(path.clone());
        }
        for path in named {
            let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
            let name = path.file_name().map(|name| name.to_string_lossy());
            let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if let (Some(name), true) = (name, found.insert(real)) {
                files.push(File {
                    name: name.into_owned(),
                    bytes: metadata.len(),
                    path,
                });
            }
        }
    }
    Ok(files)
}

/// Adds the documents below `folder`, in the order of their names. Hidden ones stay where they are.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries: io::Result<Vec<_>> = fs::read_dir(folder)?.collect();
    let mut entries = entries?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link is not followed: it may lead out of the folder, or round in a circle.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&path, files)?;
        } else if kind.is_file() && is_document(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_document(path: &Path) -> bool {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy());
    extension.is_some_and(|extension| FORMATS.contains(&extension.to_ascii_lowercase().as_str()))
}

fn progress(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("sending {wide_bar} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn summary(all: usize, failures: &[String]) -> Result<(), Failure> {
    if failures.is_empty() {
        terminal::talk(&format!("{all} of {all} files are stored"));
        return Ok(());
    }
    Err(Failure::Running(format!(
        "{} of {all} files failed: {}",
        failures.len(),
        failures.join(", ")
    )))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Running(format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_documents_and_named_files_are_always_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("deep/er")).unwrap();
        fs::create_dir_all(path(".git")).unwrap();
        for name in [
            "b.md",
            "a.PDF",
            "deep/er/c.txt",
            ".git/d.md",
            ".e.md",
            "f.exe",
        ] {
            fs::write(path(name), "x").unwrap();
        }

        let names = |paths: &[PathBuf]| -> Vec<String> {
            let files = expand(paths).unwrap();
            files.into_iter().map(|file| file.name).collect()
        };

        assert_eq!(
            names(&[folder.path().to_owned()]),
            ["a.PDF", "b.md", "c.txt"]
        );
        assert_eq!(
            names(&[path("f.exe"), path("b.md"), path("deep"), path("b.md")]),
            ["f.exe", "b.md", "c.txt"]
        );
        for missing in ["nothing.md", ".git/er", "x/y"] {
            assert!(expand(&[path(missing)]).is_err(), "{missing}");
        }
    }
}
