//! What the environment of the process must not change, and what the process must not leave there.

use std::fs;

use crate::{
    Program, question,
    support::{
        lighton::{FakeLightOn, result},
        server::Server,
        upstream::says,
    },
};

#[tokio::test]
async fn a_proxy_that_the_environment_names_is_not_used() {
    let proxy = Server::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(says("Five years."));
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "search = {{ base_url = \"{}\", api_key = \"md-secret-k\" }}\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        lighton.url(),
        upstream.url()
    );
    fs::write(folder.path().join("groundwire.toml"), text).unwrap();
    let proxies = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let url = proxy.url();
    let variables: Vec<(&str, &str)> = proxies.iter().map(|name| (*name, url.as_str())).collect();
    let program = Program::start_with(folder, &variables).await;

    let answer = program.chat(&question("How long?")).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(proxy.connections(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_crash_leaves_no_image_of_the_memory() {
    let text = "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.ollama]\n";
    let program = Program::serve(text).await;

    let limits = fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();

    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
}
