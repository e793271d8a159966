//! Keys in a file of their own, which is followed by itself.

use std::{fs, os::unix::fs::symlink, path::Path};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    Program, question,
    support::{server::Server, upstream::says},
    watch,
};

const TAKEN: &str = "the new configuration is in force";

/// A file with one upstream and no search, whose keys are elsewhere.
fn main_file(upstream: &Server) -> String {
    format!(
        "keys_file = \"keys.toml\"\nrag.mode = \"off\"\nallow_overrides = false\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    )
}

/// The keys of these names, each of which is its own text.
fn keys(names: &[&str]) -> String {
    let key = |name: &&str| {
        let digest: String = Sha256::digest(name)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n")
    };
    names.iter().map(key).collect()
}

fn answering() -> Server {
    Server::new().always("/v1/chat/completions", says("x"))
}

fn folder(upstream: &Server, names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("groundwire.toml"), main_file(upstream)).unwrap();
    fs::write(folder.path().join("keys.toml"), keys(names)).unwrap();
    folder
}

async fn status(program: &Program, key: &str) -> u16 {
    let answer = program.chat_as(key, &question("x")).await;
    answer.status().as_u16()
}

/// Replaces a file as careful programs do.
fn replace(folder: &Path, name: &str, text: &str) {
    let draft = folder.join("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, folder.join(name)).unwrap();
}

#[tokio::test]
async fn a_key_that_leaves_the_file_opens_nothing_any_more() {
    let upstream = answering();
    let mut program = Program::start(folder(&upstream, &["acme", "beta"])).await;
    assert_eq!(status(&program, "acme").await, 200);
    assert_eq!(status(&program, "gamma").await, 401);

    replace(program.folder(), "keys.toml", &keys(&["beta", "gamma"]));
    program.says(TAKEN).await;

    assert_eq!(status(&program, "acme").await, 401);
    assert_eq!(status(&program, "beta").await, 200);
    assert_eq!(status(&program, "gamma").await, 200);
}

#[tokio::test]
async fn a_mounted_secret_is_taken_when_its_links_are_switched() {
    let upstream = answering();
    let folder = tempfile::tempdir().unwrap();
    for (version, name) in [("..v1", "acme"), ("..v2", "beta")] {
        let version = folder.path().join(version);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("keys.toml"), keys(&[name])).unwrap();
    }
    symlink("..v1", folder.path().join("..data")).unwrap();
    symlink("..data/keys.toml", folder.path().join("keys.toml")).unwrap();
    fs::write(folder.path().join("groundwire.toml"), main_file(&upstream)).unwrap();
    let mut program = Program::start(folder).await;
    assert_eq!(status(&program, "acme").await, 200);

    let draft = program.folder().join("..data_tmp");
    symlink("..v2", &draft).unwrap();
    fs::rename(&draft, program.folder().join("..data")).unwrap();
    program.says(TAKEN).await;

    assert_eq!(status(&program, "acme").await, 401);
    assert_eq!(status(&program, "beta").await, 200);
}

#[tokio::test]
async fn a_broken_file_is_told_by_its_own_name_and_changes_nothing() {
    let upstream = answering();
    let mut program = Program::start(folder(&upstream, &["acme"])).await;

    let broken = "limit = 3\n[[keys]]\nname = \"beta\"\nsha256 = \"sk-not-a-digest\"\nworkspace_id = \"*\"\nexpires = \"soon\"\n";
    replace(program.folder(), "keys.toml", broken);
    let log = program.says("keys.toml: limit").await;

    for problem in [
        "changes nothing",
        "keys.toml: keys.\"beta\".sha256",
        "keys.toml: keys.\"beta\".expires",
    ] {
        assert!(log.contains(problem), "{problem} is missing:\n{log}");
    }
    assert!(!log.contains("sk-not-a-digest"));
    assert_eq!(status(&program, "acme").await, 200);
    assert_eq!(status(&program, "beta").await, 401);

    // An emptied file is as wrong: it must not open the gateway to everybody.
    replace(program.folder(), "keys.toml", "");
    program.says("the file holds no key").await;
    assert_eq!(status(&program, "acme").await, 200);
    assert_eq!(program.chat(&question("x")).await.status(), 401);

    // And one that is not TOML at all is told by its place.
    replace(program.folder(), "keys.toml", "[[keys]\n");
    program.says("keys.toml: line 1").await;
    assert_eq!(status(&program, "acme").await, 200);
}

#[tokio::test]
async fn keys_are_followed_while_the_main_file_is_broken() {
    let upstream = answering();
    let mut program = Program::start(folder(&upstream, &["acme"])).await;
    replace(program.folder(), "groundwire.toml", "rag.mode = \"offf\"\n");
    program.says("changes nothing").await;

    replace(program.folder(), "keys.toml", &keys(&["beta"]));
    program.says(TAKEN).await;

    assert_eq!(status(&program, "acme").await, 401, "a key can be revoked");
    assert_eq!(status(&program, "beta").await, 200);
}

#[tokio::test]
async fn a_change_of_both_files_is_taken_together() {
    let upstream = answering();
    let mut program = Program::start(folder(&upstream, &["acme"])).await;

    // The keys name a model that only the next version of the main file has.
    let bound = keys(&["acme"]) + "models = [\"handbook\"]\n";
    replace(program.folder(), "keys.toml", &bound);
    program.says("keys.toml: keys.\"acme\".models").await;
    let more = "[models.handbook]\nupstream = \"model\"\nmodel = \"m\"\n";
    replace(
        program.folder(),
        "groundwire.toml",
        &(main_file(&upstream) + more),
    );
    program.says(TAKEN).await;

    assert_eq!(status(&program, "acme").await, 403);
}

#[test]
fn what_is_wrong_with_the_file_is_told_at_the_start() {
    for (text, told) in [
        (None, "keys_file: the file `keys.toml` cannot be read"),
        (Some(""), "keys.toml: keys: the file holds no key"),
        (Some("[[keys]]"), "keys.toml: keys[0].name: it is missing"),
        (
            Some("[[key]]"),
            "keys.toml: key: no setting is called `key`; did you mean `keys`?",
        ),
        (
            Some("listen = 1"),
            "keys.toml: listen: no setting is called `listen`",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let main = "listen = \"0.0.0.0:0\"\nkeys_file = \"keys.toml\"\nrag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n";
        fs::write(folder.path().join("groundwire.toml"), main).unwrap();
        if let Some(text) = text {
            fs::write(folder.path().join("keys.toml"), text).unwrap();
        }
        let mut check = watch::program();
        check.args(["check", "--config", "groundwire.toml"]);
        check.current_dir(folder.path()).env_clear();

        let ended = check.output().unwrap();

        watch::look("the program", &ended.stderr);
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(told), "{told} is missing:\n{stderr}");
        // A file was named, so somebody wants keys to be asked for: this is no second problem.
        assert!(!stderr.contains("other machines can reach"), "{stderr}");
    }
}

#[test]
fn the_file_is_looked_for_beside_the_one_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let main = "keys_file = \"keys.toml\"\nrag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n";
    fs::write(folder.path().join("groundwire.toml"), main).unwrap();
    fs::write(folder.path().join("keys.toml"), keys(&["acme"])).unwrap();
    let mut check = watch::program();
    check.args(["check", "--config"]);
    check.arg(folder.path().join("groundwire.toml"));
    check.current_dir("/").env_clear();

    let ended = check.output().unwrap();

    let stdout = String::from_utf8(ended.stdout).unwrap();
    assert!(stdout.contains("keys: 1"), "{stdout}");
}
