//! `search`: straight to the configured search, with no gateway in between.

use serde_json::Value;

use super::program::{Program, groundwire};

#[test]
fn the_passages_are_shown_with_their_number_file_score_and_workspace() {
    let mut sandbox = Program::sandbox();
    let services = sandbox.services();
    let variables = [
        ("LIGHTON_API_KEY", "any-secret"),
        ("GROUNDWIRE_SEARCH__BASE_URL", &services),
    ];

    let found = groundwire(&["search", "data retention policy", "--max-results", "2"])
        .with(&variables)
        .run();

    assert_eq!(found.code(), Some(0), "{}", found.stderr);
    assert_eq!(found.stderr, "");
    assert!(!found.stdout.contains('\u{1b}'));
    let headings: Vec<&str> = found
        .stdout
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(headings.len(), 2, "{}", found.stdout);
    assert!(headings[0].starts_with("[1] data-retention-policy.md · score 0."));
    assert!(headings[0].contains(" · workspace 1 "), "{}", headings[0]);
    assert!(headings[1].starts_with("[2] "));
    assert!(
        found
            .stdout
            .contains("\n    Our data retention policy is to keep")
    );
}

#[test]
fn for_a_program_the_passages_have_the_shape_of_lighton_results() {
    let mut sandbox = Program::sandbox();
    let services = sandbox.services();
    let file = format!(
        "[search]\nbase_url = \"{services}\"\napi_key = \"any-secret\"\n[rag]\nmax_results = 3\nworkspace_id = [4]\n"
    );
    let search = |options: &[&str]| {
        let arguments = [
            &[
                "search",
                "data of customers",
                "--json",
                "--config",
                "search.toml",
            ],
            options,
        ]
        .concat();
        let found = groundwire(&arguments)
            .among(&[("search.toml", &file)])
            .run();
        assert_eq!(found.code(), Some(0), "{}", found.stderr);
        serde_json::from_str::<Vec<Value>>(&found.stdout).unwrap()
    };

    let configured = search(&[]);
    let asked = search(&["--workspace", "1", "--max-results", "1"]);

    assert!((1..=3).contains(&configured.len()));
    for passage in &configured {
        assert_eq!(passage["workspace"]["id"], 4, "{passage}");
        assert!(passage["source"]["filename"].is_string(), "{passage}");
        assert!(passage["content"].is_string() && passage["score"].is_number());
        assert!(passage["scores"]["relevance"].is_number(), "{passage}");
    }
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["workspace"]["id"], 1);
}

#[test]
fn a_folder_is_searched_without_any_service() {
    let found = groundwire(&["search", "parrot", "--config", "search.toml"])
        .among(&[
            (
                "search.toml",
                "[search]\nbackend = \"local\"\ndocuments = \".\"\n",
            ),
            (
                "birds.md",
                "# Birds\n\nThe parrot of the office is called Ada.\n",
            ),
        ])
        .run();

    assert_eq!(found.code(), Some(0), "{}", found.stderr);
    assert!(found.stdout.starts_with("[1] birds.md"), "{}", found.stdout);
    assert!(found.stdout.contains("is called Ada."), "{}", found.stdout);
}

#[test]
fn a_search_that_fails_is_1_and_nothing_found_is_none() {
    let mut sandbox = Program::sandbox();
    let services = sandbox.services();
    let refused = [
        ("LIGHTON_API_KEY", "any-secret"),
        ("GROUNDWIRE_SEARCH__BASE_URL", "http://127.0.0.1:1"),
        ("GROUNDWIRE_RETRY__ATTEMPTS", "1"),
    ];
    let works = [
        ("LIGHTON_API_KEY", "any-secret"),
        ("GROUNDWIRE_SEARCH__BASE_URL", &*services),
    ];

    let failed = groundwire(&["search", "x"]).with(&refused).run();
    let nothing = groundwire(&["search", "xyzzyplugh"]).with(&works).run();
    let nothing_json = groundwire(&["search", "xyzzyplugh", "--json"])
        .with(&works)
        .run();

    assert_eq!((failed.code(), &*failed.stdout), (Some(1), ""));
    assert!(
        failed.stderr.contains("search is unavailable"),
        "{}",
        failed.stderr
    );
    assert_eq!((nothing.code(), &*nothing.stdout), (Some(0), ""));
    assert_eq!(nothing.stderr, "nothing was found\n");
    assert_eq!(nothing_json.stdout, "[]\n");
}
