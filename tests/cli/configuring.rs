//! `key`, `check`, and what `serve` says of a configuration that is wrong or missing.

use sha2::{Digest, Sha256};

use super::program::{Program, groundwire};

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A gateway over the sandbox's stand-ins, with `more` in its file.
fn file(services: &str, more: &str) -> String {
    format!(
        "[search]\nbase_url = \"{services}\"\napi_key = \"any-secret\"\n[upstreams.sandbox]\nbase_url = \"{services}/v1\"\napi_key = \"any-secret\"\n{more}"
    )
}

#[test]
fn a_new_key_opens_the_gateway_that_has_its_block_and_sees_its_workspaces_only() {
    let mut sandbox = Program::sandbox();
    let services = sandbox.services();

    let made = groundwire(&["key", "acme", "--workspace", "4"]).run();
    assert_eq!(made.code(), Some(0));
    let (key, block) = made.stdout.split_once("\n\n").unwrap();
    assert!(key.starts_with("gw_") && key.len() == 3 + 43, "{key}");
    assert!(block.starts_with("[[keys]]\n"), "{block}");
    assert!(block.contains(&hex(&Sha256::digest(key))), "{block}");
    assert!(!block.contains(key) && !made.stderr.contains(key));

    let mut gateway = groundwire(&["serve", "--config", "g.toml", "--listen", "127.0.0.1:0"])
        .among(&[("g.toml", &file(&services, block))])
        .start();
    let url = gateway.gateway();
    let ask = |key: &str, workspace: &str| {
        let arguments = [
            "ask",
            "How long does the battery last?",
            "--url",
            &url,
            "--key",
            key,
            "--workspace",
            workspace,
        ];
        groundwire(&arguments).run()
    };
    let known = ask(key, "4");
    let outside = ask(key, "1");
    let unknown = ask(&format!("{key}x"), "4");

    assert_eq!(known.code(), Some(0), "{}", known.stderr);
    assert!(known.stdout.contains("30 months"), "{}", known.stdout);
    assert_eq!((outside.code(), &*outside.stdout), (Some(1), ""));
    assert_eq!((unknown.code(), &*unknown.stdout), (Some(1), ""));
    assert!(
        unknown.stderr.contains("this key is not known"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_key_without_workspaces_says_that_it_sees_every_one_and_no_key_comes_twice() {
    let first = groundwire(&["key", "acme"]).run();
    let second = groundwire(&["key", "acme"]).run();

    assert!(
        first
            .stdout
            .contains("workspace_id = \"*\" # every workspace"),
        "{}",
        first.stdout
    );
    assert_ne!(first.stdout.lines().next(), second.stdout.lines().next());
    assert_eq!(first.stderr, second.stderr);
}

#[test]
fn a_right_configuration_is_summed_up_on_stdout() {
    let text = "[upstreams.gpu]\nbase_url = \"http://10.0.0.7:8000/v1\"\n[models.handbook]\nupstream = \"gpu\"\nmodel = \"qwen\"\n\
        [telemetry]\notlp_endpoint = \"http://collector:4318\"\nheaders = { X-Key = \"tk-secret\" }\n";

    let checked = groundwire(&["check", "--config", "g.toml"])
        .with(&[("LIGHTON_API_KEY", "lo-secret")])
        .among(&[("g.toml", text)])
        .run();

    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    assert_eq!(checked.stderr, "");
    for line in [
        "ok   configuration: g.toml",
        "  listen: 127.0.0.1:8080",
        "  upstream gpu: http://10.0.0.7:8000/v1",
        "  model handbook: gpu/qwen",
        "  telemetry: http://collector:4318/",
        "  keys: none, nobody is asked for one",
    ] {
        assert!(
            checked.stdout.lines().any(|told| told == line),
            "{line}: {}",
            checked.stdout
        );
    }
    assert!(!checked.stdout.contains("-secret") && !checked.stdout.contains('\u{1b}'));
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() {
    let text =
        "lisen = 1\n[rag]\nmode = \"on\"\nmax_results = 500\n[upstreams.gpu]\nbase_url = \"x\"\n";
    for command in ["serve", "check"] {
        let refused = groundwire(&[command, "--config", "g.toml"])
            .with(&[("LIGHTON_API_KEY", "lo-secret-x")])
            .among(&[("g.toml", text)])
            .run();

        assert_eq!(refused.code(), Some(78), "{command}");
        assert_eq!(refused.stdout, "", "{command}");
        for key in [
            "lisen",
            "rag.mode",
            "rag.max_results",
            "upstreams.\"gpu\".base_url",
        ] {
            assert!(
                refused.stderr.contains(&format!(". {key}: ")),
                "{command}, {key}: {}",
                refused.stderr
            );
        }
        assert!(
            !refused.stderr.contains("groundwire sandbox"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn serving_without_any_configuration_points_to_the_sandbox() {
    for arguments in [&["serve"][..], &["serve", "--config", "missing.toml"]] {
        let refused = groundwire(arguments).run();

        assert_eq!((refused.code(), &*refused.stdout), (Some(78), ""));
        assert!(
            refused.stderr.contains("groundwire sandbox"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn an_online_check_has_a_line_for_each_neighbour_and_fails_with_one_of_them() {
    let mut sandbox = Program::sandbox();
    let services = sandbox.services();
    let broken = "[upstreams.gone]\nbase_url = \"http://127.0.0.1:1/v1\"\n[telemetry]\notlp_endpoint = \"http://127.0.0.1:1\"\n";

    let own = "[[keys]]\nname = \"acme\"\nsha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n\
        workspace_id = \"*\"\nsearch_api_key = \"sandbox-secret\"\nexpires = 2020-01-01\n";

    let well = groundwire(&["check", "--online", "--config", "g.toml"])
        .among(&[("g.toml", &file(&services, own))])
        .run();
    let ill = groundwire(&["check", "--online", "--config", "g.toml"])
        .among(&[("g.toml", &file(&services, broken))])
        .run();

    assert_eq!(well.code(), Some(0), "{}", well.stderr);
    assert!(well.stdout.contains("\nok   search: "), "{}", well.stdout);
    assert!(
        well.stdout.contains("\nok   search of key acme: "),
        "{}",
        well.stdout
    );
    assert!(
        well.stdout.contains("keys: 1, 1 expired\n"),
        "{}",
        well.stdout
    );
    assert!(
        well.stdout.contains("\nok   upstream sandbox: 7 models"),
        "{}",
        well.stdout
    );
    // Nothing can search here, so that no search is missing; and the upstream that wants a caller's key, Paradigm's stand-in, answers.
    let relay = format!(
        "allow_overrides = false\n[rag]\nmode = \"off\"\n[upstreams.paradigm]\nbase_url = \"{services}/api/v2\"\napi_key = \"client\"\n"
    );
    let relay = groundwire(&["check", "--online", "--config", "g.toml"])
        .among(&[("g.toml", &relay)])
        .run();
    assert_eq!(relay.code(), Some(0), "{}{}", relay.stdout, relay.stderr);
    assert!(!relay.stdout.contains("ok   search"), "{}", relay.stdout);
    assert!(
        relay
            .stdout
            .contains("\nok   upstream paradigm: lists its models to the keys of callers"),
        "{}",
        relay.stdout
    );

    assert_eq!(ill.code(), Some(1));
    assert!(
        ill.stdout.contains("\nok   upstream sandbox: "),
        "{}",
        ill.stdout
    );
    assert!(
        ill.stdout.contains("\nFAIL upstream gone: "),
        "{}",
        ill.stdout
    );
    assert!(
        ill.stdout.contains("\nFAIL telemetry: traces: "),
        "{}",
        ill.stdout
    );
    assert!(ill.stderr.contains("2 of the neighbours"), "{}", ill.stderr);
}
