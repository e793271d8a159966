//! A configuration that changes while the program runs, on a signal or because the file does.

use std::{fs, os::unix::fs::symlink, sync::Arc};

use groundwire::{
    app::App,
    config::{Config, Environment, Secret},
    retrieval::Source,
};
use serde_json::{Value, json};

use crate::{
    Program, question,
    support::{
        lighton::{FakeLightOn, result},
        reply::{Gate, sse_unfinished},
        server::Server,
        upstream::{chunk, finish, says},
    },
};

const TAKEN: &str = "the new configuration is in force";

/// A file with one upstream and no search.
fn relaying(upstream: &Server) -> String {
    format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    )
}

async fn content(program: &Program) -> String {
    let answer = program.chat(&question("Who are you?")).await;
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["choices"][0]["message"]["content"].to_string()
}

fn named(name: &str) -> Server {
    Server::new().always("/v1/chat/completions", says(name))
}

#[tokio::test]
async fn a_hangup_takes_the_new_file_into_force() {
    let (old, new) = (named("old"), named("new"));
    let mut program = Program::serve(&relaying(&old)).await;
    assert_eq!(content(&program).await, "\"old\"");

    fs::write(program.file(), relaying(&new)).unwrap();
    program.signal("HUP");
    program.says(TAKEN).await;

    assert_eq!(content(&program).await, "\"new\"");
}

#[tokio::test]
async fn keys_and_limits_follow_too() {
    let upstream = named("x");
    let mut program = Program::serve(&relaying(&upstream)).await;
    assert_eq!(program.chat(&question("x")).await.status(), 200);

    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let keys = format!("[[keys]]\nname = \"acme\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n");
    fs::write(program.file(), relaying(&upstream) + &keys).unwrap();
    program.signal("HUP");
    program.says(TAKEN).await;

    assert_eq!(program.chat(&question("x")).await.status(), 401);
}

#[tokio::test]
async fn a_file_that_is_replaced_by_rename_is_taken_without_a_signal() {
    let (old, new) = (named("old"), named("new"));
    let mut program = Program::serve(&relaying(&old)).await;

    let draft = program.folder().join("draft");
    fs::write(&draft, relaying(&new)).unwrap();
    fs::rename(&draft, program.file()).unwrap();
    program.says(TAKEN).await;

    assert_eq!(content(&program).await, "\"new\"");
}

#[tokio::test]
async fn a_mounted_config_map_is_taken_when_its_links_are_switched() {
    let (old, new) = (named("old"), named("new"));
    let folder = tempfile::tempdir().unwrap();
    for (version, upstream) in [("..v1", &old), ("..v2", &new)] {
        let version = folder.path().join(version);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("groundwire.toml"), relaying(upstream)).unwrap();
    }
    symlink("..v1", folder.path().join("..data")).unwrap();
    symlink(
        "..data/groundwire.toml",
        folder.path().join("groundwire.toml"),
    )
    .unwrap();
    let mut program = Program::start(folder).await;
    assert_eq!(content(&program).await, "\"old\"");

    // As the kubelet does it: the link to the folder is replaced by rename.
    let draft = program.folder().join("..data_tmp");
    symlink("..v2", &draft).unwrap();
    fs::rename(&draft, program.folder().join("..data")).unwrap();
    program.says(TAKEN).await;

    assert_eq!(content(&program).await, "\"new\"");
}

