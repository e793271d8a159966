//! What `/metrics` says of what was recorded.

use std::time::Duration;

use super::*;

fn asked(metrics: &Metrics, model: &str, status: u16, is_listed: bool) {
    metrics.record(&Report {
        endpoint: "/v1/chat/completions",
        model,
        status,
        is_listed,
        ..Report::default()
    });
}

#[test]
fn a_model_that_nobody_listed_and_nobody_answered_for_has_no_name_of_its_own() {
    let metrics = Metrics::default();
    asked(&metrics, "listed", 502, true);
    asked(&metrics, "guessed", 404, false);
    asked(&metrics, "answered", 200, false);
    let text = metrics.text(0, std::iter::empty(), None);

    for model in ["listed", "answered", "other"] {
        assert!(text.contains(&format!("model=\"{model}\"")), "{text}");
    }
    assert!(!text.contains("guessed"), "{text}");
}

#[test]
fn the_names_of_answered_models_are_bounded() {
    let metrics = Metrics::default();
    for number in 0..ANSWERED_MODELS + 5 {
        asked(&metrics, &format!("m{number}"), 200, false);
    }
    let text = metrics.text(0, std::iter::empty(), None);

    assert!(text.contains("model=\"m99\"") && !text.contains("model=\"m100\""));
}

#[test]
fn a_number_with_more_labels_than_are_remembered_is_found_again() {
    let metrics = Metrics::default();
    for _ in 0..2 {
        for status in 400..410 {
            asked(&metrics, "m", status, true);
        }
    }
    let text = metrics.text(0, std::iter::empty(), None);

    for status in 400..410 {
        let told = |line: &&str| line.contains(&format!("status=\"{status}\""));
        let line = text.lines().find(told).unwrap();
        assert!(line.ends_with("} 2"), "{line}");
    }
}

#[test]
fn what_is_remembered_of_owners_is_bounded_and_no_number_starts_again() {
    let metrics = Metrics::default();
    for _ in 0..2 {
        for number in 0..=accounts::MOST {
            asked(&metrics, &format!("m{number}"), 200, true);
        }
    }

    assert!(metrics.accounts.count() <= accounts::MOST);
    let text = metrics.text(0, std::iter::empty(), None);
    let counts: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("groundwire_requests_total{"))
        .collect();
    assert_eq!(counts.len(), accounts::MOST + 1);
    assert!(counts.iter().all(|line| line.ends_with("} 2")));
}

#[test]
fn every_sample_stands_below_the_type_of_its_family() {
    let metrics = Metrics::default();
    asked(&metrics, "m", 200, true);
    let text = metrics.text(3, [("gpu", true)].into_iter(), None);

    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&family), "{line} below {family}");
        }
    }
    assert!(
        text.contains("\ngroundwire_requests_in_flight 3\n"),
        "{text}"
    );
    assert!(
        text.contains("\ngroundwire_upstream_up{upstream=\"gpu\"} 1\n"),
        "{text}"
    );
}

#[test]
fn every_number_stands_in_the_documentation_and_no_other() {
    let documented = include_str!("../../../docs/observability.md");
    let metrics = Metrics::default();
    let second = Duration::from_secs(1);
    let gpu = ["gpu".to_owned()];
    metrics.record(&Report {
        first_event: Some(second),
        longest_gap: Some(second),
        searches: &[("made", second)],
        tokens: [("prompt", 1), ("completion", 1), ("passages", 1)],
        retries: &gpu,
        refused_retries: &gpu,
        fallbacks: &gpu,
        failures: &[("gpu".to_owned(), "invalid")],
        ..Report::default()
    });
    metrics.reloaded("taken");
    metrics.spans("exported", 1);
    metrics.limited("acme", "requests");

    let text = metrics.text(0, [("gpu", true)].into_iter(), Some(true));

    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: HashSet<&str> = types.filter_map(|rest| rest.split(' ').next()).collect();
    let words = documented.split('`');
    let documented: HashSet<&str> = words
        .filter(|word| word.starts_with("groundwire_"))
        .collect();
    assert_eq!(told, documented);
}
