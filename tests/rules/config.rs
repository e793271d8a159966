//! Every file in `config/` loads, each broken one tells its problem, and the environment has its say.

use std::time::Duration;

use groundwire::config::{ApiKey, Config, Environment, Overrides, PRESETS};
use proptest::prelude::*;

pub(crate) const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// An environment in which everything that a file may want is set.
fn everything() -> Environment {
    let keys = PRESETS
        .iter()
        .filter_map(|preset| preset.variable)
        .chain(["LIGHTON_API_KEY"]);
    keys.map(|name| (name.to_owned(), format!("key of {name}")))
        .collect()
}

fn parse(text: &str) -> Config {
    Config::parse(text, &everything()).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The problems of `text`, one a line.
pub(crate) fn problems(text: &str, env: &Environment) -> String {
    let problems = Config::parse(text, env).expect_err(text);
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

pub(crate) fn key_of(config: &Config, upstream: &str) -> String {
    let upstream = config
        .upstreams
        .iter()
        .find(|known| known.name == upstream)
        .unwrap();
    match &upstream.api_key {
        ApiKey::Fixed(secret) => secret.expose().to_owned(),
        ApiKey::Client => "(client)".to_owned(),
        ApiKey::None => "(none)".to_owned(),
    }
}

pub(crate) fn names(config: &Config) -> Vec<&str> {
    config
        .upstreams
        .iter()
        .map(|upstream| upstream.name.as_str())
        .collect()
}

#[test]
fn every_file_in_config_loads() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let mut loaded = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match Config::load(Some(&path), &everything(), &Overrides::default()) {
            Ok(config) => loaded.push(config.file.unwrap()),
            Err(problems) => panic!("{problems}"),
        }
    }
    assert!(loaded.len() >= 5, "{loaded:?}");
}

/// Each case is a file, `=>` and how a problem of it begins; empty lines between them.
const BROKEN: &str = include_str!("broken.txt");

#[test]
fn every_broken_thing_is_told_by_its_key_and_its_remedy() {
    for case in BROKEN.split("\n\n") {
        let (text, told) = case.split_once("=> ").unwrap();
        let problems = problems(text, &everything());
        let is_told = problems
            .lines()
            .any(|line| line.starts_with(told.trim_end()));
        assert!(is_told, "{text}\nshould tell: {told}\n\ntells:\n{problems}");
    }
    assert!(BROKEN.split("\n\n").count() > 50);
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "
        listen = '0.0.0.0:8080'
        [search]
        base_url = 'api.lighton.ai'
        timeouts = '10s'
        [rag]
        mode = 'tools'
        max_results = 0
        [upstreams.scaleway]
        [upstreams.gpu]
        base_url = 'http://10.0.0.7:8000/v1/'
        api_key = '${GPU_KEY}'
        [models.kb]
        upstream = 'gpus'
        fallback = ['scaleway/llama', 'nowhere/llama']
    ";

    let told = Config::parse(text, &Environment::default())
        .unwrap_err()
        .to_string();

    let expected = "\
the configuration has 10 problems (the given text):
   1. search.base_url: this is no web address (relative URL without a base); write one like https://host/v1
   2. search.timeouts: no setting is called `timeouts`; did you mean `timeout`?
   3. rag.mode: `tools` is none of its words; did you mean `tool`?
   4. rag.max_results: `0` is out of range; write a whole number from 1 to 100
   5. upstreams.\"scaleway\".api_key: the variable `SCALEWAY_API_KEY` is not set; set it, or write `api_key` (\"\" for none)
   6. upstreams.\"gpu\".api_key: the variable `GPU_KEY` is not set; set it, or write `${GPU_KEY:-default}`
   7. models.\"kb\".upstream: no upstream is called `gpus`; did you mean `gpu`?
   8. models.\"kb\".fallback: no upstream is called `nowhere`; write one of `scaleway`, `gpu`
   9. keys: no key is asked for, although other machines can reach 0.0.0.0:8080; set GROUNDWIRE_KEY or write `[[keys]]` \
(`groundwire key NAME` makes one), or else write `anonymous = true`
  10. search.api_key: the variable `LIGHTON_API_KEY` is not set; set it, or write `backend = \"local\"` in `[search]`; \
without any search, write `mode = \"off\"` in `[rag]` and `allow_overrides = false`";
    assert_eq!(told, expected);
}

#[test]
fn no_problem_shows_a_secret() {
    let secret = "sk-secret";
    let env = Environment::from([
        ("KEY", secret),
        ("SCALEWAY_API_KEY", "sk-secret\u{7}"),
        ("GROUNDWIRE_RAG__MODE", "x"),
    ]);
    for text in [
        "api_key = \"sk-secret\nlisten = 1".to_owned(),
        format!("[search]\napi_key = \"{secret}\\u0007\""),
        "[search]\nbase_url = 'http://${KEY}@h'\nrequests_per_minute = '${KEY}'\ntimeout = '${KEY}'\nbackend = '${KEY}'".to_owned(),
        format!("[search]\nbase_url = 'http://u:{secret}@h'"),
        "[rag]\nmode = '${KEY}'\nworkspace_id = ['${KEY}']\n[limits]\nevent = '${KEY}'\n[log]\nlevel = '${KEY}'".to_owned(),
        format!("[upstreams.scaleway]\nheaders = {{ X-Key = \"{secret}\\n\", authorization = '{secret}' }}"),
        format!("[upstreams.gpu]\nbase_url = '{secret}'\napi_key = ['{secret}']"),
        format!("[[keys]]\nname = 'a'\nworkspace_id = [1]\nsha256 = '{secret}'"),
        "[upstreams.scaleway]".to_owned(),
        // Found by the fuzzer: names are told by others than the setting that has them.
        "default_upstream = '${KEY}'\n[rag]\nrewrite_model = 'h/${KEY}'".to_owned(),
        "[models.b]\nupstream = '${KEY}'\n[models.c]\nfallback = ['${KEY}']\nrag = { rewrite_model = '${KEY}/m' }".to_owned(),
        "[[keys]]\nname = '${KEY}'\nmodels = ['${KEY}']\nupstreams = ['${KEY}']".to_owned(),
    ] {
        let told = Config::parse(&text, &env).unwrap_err().to_string();
        assert!(!told.contains(secret), "{text}\n{told}");
    }
    assert!(!format!("{:?}", parse(&format!("[upstreams.gpu]\nbase_url = 'http://h'\napi_key = '{secret}'\nheaders = {{ X-Key = '{secret}' }}"))).contains(secret));
}

