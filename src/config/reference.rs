//! `config/reference.toml` shows every key, says what it is for, and gives its default.

use std::collections::BTreeSet;

use super::{
    Config, Environment, Overrides,
    contents::Contents,
    document::{self, Table, Value},
    reading::Reading,
    resolve::read,
    upstreams::TurnedOn,
};

const REFERENCE: &str = include_str!("../../config/reference.toml");

/// The reference with its examples in force: each line `# key = …` and `# [section]` without its `# `.
fn with_examples() -> String {
    let is_example = |line: &&str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.starts_with('[')
            || (line.contains(" = ")
                && key
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
    };
    let lines = REFERENCE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(is_example).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn environment() -> Environment {
    Environment::from([
        ("LIGHTON_API_KEY", "one"),
        ("SCALEWAY_API_KEY", "two"),
        ("ACME_LIGHTON_API_KEY", "three"),
    ])
}

/// Every key of a document, with `*` for the names that an operator chooses.
fn keys_of(table: &Table, path: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let name = if matches!(path, "upstreams" | "models") {
            "*"
        } else {
            name
        };
        let key = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        match value {
            Value::Table(table) => keys_of(table, &key, keys),
            Value::List(items) => items.iter().for_each(|item| {
                if let Value::Table(table) = item {
                    keys_of(table, &format!("{key}.*"), keys);
                }
            }),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::Unfit(_) => {}
        }
        keys.insert(key);
    }
}

#[test]
fn the_reference_shows_every_key_and_no_other() {
    let env = environment();
    let document = document::parse(&with_examples()).unwrap();
    let reading = Reading::new(&env, Contents::default());
    read(
        reading.open(document.clone()),
        TurnedOn::ByName,
        &env,
        &Overrides::default(),
    );
    // What stands in the `rag` of a model or a key is shown once, in `[rag]`.
    let shown_once = |key: &String| !key.contains(".*.rag.") && !key.ends_with(".*");

    let known: BTreeSet<String> = reading
        .known_keys()
        .into_iter()
        .filter(shown_once)
        .collect();
    let mut shown = BTreeSet::new();
    keys_of(&document, "", &mut shown);
    shown.retain(shown_once);

    assert_eq!(shown, known);
    assert_eq!(reading.close(), []);
}

#[test]
fn the_reference_says_a_sentence_about_every_key() {
    let text = with_examples();
    let lines: Vec<&str> = text.lines().collect();

    for pair in lines.windows(2) {
        if !pair[1].is_empty() && !pair[1].starts_with('#') {
            assert!(
                pair[0].starts_with("# ") && pair[0].ends_with('.'),
                "no sentence above: {}",
                pair[1]
            );
        }
    }
}

#[test]
fn the_values_of_the_reference_are_the_defaults() {
    let reference = Config::parse(REFERENCE, &environment()).unwrap();
    let defaults = Config::parse("[upstreams.scaleway]", &environment()).unwrap();

    assert_eq!(format!("{reference:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_reference_explains_every_quirk() {
    for quirk in super::QUIRKS {
        assert!(
            REFERENCE.contains(&format!("{quirk}: ")) || REFERENCE.contains(&format!("{quirk}, ")),
            "{quirk}"
        );
    }
}
