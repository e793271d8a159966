//! What the environment says: alone, over a file, and inside one.

use groundwire::config::{
    AllowOverrides, Config, Environment, KeyScope, Mode, Overrides, Purpose, SearchBackend,
    WorkspaceId,
};
use proptest::prelude::*;

use crate::config::{DIGEST, key_of, names, problems};

fn from_environment(env: &Environment) -> Config {
    Config::load(None, env, &Overrides::default())
        .unwrap()
        .config
}

#[test]
fn only_keys_in_the_environment_make_a_gateway() {
    let env = Environment::from([
        ("LIGHTON_API_KEY", "search"),
        ("OPENAI_API_KEY", "two"),
        ("SCALEWAY_API_KEY", "one"),
        ("PARADIGM_API_KEY", ""),
    ]);

    let config = from_environment(&env);

    assert_eq!(names(&config), ["scaleway", "openai"]);
    assert_eq!(key_of(&config, "scaleway"), "one");
    assert_eq!(
        config.upstreams[0].base_url.as_str(),
        "https://api.scaleway.ai/v1"
    );
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert!(config.keys.is_empty());
    let SearchBackend::LightOn {
        base_url, api_key, ..
    } = &config.search.backend
    else {
        panic!("LightOn is the default")
    };
    assert_eq!(base_url.as_str(), "https://api.lighton.ai/");
    assert_eq!(api_key.as_ref().unwrap().expose(), "search");
}

#[test]
fn without_any_provider_the_variables_are_listed() {
    let told = Config::load(
        None,
        &Environment::from([("CONSOLE_API_KEY", "k")]),
        &Overrides::default(),
    )
    .unwrap_err()
    .to_string();

    assert_eq!(
        told,
        "the configuration has 1 problem (the environment):\n   1. upstreams: no model provider is named; set one of `INCEPTRON_API_KEY`, \
         `OVH_AI_ENDPOINTS_ACCESS_TOKEN`, `SCALEWAY_API_KEY`, `PARADIGM_API_KEY`, `OPENAI_API_KEY`, or write a file that names one, like \
         `[upstreams.ollama]`"
    );
}

#[test]
fn a_variable_cannot_turn_on_an_upstream_that_the_file_does_not_name() {
    let env = Environment::from([
        ("LIGHTON_API_KEY", "k"),
        ("GROUNDWIRE_UPSTREAMS__GPU__BASE_URL", "http://h"),
    ]);

    assert_eq!(
        problems("[upstreams.ollama]", &env),
        "upstreams.\"gpu\": a variable is set for this upstream, which the file does not name; write `[upstreams.gpu]` into the file, or unset the variable\n"
    );
    assert_eq!(names(&from_environment(&env)), ["gpu"]);
}

#[test]
fn an_address_in_a_variable_moves_an_upstream_but_does_not_turn_it_on() {
    let env = Environment::from([
        ("LIGHTON_API_KEY", "k"),
        ("SCALEWAY_API_KEY", "k"),
        (
            "GROUNDWIRE_UPSTREAMS__SCALEWAY__BASE_URL",
            "http://127.0.0.1:1/v1",
        ),
        (
            "GROUNDWIRE_UPSTREAMS__OPENAI__BASE_URL",
            "http://127.0.0.1:2/v1",
        ),
        (
            "GROUNDWIRE_UPSTREAMS__OLLAMA__BASE_URL",
            "http://127.0.0.1:3/v1",
        ),
    ]);

    let config = from_environment(&env);

    assert_eq!(names(&config), ["scaleway", "ollama"]);
    assert_eq!(
        config.upstreams[0].base_url.as_str(),
        "http://127.0.0.1:1/v1"
    );
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("groundwire.toml");
    std::fs::write(&path, "listen = '127.0.0.1:1'\n[rag]\nmax_results = 7\nmode = 'off'\n[upstreams.scale-way]\nbase_url = 'http://h'").unwrap();
    let listen = |listen: Option<&str>, env: &Environment, path| {
        let overrides = Overrides {
            listen: listen.map(|listen| listen.parse().unwrap()),
            ..Overrides::default()
        };
        Config::load(path, env, &overrides).unwrap().config
    };
    let bare = Environment::from([("LIGHTON_API_KEY", "k")]);
    let env = Environment::from([
        ("LIGHTON_API_KEY", "k"),
        ("GROUNDWIRE_CONFIG", path.to_str().unwrap()),
        ("GROUNDWIRE_LISTEN", "127.0.0.1:2"),
        ("GROUNDWIRE_RAG__MAX_RESULTS", "9"),
        ("GROUNDWIRE_RAG__WORKSPACE_ID", "42, 43"),
        // As a file writes it, too.
        ("GROUNDWIRE_ALLOW_OVERRIDES", "[\"mode\", 'max_results']"),
        (
            "GROUNDWIRE_UPSTREAMS__SCALE_WAY__BASE_URL",
            "http://elsewhere",
        ),
        ("GROUNDWIRE_MODELS__KB__RAG__MODE", "tool"),
    ]);

    assert_eq!(listen(None, &bare, Some(path.as_path())).listen.port(), 1);
    let config = listen(None, &env, None);
    assert_eq!(config.listen.port(), 2);
    assert_eq!((config.rag.max_results, config.rag.mode), (9, Mode::Off));
    assert_eq!(config.rag.workspace_id, [WorkspaceId(42), WorkspaceId(43)]);
    assert_eq!(
        config.allow_overrides,
        AllowOverrides::Only(["mode".to_owned(), "max_results".to_owned()].into())
    );
    assert_eq!(config.upstreams[0].base_url.host_str(), Some("elsewhere"));
    assert_eq!(
        (
            config.models[0].name.as_str(),
            config.models[0].upstream.as_str(),
            config.models[0].rag.mode
        ),
        ("kb", "scale-way", Some(Mode::Tool))
    );
    assert_eq!(listen(Some("127.0.0.1:3"), &env, None).listen.port(), 3);
}

