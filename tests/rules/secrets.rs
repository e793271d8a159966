//! No test starts a gateway in a way of its own: what comes out of each is searched for secrets by `tests/watch`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// What starts a gateway, or leads to it.
const WAYS: [&str; 3] = [
    r"CARGO_BIN_EXE",
    r"\bhttp::(\{[^}]*\b)?(router|admin)\b",
    r"\bgroundwire::(\{[^}]*\b)?cli\b",
];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_gateway_of_a_test_is_watched() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = Vec::new();
    rust_files(&tests, &mut files);
    let ways: Vec<Regex> = WAYS.iter().map(|way| Regex::new(way).unwrap()).collect();
    let mut starts = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&tests).unwrap().to_string_lossy();
        if name.starts_with("watch/") || name == "rules/secrets.rs" {
            continue;
        }
        for way in &ways {
            assert!(
                !way.is_match(&text),
                "tests/{name} starts a gateway by itself ({way}); `watch::router` and `watch::program` do it so that secrets are looked for"
            );
        }
        if text.contains("watch::program(") {
            starts += 1;
            assert!(
                text.contains("watch::look("),
                "tests/{name} starts the program and gives nothing of what it says to `watch::look`"
            );
        }
        starts += text.matches("watch::router(").count();
        assert!(
            !(text.contains("rogram") && text.contains(".send()")),
            "tests/{name} asks the program by itself; `watch::send` does it and looks at the answer"
        );
    }
    assert!(starts >= 8, "{starts} are all that were found");
}
