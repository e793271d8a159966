//! The command line itself: help, version, and what is wrong with it.

use super::program::groundwire;

const COMMANDS: [&str; 7] = [
    "serve", "sandbox", "ask", "search", "models", "check", "key",
];

#[test]
fn without_a_command_the_help_is_shown_as_a_fault() {
    let ended = groundwire(&[]).run();

    assert_eq!(ended.code(), Some(2));
    assert_eq!(ended.stdout, "");
    for command in COMMANDS {
        assert!(
            ended.stderr.contains(&format!("\n  {command} ")),
            "{command}: {}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("health"), "{}", ended.stderr);
}

#[test]
fn every_command_has_a_help_with_examples() {
    for command in COMMANDS {
        let ended = groundwire(&[command, "--help"]).run();

        assert_eq!(ended.code(), Some(0), "{command}");
        assert_eq!(ended.stderr, "", "{command}");
        let example = format!("Examples:\n  groundwire {command}");
        assert!(
            ended.stdout.contains(&example),
            "{command}: {}",
            ended.stdout
        );
        assert!(!ended.stdout.contains('\u{1b}'), "{command}");
    }
}

#[test]
fn a_wrong_command_line_is_2_and_says_what_is_wrong() {
    for (arguments, said) in [
        (&["serv"][..], "serv"),
        (&["serve", "--lisen", "127.0.0.1:0"], "--lisen"),
        (&["serve", "--listen", "localhost"], "--listen"),
        (&["ask"], "<QUESTION>"),
        (&["ask", "  "], "the question is empty"),
        (&["ask", "x", "--mode", "on"], "inject, tool, off"),
        (&["ask", "x", "--max-results", "101"], "1..=100"),
        (&["ask", "x", "--workspace", "0"], "--workspace"),
        (&["ask", "x", "--url", "ftp://x"], "http://"),
        (&["ask", "x", "--key", "a\nb"], "the key"),
        (&["search", ""], "the query is empty"),
        (&["key", ""], "a name is not empty"),
    ] {
        let ended = groundwire(arguments).run();

        assert_eq!(ended.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_wrong_address_in_the_environment_names_its_variable() {
    let ended = groundwire(&["models"])
        .with(&[("GROUNDWIRE_URL", "ftp://x")])
        .run();

    assert_eq!(ended.code(), Some(2));
    assert!(ended.stderr.contains("GROUNDWIRE_URL"), "{}", ended.stderr);
}