#[test]
fn a_variable_that_is_no_setting_is_told() {
    let env = Environment::from([
        ("LIGHTON_API_KEY", "k"),
        ("GROUNDWIRE_RAG__MAX_RESULT", "3"),
        ("GROUNDWIRE_RAG_MODE", "off"),
        ("GROUNDWIRE_RAG__MIN_RELEVANCE", "high"),
        ("GROUNDWIRE_KEY", "k"),
        ("GROUNDWIRE_URL", "http://127.0.0.1:8080"),
        // What Kubernetes sets in every pod beside a service called `groundwire`.
        ("GROUNDWIRE_SERVICE_HOST", "10.0.0.1"),
        ("GROUNDWIRE_SERVICE_PORT_HTTP", "8080"),
        ("GROUNDWIRE_PORT", "tcp://10.0.0.1:8080"),
        ("GROUNDWIRE_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ]);

    assert_eq!(
        problems("[upstreams.ollama]", &env),
        "GROUNDWIRE_RAG__MIN_RELEVANCE (rag.min_relevance): `high` is no number from 0 to 1; write one like 0.5\n\
         GROUNDWIRE_RAG_MODE: no setting has this variable; did you mean `GROUNDWIRE_RAG__MODE`?\n\
         GROUNDWIRE_RAG__MAX_RESULT: no setting has this variable; did you mean `GROUNDWIRE_RAG__MAX_RESULTS`?\n"
    );
}

#[test]
fn references_are_replaced_in_every_text() {
    let env = Environment::from([("CONSOLE_API_KEY", "older"), ("MAX", "7"), ("TEAM", "docs")]);
    let text = "[search]\napi_key = '${LIGHTON_API_KEY}'\n[rag]\nmax_results = '${MAX}'\ntemplate = '$${x} {{ context }}'\n
        [upstreams.gpu]\nbase_url = 'http://${HOST:-h}/v1'\nheaders = { X-Team = 'team ${TEAM}' }\nmodels = ['${TEAM}-model']";

    let config = Config::parse(text, &env).unwrap();

    let SearchBackend::LightOn { api_key, .. } = &config.search.backend else {
        panic!("LightOn is the default")
    };
    assert_eq!(api_key.as_ref().unwrap().expose(), "older");
    assert_eq!(
        (config.rag.max_results, config.rag.template.as_deref()),
        (7, Some("${x} {{ context }}"))
    );
    assert_eq!(config.upstreams[0].base_url.as_str(), "http://h/v1");
    assert_eq!(config.upstreams[0].headers[0].1, "team docs");
    assert_eq!(
        config.upstreams[0].models.as_deref(),
        Some(["docs-model".to_owned()].as_slice())
    );
}

#[test]
fn searching_alone_needs_no_provider_but_always_a_key() {
    let purpose = Overrides {
        purpose: Purpose::Search,
        ..Overrides::default()
    };

    assert!(
        Config::load(
            None,
            &Environment::from([("LIGHTON_API_KEY", "k")]),
            &purpose
        )
        .is_ok()
    );
    let told = Config::load(
        None,
        &Environment::from([
            ("GROUNDWIRE_ALLOW_OVERRIDES", "false"),
            ("GROUNDWIRE_RAG__MODE", "off"),
        ]),
        &purpose,
    );
    assert!(told.unwrap_err().to_string().contains("search.api_key"));
}

#[test]
fn a_key_from_the_environment_sees_every_workspace() {
    let env = Environment::from([("LIGHTON_API_KEY", "k"), ("GROUNDWIRE_KEY", "test")]);

    let config = Config::parse("listen = '0.0.0.0:0'\n[upstreams.ollama]", &env).unwrap();

    assert_eq!(config.keys[0].name, "default");
    assert_eq!(config.keys[0].scope, KeyScope::Every);
    let hex: String = config.keys[0].sha256[0]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, DIGEST);
}

#[test]
fn a_key_that_the_file_knows_keeps_its_scope_when_the_environment_holds_it_too() {
    let env = Environment::from([("LIGHTON_API_KEY", "k"), ("GROUNDWIRE_KEY", "test")]);
    let text = format!(
        "[upstreams.ollama]\n[[keys]]\nname = 'acme'\nsha256 = ['{DIGEST}']\nworkspace_id = [42]"
    );

    let config = Config::parse(&text, &env).unwrap();

    assert_eq!(config.keys.len(), 1);
    assert_eq!(
        config.keys[0].scope,
        KeyScope::Only([WorkspaceId(42)].into())
    );
}

proptest! {
    #[test]
    fn any_value_of_a_variable_is_a_setting_or_a_problem(value in ".{0,40}", key in prop::sample::select(vec![
        "LISTEN", "PUBLIC_URL", "RAG__MAX_RESULTS", "RAG__WORKSPACE_ID", "RAG__CITATIONS", "LIMITS__EVENT", "TIMEOUTS__IDLE", "LOG__LEVEL",
        "SEARCH__BASE_URL", "SEARCH__API_KEY", "UPSTREAMS__OLLAMA__MODELS", "UPSTREAMS____BASE_URL", "MODELS__A__B", "ALLOW_OVERRIDES",
    ])) {
        let variables = [("LIGHTON_API_KEY".to_owned(), "k".to_owned()), (format!("GROUNDWIRE_{key}"), value)];
        let env: Environment = variables.into_iter().collect();
        if let Err(problems) = Config::parse("[upstreams.ollama]", &env) {
            prop_assert!(problems.iter().count() > 0);
        }
    }
}