#[test]
fn with_a_file_exactly_the_upstreams_it_names_are_on_in_its_order() {
    let config = parse(
        "[upstreams.scaleway]\n[upstreams.inceptron]\n[upstreams.gpu]\nbase_url = 'http://10.0.0.7:8000/v1/'",
    );

    assert_eq!(names(&config), ["scaleway", "inceptron", "gpu"]);
    assert_eq!(key_of(&config, "gpu"), "(none)");
    assert_eq!(
        config.upstreams[2].base_url.as_str(),
        "http://10.0.0.7:8000/v1"
    );
    assert_eq!(
        (config.upstreams[0].preset, config.upstreams[2].preset),
        (Some("scaleway"), None)
    );
}

#[test]
fn the_search_key_is_needed_only_where_something_can_search() {
    let upstream = "[upstreams.ollama]\n";
    let off = format!("allow_overrides = false\n{upstream}[rag]\nmode = 'off'\n");
    let key = format!("[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nworkspace_id = '*'\n");
    for (text, is_needed) in [
        (upstream.to_owned(), true),
        (off.clone(), false),
        (
            off.clone() + "[search]\napi_key = '${LIGHTON_API_KEY}'\n",
            false,
        ),
        (off.replace("false", "['max_results']"), false),
        (off.replace("false", "['mode']"), true),
        (off.replace("false", "true"), true),
        (off.clone() + "[models.kb]\nrag = { mode = 'tool' }\n", true),
        (off.clone() + &key, false),
        (off.clone() + &key + "rag = { mode = 'inject' }", true),
        (off.clone() + &key + "allow_overrides = true", true),
        (
            off.replace("false", "true") + &key + "allow_overrides = false",
            false,
        ),
        (
            format!(
                "{upstream}[search]\nbackend = 'local'\ndocuments = '{}'",
                env!("CARGO_MANIFEST_DIR")
            ),
            false,
        ),
    ] {
        let told = Config::parse(&text, &Environment::default())
            .map(|_| ())
            .map_err(|problems| problems.to_string());
        assert_eq!(
            told.is_err_and(|told| told.contains("search.api_key")),
            is_needed,
            "{text}"
        );
    }
}

#[test]
fn a_key_may_name_a_model_that_only_its_upstream_lists() {
    let key = format!(
        "[[keys]]\nname = 'acme'\nsha256 = '{DIGEST}'\nworkspace_id = [42]\nmodels = ['handbook', 'gpt-5', 'nvidia/llama', 'ollama/x']\n"
    );
    let text = format!("[upstreams.ollama]\n[models.handbook]\n[models.gpt-4]\n{key}");

    assert_eq!(parse(&text).keys[0].models.as_ref().map(Vec::len), Some(4));
    let listed = text.replace("[models.handbook]", "models = ['gpt-5']\n[models.handbook]");
    assert_eq!(
        problems(&listed, &everything())
            .matches("no model is called `nvidia/llama`")
            .count(),
        1
    );
}

#[test]
fn the_callers_own_key_can_be_forwarded() {
    assert_eq!(
        key_of(&parse("[upstreams.openai]\napi_key = 'client'"), "openai"),
        "(client)"
    );
    assert_eq!(
        key_of(&parse("[upstreams.openai]\napi_key = ''"), "openai"),
        "(none)"
    );
}

#[test]
fn zero_turns_heartbeats_off_and_one_key_sets_both_first_waits() {
    let config = parse(
        "[stream]\nheartbeat = '0s'\n[timeouts]\nfirst_byte = '7s'\nanswer = '9s'\n[upstreams.ollama]",
    );

    assert_eq!(config.stream.heartbeat, None);
    assert_eq!(
        (config.timeouts.first_event, config.timeouts.answer),
        (Duration::from_secs(7), Duration::from_secs(9))
    );
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_told_by_its_name() {
    let missing = Config::load(
        Some("/no/such.toml".as_ref()),
        &everything(),
        &Overrides::default(),
    )
    .unwrap_err()
    .to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.toml");
    std::fs::write(&path, "listen = '127.0.0.1:1'\n[rag\n").unwrap();
    let broken = Config::load(Some(&path), &everything(), &Overrides::default())
        .unwrap_err()
        .to_string();

    assert!(
        missing.contains("/no/such.toml: the file cannot be read"),
        "{missing}"
    );
    assert!(
        broken.contains("broken.toml") && broken.contains("line 2, column 5: this is not TOML"),
        "{broken}"
    );
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_has_problems(text in r#"([a-z_]{1,8}( = |\.)|\[{1,2}[a-z]{1,9}\]{1,2}|["'\n${}:,=0-9]|rag|upstreams|keys|models|\[rag\]\n){0,24}"#) {
        if let Err(problems) = Config::parse(&text, &everything()) {
            prop_assert!(problems.iter().count() > 0);
        }
    }
}
