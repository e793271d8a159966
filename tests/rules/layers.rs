//! Who may know whom: the table of layers, held against every `crate::` path in `src/`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A module and what it may use, top layer last; `main` and `lib` may use everything.
const LAYERS: [(&str, &[&str]); 17] = [
    ("walk", &[]),
    ("openai", &["walk"]),
    ("sse", &[]),
    ("config", &[]),
    ("budget", &[]),
    ("alarm", &[]),
    ("outbound", &["config"]),
    ("trace", &[]),
    ("telemetry", &["config", "trace"]),
    ("access", &["config"]),
    ("retrieval", &["config", "budget", "outbound", "walk"]),
    (
        "upstream",
        &["config", "alarm", "budget", "openai", "outbound", "sse"],
    ),
    (
        "rag",
        &[
            "config",
            "trace",
            "openai",
            "sse",
            "access",
            "retrieval",
            "upstream",
        ],
    ),
    (
        "app",
        &[
            "config",
            "telemetry",
            "access",
            "outbound",
            "retrieval",
            "upstream",
            "rag",
        ],
    ),
    // `config` for the numbers of workspaces, which stand in a search query.
    ("sandbox", &["config", "openai", "sse", "retrieval"]),
    (
        "http",
        &[
            "config",
            "alarm",
            "trace",
            "telemetry",
            "access",
            "retrieval",
            "upstream",
            "rag",
            "app",
            "openai",
            "sse",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "alarm",
            "telemetry",
            "access",
            "retrieval",
            "upstream",
            "rag",
            "app",
            "openai",
            "sse",
            "http",
            "sandbox",
        ],
    ),
];

#[test]
fn every_module_uses_only_the_layers_below_it() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut checked = BTreeSet::new();
    for file in rust_files(root) {
        let inside = file.strip_prefix(root).unwrap();
        let module = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        if matches!(module, "main" | "lib") {
            continue;
        }
        let (_, allowed) = LAYERS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("no layer is called `{module}`"));
        for used in modules_used(&fs::read_to_string(&file).unwrap()) {
            let is_fine = used == module || allowed.contains(&used.as_str());
            assert!(
                is_fine,
                "{}: `{module}` may not use `{used}`; it may use {allowed:?}",
                inside.display()
            );
        }
        checked.insert(module.to_owned());
    }
    assert!(checked.contains("config"), "{checked:?}");
}

#[test]
fn paths_are_found_alone_and_in_groups() {
    let source = "
        use crate::access::Scope;
        use crate::{config::{self, Secret}, retrieval::{Found, Retriever},
            sse};
        //! [`crate::http`] is only named here
        fn f() -> crate::upstream::Error { crate::rag::g(\"{\") }
    ";

    let found: Vec<String> = modules_used(source).into_iter().collect();

    assert_eq!(
        found,
        ["access", "config", "rag", "retrieval", "sse", "upstream"]
    );
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The first name of each `crate::…` path, those of a group included; comments may name anything.
fn modules_used(source: &str) -> BTreeSet<String> {
    let lines = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => used.extend(heads_of_group(group)),
            None => used.extend(head(after)),
        }
    }
    used
}

/// The first name of each member of a group whose opening brace is behind us.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads: Vec<String> = head(group.trim_start()).into_iter().collect();
    let mut depth = 1;
    for (position, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.extend(head(group[position + 1..].trim_start())),
            _ => {}
        }
    }
    heads
}

/// A module's name at the beginning of `path`; a type's or a function's own name is none.
fn head(path: &str) -> Option<String> {
    let end = path
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(path.len());
    let name = &path[..end];
    LAYERS
        .iter()
        .any(|(layer, _)| *layer == name)
        .then(|| name.to_owned())
}
