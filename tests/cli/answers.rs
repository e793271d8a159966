//! `ask` and `models` over the sandbox: what a person sees in the first minute.

use serde_json::Value;

use super::program::{Program, groundwire};

const QUESTION: &str = "What is our data retention policy?";

#[test]
fn a_question_gets_an_answer_and_the_numbered_sources_after_it() {
    let mut sandbox = Program::sandbox();
    let url = format!("{}/v1", sandbox.gateway());

    let asked = groundwire(&["ask", QUESTION, "--url", &url]).run();

    assert_eq!(asked.code(), Some(0), "{}", asked.stderr);
    assert_eq!(asked.stderr, "");
    assert!(!asked.stdout.contains('\u{1b}'), "{}", asked.stdout);
    let (answer, sources) = asked.stdout.split_once("\n\n").unwrap();
    assert!(answer.contains("within 30 days"), "{answer}");
    assert!(answer.contains("[1]"), "{answer}");
    let mut lines = sources.lines();
    assert_eq!(lines.next(), Some("[1] data-retention-policy.md"));
    let link = lines.next().unwrap().trim_start();
    assert!(
        link.starts_with(&format!("{}/sources/", sandbox.gateway())),
        "{link}"
    );
    assert!(
        sources.ends_with('\n') && sources.contains("\n[5] "),
        "{sources}"
    );
}

#[test]
fn an_answer_for_a_program_is_one_json_object() {
    let mut sandbox = Program::sandbox();
    let variables = [("GROUNDWIRE_URL", &*sandbox.gateway())];

    let asked = groundwire(&["ask", "-", "--json", "--max-results", "2"])
        .with(&variables)
        .reading(&format!("{QUESTION}\n"))
        .run();

    assert_eq!(asked.code(), Some(0), "{}", asked.stderr);
    assert_eq!(asked.stdout.lines().count(), 1);
    let told: Value = serde_json::from_str(&asked.stdout).unwrap();
    assert_eq!(told["model"], "sandbox-extractive");
    assert!(told["answer"].as_str().unwrap().contains("90 days"));
    assert_eq!(told["sources"].as_array().unwrap().len(), 2);
    assert_eq!(told["sources"][0]["filename"], "data-retention-policy.md");
    assert!(
        told["sources"][0]["url"]
            .as_str()
            .unwrap()
            .contains("/sources/")
    );
    assert!(told["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(told["warnings"], Value::Array(Vec::new()));
}

#[test]
fn mode_and_workspace_reach_the_gateway() {
    let mut sandbox = Program::sandbox();
    let variables = [("GROUNDWIRE_URL", &*sandbox.gateway())];
    let ask = |options: &[&str]| {
        let arguments = [&["ask", QUESTION, "--json"], options].concat();
        let asked = groundwire(&arguments).with(&variables).run();
        assert_eq!(asked.code(), Some(0), "{}", asked.stderr);
        serde_json::from_str::<Value>(&asked.stdout).unwrap()
    };

    let off = ask(&["--mode", "off"]);
    let narrowed = ask(&["--workspace", "4"]);

    assert_eq!(off["sources"], Value::Array(Vec::new()));
    let sources = narrowed["sources"].as_array().unwrap();
    assert!(!sources.is_empty());
    for source in sources {
        assert_eq!(source["workspace_id"], 4, "{source}");
    }
}

#[test]
fn models_are_one_a_line_for_programs_and_the_list_as_it_came_for_json() {
    let mut sandbox = Program::sandbox();
    let variables = [("GROUNDWIRE_URL", &*sandbox.gateway())];

    let plain = groundwire(&["models"]).with(&variables).run();
    let json = groundwire(&["models", "--json"]).with(&variables).run();

    assert_eq!((plain.code(), json.code()), (Some(0), Some(0)));
    let list: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(list["object"], "list");
    let ids = list["data"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(plain.stdout.lines().collect::<Vec<_>>(), ids);
    assert_eq!(ids[0], "sandbox-extractive");
    assert!(ids.contains(&"paradigm/sandbox-extractive"), "{ids:?}");
}

// In the field: who had set up the real gateway in a shell could not try the sandbox in it, or sent its key to the real search.
#[test]
fn the_sandbox_has_its_own_neighbours_whatever_the_environment_says() {
    let mut sandbox = Program::sandbox_with(&[
        ("GROUNDWIRE_SEARCH__BASE_URL", "http://127.0.0.1:1"),
        ("GROUNDWIRE_SEARCH__API_KEY", "lo-secret-real"),
        ("GROUNDWIRE_UPSTREAMS__GPU__BASE_URL", "http://127.0.0.1:1"),
        (
            "GROUNDWIRE_UPSTREAMS__SANDBOX__BASE_URL",
            "http://127.0.0.1:1",
        ),
        ("GROUNDWIRE_MODELS__KB__UPSTREAM", "sandbox"),
        ("GROUNDWIRE_MODELS__KB__MODEL", "sandbox-extractive"),
        ("GROUNDWIRE_DEFAULT_UPSTREAM", "scaleway"),
    ]);
    let url = sandbox.gateway();

    let ended = groundwire(&["ask", QUESTION, "--model", "kb", "--url", &url]).run();

    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("data-retention-policy.md"),
        "{}",
        ended.stdout
    );
}
