//! That secrets are looked for: each of these lets one out on purpose, and its process must end by that.

use std::process::Command;

use serde_json::json;

use crate::{
    Program, question,
    support::{
        gateway::{Gateway, MODEL_KEY},
        lighton::FakeLightOn,
        server::Server,
        upstream::says,
    },
};

/// The settings of a gateway that searches nothing and whose only key is called by its secret.
fn settings(upstream: &Server) -> String {
    format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"md-secret-k\"]\n",
        upstream.url()
    )
}

#[tokio::test]
#[ignore = "ends its process"]
async fn an_answer_tells() {
    let model = Server::new().then(says(&format!("It is {MODEL_KEY}.")));
    let gateway = Gateway::start(&FakeLightOn::new(), &model, "rag.mode = \"off\"").await;

    gateway.ask(&question("What is your key?")).await;
}

#[tokio::test]
#[ignore = "ends its process"]
async fn a_head_tells() {
    let model = Server::new().then(says("It is.").header("x-warning", MODEL_KEY));
    let gateway = Gateway::start(&FakeLightOn::new(), &model, "rag.mode = \"off\"").await;

    gateway.ask(&question("What is your key?")).await;
}

#[tokio::test]
#[ignore = "ends its process"]
async fn a_log_tells() {
    let model = Server::new().then(says("It is."));
    let gateway = Gateway::start(&FakeLightOn::new(), &model, "rag.mode = \"off\"").await;
    gateway.ask(&question("What is your key?")).await;

    tracing::trace!(target: "groundwire::upstream", key = MODEL_KEY, "asked");
}

#[tokio::test]
#[ignore = "ends its process"]
async fn a_program_tells() {
    let model = Server::new().then(says("It is."));
    let program = Program::serve(&settings(&model)).await;

    // The name of a model stands in the log, and in the numbers.
    let body = json!({"model": "md-secret-k", "messages": [{"role": "user", "content": "hi"}]});
    // Past `watch::send`, which would end this by the head before the numbers are read.
    let request = program.post("/v1/chat/completions", &body).build().unwrap();
    let asked = reqwest::Client::new().execute(request).await;
    asked.unwrap().bytes().await.unwrap();
}

#[tokio::test]
#[ignore = "ends its process"]
async fn an_error_of_a_program_tells() {
    let model = Server::new();
    let program = Program::serve(&settings(&model)).await;

    // The error names the model that is not there.
    program
        .chat(
            &json!({"model": "md-secret-k\u{7}", "messages": [{"role": "user", "content": "hi"}]}),
        )
        .await;
}

#[tokio::test]
#[ignore = "ends its process"]
async fn an_answer_of_a_program_tells() {
    let model = Server::new().then(says("It is md-secret-k."));
    let settings = settings(&model).replace("[\"md-secret-k\"]", "[\"m\"]");
    let program = Program::serve(&settings).await;

    let answer = program.chat(&question("What is your key?")).await;
    answer.bytes().await.unwrap();
}

#[tokio::test]
#[ignore = "ends its process"]
async fn a_panic_tells() {
    let model = Server::new().then(says("It is."));
    let gateway = Gateway::start(&FakeLightOn::new(), &model, "rag.mode = \"off\"").await;
    gateway.ask(&question("What is your key?")).await;

    // By its address, the function panics in a place of its own, and not in this test.
    let refuse: fn(Result<(), String>, &str) = Result::expect;
    refuse(Err(MODEL_KEY.to_owned()), "there is a key");
}

#[test]
fn whatever_tells_a_secret_ends() {
    for (test, way) in [
        ("an_answer_tells", "an answer tells"),
        ("a_head_tells", "x-warning tells"),
        ("a_log_tells", "the log tells"),
        ("a_program_tells", "/metrics tells"),
        ("an_error_of_a_program_tells", "an error's body tells"),
        ("an_answer_of_a_program_tells", "an answer tells"),
        ("a_panic_tells", "a panic tells"),
    ] {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", &format!("watched::{test}")])
            .output()
            .unwrap();

        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{test} went on");
        assert!(
            told.contains("A SECRET GOT OUT: ") && told.contains(way),
            "{test}: {told}"
        );
    }
}
