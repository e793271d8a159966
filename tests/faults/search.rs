//! Faults of the search, in every kind of answer that searches.

use serde_json::json;

use crate::{
    kind::Kind,
    stage::{Stage, TWICE, each},
    support::{
        lighton::{found, maintenance, refusal, result},
        reply::Reply,
    },
};

/// The search fails like this, that often, and the model is not asked to answer.
fn fails(faults: fn() -> Vec<Reply>, status: u16, error: &str, code: &str) {
    let settings = format!("{TWICE}search.timeout = \"1s\"\n");
    each(&Kind::those(Kind::searches), async |kind| {
        let stage = Stage::new(kind, &settings).await;
        let searches = 1 + faults().len();
        for fault in faults() {
            stage.lighton.push(fault);
        }
        if kind.calls() {
            stage.upstream.push(kind.call());
        }

        let heard = stage.hears(stage.ask()).await;

        heard.refused(status, error, code);
        assert_eq!(stage.lighton.requests().len(), searches);
        stage.nothing_is_left().await;
    });
}

#[test]
fn search_that_is_reset() {
    let faults = || vec![Reply::refused(), Reply::refused()];
    fails(faults, 502, "search_error", "search_unavailable");
}

#[test]
fn search_that_is_silent() {
    let faults = || vec![Reply::silence()];
    fails(faults, 504, "search_error", "search_timeout");
}

#[test]
fn search_that_stops_in_its_middle() {
    let faults = || {
        vec![
            Reply::stream("application/json")
                .piece("{\"results\":")
                .hang(),
        ]
    };
    fails(faults, 504, "search_error", "search_timeout");
}

#[test]
fn search_that_is_cut() {
    let faults = || {
        let cut = Reply::stream("application/json")
            .half_chunk("{\"results\":")
            .cut();
        vec![cut.clone(), cut]
    };
    fails(faults, 502, "search_error", "search_unavailable");
}

#[test]
fn search_that_limits_us() {
    let faults = || vec![refusal(429, "rate_limited", "Slow down").header("retry-after", 60)];
    fails(faults, 429, "search_error", "search_rate_limited");
}

#[test]
fn search_that_answers_with_a_page_of_html() {
    let faults = || vec![Reply::body("text/html", "<h1>Oops</h1>")];
    fails(faults, 502, "search_error", "search_unavailable");
}

#[test]
fn search_that_is_broken() {
    let broken = || vec![Reply::status(500), Reply::status(503)];
    fails(broken, 502, "search_error", "search_unavailable");
}

#[test]
fn search_in_maintenance() {
    let faults = || vec![maintenance()];
    fails(faults, 502, "search_error", "search_unavailable");
}

#[test]
fn search_that_refuses_our_key() {
    let faults = || vec![refusal(401, "unauthorized", "Bad key")];
    fails(faults, 502, "search_error", "search_authentication");
}

#[test]
fn search_that_fails_once_is_asked_again() {
    each(&Kind::those(Kind::searches), async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        stage.lighton.push(Reply::closed());
        stage.lighton.push(found([result("Five years.")]));
        if kind.calls() {
            stage.upstream.push(kind.call());
        }
        stage.upstream.push(kind.answer());

        stage.hears(stage.ask()).await.answered();

        stage.nothing_is_left().await;
    });
}

#[test]
fn search_that_fails_is_done_without_where_the_operator_says_so() {
    let settings = format!("{TWICE}rag.on_search_error = \"answer\"\n");
    each(&Kind::those(Kind::searches), async |kind| {
        let stage = Stage::new(kind, &settings).await;
        stage
            .lighton
            .push(Reply::json(json!({"error": "internal"})));
        if kind.calls() {
            stage.upstream.push(kind.call());
        }
        stage.upstream.push(kind.answer());

        let heard = stage.hears(stage.ask()).await;

        assert!(heard.answer.text().contains("\"warnings\":[\""));
        heard.answered();
        stage.nothing_is_left().await;
    });
}
