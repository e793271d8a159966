//! A real directory, changed in the ways people and programs change it.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::retrieval::SearchQuery;

struct Bench {
    directory: TempDir,
    folder: Arc<Folder>,
    index: Arc<LocalIndex>,
}

impl Bench {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        for (path, text) in files {
            write(directory.path(), path, text);
        }
        let index = Arc::new(LocalIndex::new().unwrap());
        let folder = Arc::new(Folder::new(directory.path(), Arc::clone(&index)));
        Self {
            directory,
            folder,
            index,
        }
    }

    fn sync(&self) -> Vec<Progress> {
        let told = Mutex::new(Vec::new());
        self.folder
            .sync(&|progress| told.lock().unwrap().push(progress))
            .unwrap();
        told.into_inner().unwrap()
    }

    /// The names of the files that a search finds.
    fn find(&self, text: &str) -> Vec<String> {
        let mut found: Vec<_> = self
            .index
            .find(&SearchQuery::new(text))
            .unwrap()
            .passages
            .into_iter()
            .map(|passage| passage.source.filename)
            .collect();
        found.sort();
        found
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn files_are_found_with_the_workspace_of_their_folder() {
    let bench = Bench::new(&[
        ("top.md", "# Top\n\nzebra"),
        ("legal/deep/a.txt", "zebra"),
        ("hr/b.md", "zebra"),
        (".git/c.md", "zebra"),
        ("~$top.md", "zebra"),
    ]);

    let told = bench.sync();

    assert_eq!(bench.find("zebra"), ["a.txt", "b.md", "top.md"]);
    let workspaces: Vec<_> = bench
        .folder
        .workspaces()
        .into_iter()
        .map(|workspace| (workspace.id.0, workspace.name))
        .collect();
    let top = bench
        .directory
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    assert_eq!(
        workspaces,
        [(1, top), (2, "hr".to_owned()), (3, "legal".to_owned())]
    );
    let files: Vec<_> = bench
        .folder
        .files()
        .into_iter()
        .map(|file| (file.filename, file.title, file.workspace.id.0))
        .collect();
    assert_eq!(
        files,
        [
            ("b.md".to_owned(), "b".to_owned(), 2),
            ("a.txt".to_owned(), "a".to_owned(), 3),
            ("top.md".to_owned(), "Top".to_owned(), 1)
        ]
    );
    assert_eq!(told.first(), Some(&Progress::Found { files: 3 }));
    assert_eq!(
        told.last(),
        Some(&Progress::Indexed {
            size: Size {
                documents: 3,
                passages: 3
            }
        })
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_found() {
    let bench = Bench::new(&[
        ("a.md", "zebra"),
        ("broken.docx", "zebra"),
        ("image.png", "zebra"),
    ]);

    let skipped = |told: Vec<Progress>| {
        let path = |progress| {
            if let Progress::Skipped { path, reason } = progress {
                Some((path, !reason.is_empty()))
            } else {
                None
            }
        };
        told.into_iter().filter_map(path).collect::<Vec<_>>()
    };

    assert_eq!(
        skipped(bench.sync()),
        [
            ("broken.docx".to_owned(), true),
            ("image.png".to_owned(), true)
        ]
    );
    assert_eq!(bench.find("zebra"), ["a.md"]);
    assert_eq!(
        bench.sync(),
        [],
        "nothing changed, so nothing is told twice"
    );
}

#[test]
fn an_edited_file_keeps_its_number_and_another_run_gives_the_same() {
    let bench = Bench::new(&[("a.md", "zebra"), ("b.md", "zebra")]);
    bench.sync();
    let before = bench.folder.files();

    write(bench.directory.path(), "a.md", "giraffe and lion");
    write(bench.directory.path(), "0.md", "first by name");
    bench.sync();

    assert_eq!(bench.find("zebra"), ["b.md"]);
    assert_eq!(bench.find("giraffe"), ["a.md"]);
    let number = |files: &[File], name: &str| {
        files
            .iter()
            .find(|file| file.filename == name)
            .map(|file| file.file_id)
    };
    let after = bench.folder.files();
    assert_eq!(number(&before, "a.md"), number(&after, "a.md"));
    let again = Folder::new(bench.directory.path(), Arc::new(LocalIndex::new().unwrap()));
    again.sync(&|_| {}).unwrap();
    assert_eq!(again.files(), after);
    let a = number(&after, "a.md").unwrap();
    assert_eq!(
        again.file(a).map(|file| file.path),
        Some(bench.directory.path().join("a.md"))
    );
    assert_eq!(again.file(-1), None);
}

#[test]
fn a_later_folder_takes_no_number_from_another() {
    let bench = Bench::new(&[("m/a.md", "zebra")]);
    bench.sync();

    write(bench.directory.path(), "a/b.md", "zebra");
    bench.sync();
    fs::remove_dir_all(bench.directory.path().join("m")).unwrap();
    write(bench.directory.path(), "z/c.md", "zebra");
    bench.sync();

    let workspaces: Vec<_> = bench
        .folder
        .workspaces()
        .into_iter()
        .skip(1)
        .map(|workspace| (workspace.id.0, workspace.name))
        .collect();
    assert_eq!(workspaces, [(3, "a".to_owned()), (4, "z".to_owned())]);
    assert_eq!(bench.find("zebra"), ["b.md", "c.md"]);
}

#[test]
fn a_file_that_breaks_or_goes_is_no_longer_found() {
    let bench = Bench::new(&[("a.docx", ""), ("b.md", "zebra"), ("c.html", "<p>zebra")]);
    bench.sync();

    fs::rename(
        bench.directory.path().join("c.html"),
        bench.directory.path().join("c.docx"),
    )
    .unwrap();
    fs::remove_file(bench.directory.path().join("b.md")).unwrap();
    let told = bench.sync();

    assert!(bench.find("zebra").is_empty());
    assert!(bench.folder.files().is_empty());
    assert!(told.contains(&Progress::Removed {
        path: "b.md".to_owned()
    }));
}

#[test]
fn a_folder_that_is_gone_is_an_error_and_leaves_the_index_as_it_was() {
    let bench = Bench::new(&[("a.md", "zebra")]);
    bench.sync();
    fs::rename(
        bench.directory.path(),
        bench.directory.path().with_extension("moved"),
    )
    .unwrap();

    let error = bench.folder.sync(&|_| {}).unwrap_err();

    assert!(matches!(error, Error::Unreadable { .. }));
    assert_eq!(bench.find("zebra"), ["a.md"]);
    fs::rename(
        bench.directory.path().with_extension("moved"),
        bench.directory.path(),
    )
    .unwrap();
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;

    let outside = TempDir::new().unwrap();
    write(outside.path(), "x.md", "zebra");
    let bench = Bench::new(&[("sub/a.md", "zebra")]);
    symlink(
        bench.directory.path(),
        bench.directory.path().join("sub/circle"),
    )
    .unwrap();
    symlink(
        outside.path().join("x.md"),
        bench.directory.path().join("linked.md"),
    )
    .unwrap();
    symlink(
        outside.path().join("none.md"),
        bench.directory.path().join("dangling.md"),
    )
    .unwrap();

    bench.sync();

    assert_eq!(bench.find("zebra"), ["a.md", "linked.md"]);
}

/// Watches the bench's folder and hands out what is indexed, reading by reading.
fn watched(
    bench: &Bench,
) -> (
    impl Future<Output = ()> + use<>,
    mpsc::UnboundedReceiver<Size>,
) {
    let (told, heard) = mpsc::unbounded_channel();
    let report = move |progress| {
        if let Progress::Indexed { size } = progress {
            let _closed = told.send(size);
        }
    };
    (
        Arc::clone(&bench.folder).watch(report, |error| panic!("{error}")),
        heard,
    )
}

#[cfg(unix)]
#[tokio::test]
async fn changes_are_picked_up_however_they_are_made() {
    let outside = TempDir::new().unwrap();
    write(outside.path(), "x.md", "walrus");
    let bench = Bench::new(&[("a.md", "zebra"), ("b.md", "zebra")]);
    std::os::unix::fs::symlink(
        outside.path().join("x.md"),
        bench.directory.path().join("linked.md"),
    )
    .unwrap();
    let root = bench.directory.path().to_owned();
    let (watch, mut heard) = watched(&bench);

    let changing = async {
        let mut until = async |question: &str, names: &[&str]| {
            while bench.find(question) != names {
                tokio::time::timeout(Duration::from_secs(60), heard.recv())
                    .await
                    .expect(question)
                    .unwrap();
            }
        };
        until("zebra", &["a.md", "b.md"]).await;
        write(&root, "new/c.md", "zebra");
        until("zebra", &["a.md", "b.md", "c.md"]).await;
        write(&root, ".a.md.tmp", "giraffe");
        fs::rename(root.join(".a.md.tmp"), root.join("a.md")).unwrap();
        until("giraffe", &["a.md"]).await;
        fs::remove_file(root.join("b.md")).unwrap();
        until("zebra", &["c.md"]).await;
        write(outside.path(), "x.md", "narwhal");
        until("narwhal", &["linked.md"]).await;
    };

    tokio::select! {
        () = watch => panic!("watching ended"),
        () = changing => {}
    }
}