#[tokio::test]
async fn a_broken_file_is_told_with_all_its_problems_and_changes_nothing() {
    let upstream = named("old");
    let mut program = Program::serve(&relaying(&upstream)).await;

    let broken =
        "rag.mode = \"offf\"\nallow_overrides = false\ntimeouts.idle = 3\n[upstreams.model]\n";
    fs::write(program.file(), broken).unwrap();
    program.signal("HUP");
    let log = program.says("upstreams.\"model\".base_url").await;

    for problem in ["changes nothing", "rag.mode", "timeouts.idle"] {
        assert!(log.contains(problem), "{problem} is missing:\n{log}");
    }
    assert_eq!(content(&program).await, "\"old\"");
    let metrics = program.get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("groundwire_reloads_total{outcome=\"refused\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_open_answer_finishes_on_what_it_began_with() {
    let gate = Gate::new();
    let reply = sse_unfinished([chunk("o")])
        .wait(&gate)
        .piece(format!("data: {}\n\n", chunk("ld")))
        .piece(format!("data: {}\n\ndata: [DONE]\n\n", finish("stop")));
    let (old, new) = (Server::new().then(reply), named("new"));
    let mut program = Program::serve(&relaying(&old)).await;
    let mut body = question("Who are you?");
    body["stream"] = json!(true);

    let mut stream = program.chat(&body).await;
    let first = stream.chunk().await.unwrap().unwrap();
    fs::write(program.file(), relaying(&new)).unwrap();
    program.signal("HUP");
    program.says(TAKEN).await;
    assert_eq!(content(&program).await, "\"new\"");
    gate.open();
    let rest = stream.text().await.unwrap();

    assert!(String::from_utf8_lossy(&first).contains("\"o\""));
    assert!(
        rest.contains("\"ld\"") && rest.ends_with("data: [DONE]\n\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn what_takes_a_restart_is_said() {
    let upstream = named("x");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("groundwire.toml");
    fs::write(
        &file,
        "listen = \"127.0.0.1:0\"\n".to_owned() + &relaying(&upstream),
    )
    .unwrap();
    let mut program = Program::start_plainly(folder).await;

    fs::write(
        &file,
        "listen = \"127.0.0.1:1\"\n".to_owned() + &relaying(&upstream),
    )
    .unwrap();
    program.signal("HUP");
    program.says(TAKEN).await;

    program.says("`listen` takes a restart").await;
    assert_eq!(content(&program).await, "\"x\"");
}

#[tokio::test]
async fn what_was_found_before_is_still_known_after() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new().always("/v1/chat/completions", says("Seven."));
    let text = |sources: &str| {
        format!(
            "rag.sources = \"{sources}\"\nsearch = {{ base_url = \"{}\", api_key = \"md-secret-k\" }}\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
            lighton.url(),
            upstream.url()
        )
    };
    let ask = async |program: &Program| {
        let answer = program.chat(&question("How long?")).await;
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()
    };
    let mut program = Program::serve(&text("full")).await;
    ask(&program).await;

    fs::write(program.file(), text("reference")).unwrap();
    program.signal("HUP");
    program.says(TAKEN).await;
    let after = ask(&program).await;

    assert_eq!(
        after["rag"]["sources"][0]["content"],
        Value::Null,
        "the new file is in force"
    );
    assert_eq!(after["rag"]["usage"]["cached"], 1);
}

#[test]
fn what_a_change_does_not_touch_keeps_what_it_holds() {
    let app = |text: &str| {
        let env = Environment::from([("LIGHTON_API_KEY", "lo-secret-k")]);
        Config::parse(text, &env).unwrap()
    };
    let (one, two) = (
        "[upstreams.one]\nbase_url = \"http://127.0.0.1:1/v1\"\n",
        "[upstreams.two]\nbase_url = \"http://127.0.0.1:2/v1\"\n",
    );
    let before = App::build(app(&format!("{one}{two}"))).unwrap();
    let document = Source {
        file_id: 512,
        ..Source::default()
    };
    let link = before
        .gateway_search()
        .reach
        .signer
        .links("http://x")
        .to(&document);
    let signed = link.split(['?', '=', '&', '#']).collect::<Vec<_>>();
    let (expires, signature) = (signed[2].parse().unwrap(), signed[4]);

    let moved = one.replace(":1/", ":3/");
    let after = before.rebuild(app(&format!("{moved}{two}"))).unwrap();
    let fewer = format!("limits.concurrent_requests = 7\nlinks.secret = \"link-secret\"\n{two}");
    let fewer = after.rebuild(app(&fewer)).unwrap();

    let opens = |app: &App| {
        let signer = &app.gateway_search().reach.signer;
        signer.opens(512, expires, signature)
    };
    assert!(opens(&after));
    assert!(!opens(&fewer));
    let known = |app: &App, name: &str| {
        let mut upstreams = app.catalog.upstreams().iter();
        Arc::clone(upstreams.find(|upstream| upstream.name() == name).unwrap())
    };
    assert!(!Arc::ptr_eq(&known(&before, "one"), &known(&after, "one")));
    assert!(Arc::ptr_eq(&known(&before, "two"), &known(&fewer, "two")));
    assert!(Arc::ptr_eq(&before.places, &after.places));
    assert_eq!(fewer.places.available_permits(), 7);
    assert!(Arc::ptr_eq(&before.metrics, &fewer.metrics));
    before.drain();
    assert!(fewer.is_draining());
}

#[tokio::test]
async fn a_folder_that_did_not_change_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let text = |more: &str| {
        let text = format!(
            "{more}\nsearch = {{ backend = \"local\", documents = {:?} }}\n[upstreams.one]\nbase_url = \"http://127.0.0.1:1/v1\"\n",
            folder.path()
        );
        Config::parse(&text, &Environment::default()).unwrap()
    };
    let before = App::build(text("")).unwrap();

    let after = before.rebuild(text("retry.attempts = 1")).unwrap();

    assert!(Arc::ptr_eq(
        &before.gateway_search().documents,
        &after.gateway_search().documents
    ));
}

#[test]
fn a_search_key_keeps_what_it_found_when_other_keys_change() {
    let key = |name: &str, digit: char| {
        let digest: String = std::iter::repeat_n(digit, 64).collect();
        format!(
            "[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nworkspace_id = [42]\nsearch_api_key = \"lo-secret-{name}\"\n"
        )
    };
    let config = |keys: &str| {
        let text = format!("[upstreams.one]\nbase_url = \"http://127.0.0.1:1/v1\"\n{keys}");
        Config::parse(
            &text,
            &Environment::from([("LIGHTON_API_KEY", "lo-secret-k")]),
        )
        .unwrap()
    };
    let (acme, beta, gamma) = (key("acme", 'a'), key("beta", 'b'), key("gamma", 'c'));
    let before = App::build(config(&format!("{acme}{beta}"))).unwrap();

    let after = before.rebuild(config(&format!("{beta}{gamma}"))).unwrap();

    let retriever = |app: &App, name: &str| {
        let search = app.search_with(&Secret::new(format!("lo-secret-{name}")));
        Arc::clone(&search.reach.retriever)
    };
    assert!(Arc::ptr_eq(
        &retriever(&before, "beta"),
        &retriever(&after, "beta")
    ));
    for (one, other) in [("beta", "gamma"), ("acme", "beta"), ("acme", "gamma")] {
        // The key of `acme` is gone: what is left of it leads nowhere, and above all not to another's.
        let (one, other) = (retriever(&after, one), retriever(&after, other));
        assert!(!Arc::ptr_eq(&one, &other));
    }
    assert!(!Arc::ptr_eq(
        &retriever(&after, "acme"),
        &after.gateway_search().reach.retriever
    ));
}
