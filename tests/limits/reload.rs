//! A reload changes limits at once and forgets nothing that was used.

use std::{sync::Arc, time::Instant};

use groundwire::{
    access::{KeyLimits, Kind, Refused},
    app::App,
    config::{Config, Environment},
};

use crate::key;

fn config(limits: &str) -> Config {
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[upstreams.one]\nbase_url = \"http://127.0.0.1:1/v1\"\n{}",
        key("acme", limits)
    );
    Config::parse(&text, &Environment::default()).unwrap()
}

fn limits(app: &App) -> Arc<KeyLimits> {
    app.keys.find("acme").unwrap().limits.clone().unwrap()
}

#[tokio::test]
async fn what_was_used_counts_against_the_new_limit() {
    let now = Instant::now();
    let before = App::build(config("requests_per_minute = 10")).unwrap();
    for _ in 0..4 {
        limits(&before).take(Kind::Requests, 1, now).await.unwrap();
    }

    let more = before.rebuild(config("requests_per_minute = 20")).unwrap();
    let fewer = more.rebuild(config("requests_per_minute = 3")).unwrap();

    let standing = |app: &App| limits(app).standing(Kind::Requests, now).unwrap();
    assert_eq!(standing(&more).remaining, 16);
    assert_eq!(standing(&fewer).remaining, 0);
    let refused = limits(&fewer).take(Kind::Requests, 1, now).await;
    assert!(matches!(refused, Err(Refused::UsedUp { limit: 3, .. })));
    // Requests that began before the reload are still counted with the others.
    limits(&before).take(Kind::Requests, 1, now).await.unwrap();
    assert_eq!(standing(&more).remaining, 15);
}

#[tokio::test]
async fn requests_under_way_count_beyond_a_reload() {
    let before = App::build(config("concurrent_requests = 2")).unwrap();
    let place = limits(&before).enter().unwrap();
    assert!(place.is_some());

    let after = before.rebuild(config("concurrent_requests = 1")).unwrap();
    assert!(limits(&after).enter().is_err());
    drop(place);

    assert!(limits(&after).enter().is_ok());
}

#[test]
fn a_key_that_loses_its_limits_has_nothing_to_count() {
    let before = App::build(config("requests_per_minute = 1")).unwrap();

    let after = before.rebuild(config("")).unwrap();

    assert!(after.keys.find("acme").unwrap().limits.is_none());
}
