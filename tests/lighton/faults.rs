//! The unhappy road: every refusal, every broken answer, and which of them are tried again.

use std::time::{Duration, SystemTime};

use groundwire::{
    config::Retry,
    retrieval::{Error, Retriever, SearchQuery, lighton::Options},
};
use serde_json::json;

use crate::{
    KEY, client, options, search,
    support::{
        lighton::{FakeLightOn, found, invalid, maintenance, refusal, result},
        reply::Reply,
        server::nobody,
    },
};

/// The kind of an error, to compare by.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Authentication { .. } => "authentication",
        Error::Scope { .. } => "scope",
        Error::Query { .. } => "query",
        Error::RateLimited { .. } => "rate limited",
        Error::Maintenance { .. } => "maintenance",
        Error::Unavailable { .. } => "unavailable",
        Error::Timeout { .. } => "timeout",
    }
}

#[tokio::test]
async fn a_refusal_that_no_try_would_mend_is_asked_once() {
    let html = || Reply::body("text/html", "<h1>Nope</h1>");
    for (reply, expected) in [
        (refusal(400, "bad_request", "Unknown path"), "query"),
        (refusal(401, "unauthorized", "Bad key"), "authentication"),
        (refusal(402, "payment_required", "No credit"), "unavailable"),
        (refusal(403, "forbidden", "Nothing there"), "scope"),
        (
            refusal(404, "not_found", "No API endpoint at /x."),
            "unavailable",
        ),
        (Reply::status(405), "unavailable"),
        (Reply::status(408), "unavailable"),
        (Reply::status(413), "unavailable"),
        (invalid("query", "Too long"), "query"),
        (
            Reply::json(json!({"error": "Permission denied", "code": 403})).with_status(403),
            "scope",
        ),
        (
            Reply::json(json!({"workspace_id": ["Not a number."]})).with_status(400),
            "query",
        ),
        (html().with_status(401), "authentication"),
        (html().with_status(418), "unavailable"),
        (Reply::status(501), "unavailable"),
        (maintenance(), "maintenance"),
        (maintenance().header("retry-after", 0), "maintenance"),
        (maintenance().with_status(200), "maintenance"),
        (html(), "unavailable"),
        (Reply::status(200), "unavailable"),
        (Reply::status(204), "unavailable"),
        (Reply::json(json!(null)), "unavailable"),
        (Reply::json(json!([[], []])), "unavailable"),
        (Reply::json(json!({})), "unavailable"),
        (Reply::json(json!({"results": null})), "unavailable"),
        (Reply::json(json!({"results": {}})), "unavailable"),
        (Reply::json(json!({"error": "internal"})), "unavailable"),
        (
            Reply::json(json!({"code": 401, "error": "unauthorized"})),
            "authentication",
        ),
        (
            Reply::body("application/json", "{\"results\": [\"cut"),
            "unavailable",
        ),
        (
            Reply::body(
                "application/json",
                b"{\"results\": [], \"x\": \"\xff\"}".to_vec(),
            ),
            "unavailable",
        ),
    ] {
        let lighton = FakeLightOn::new().then(reply.clone());

        let error = search(&lighton.url()).await.expect_err("no success");

        assert_eq!(kind(&error), expected, "{reply:?} gave {error}");
        assert_eq!(lighton.requests().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_until_it_passes() {
    let passing = [
        Reply::closed(),
        Reply::refused(),
        Reply::json(json!({})).header("content-length", 100).cut(),
        Reply::stream("application/json").half_chunk("{").cut(),
        Reply::stream("application/json").piece("{").reset(),
        refusal(429, "rate_limited", "Slow down"),
        refusal(429, "rate_limited", "Slow down").header("retry-after", 0),
        Reply::body("text/html", "<h1>Oops</h1>").with_status(500),
        Reply::status(502),
        refusal(503, "unavailable", "Overloaded"),
        Reply::status(504),
        Reply::json(json!({"code": 429, "error": "rate_limited"})),
    ];
    for reply in passing {
        let lighton = FakeLightOn::new()
            .then(reply.clone())
            .then(reply.clone())
            .then(found([result("found")]));

        let found = search(&lighton.url())
            .await
            .unwrap_or_else(|error| panic!("{reply:?} gave {error}"));

        assert_eq!(found.passages.len(), 1, "{reply:?}");
        let bodies: Vec<_> = lighton
            .requests()
            .iter()
            .map(|request| request.json())
            .collect();
        assert!(
            bodies.windows(2).all(|pair| pair[0] == pair[1]),
            "each try sends the same"
        );
    }
}

#[tokio::test]
async fn the_tries_are_bounded_and_the_last_failure_is_told() {
    let lighton = FakeLightOn::new()
        .then(Reply::status(500))
        .then(Reply::closed())
        .then(refusal(503, "unavailable", "Overloaded"));

    let error = search(&lighton.url()).await.unwrap_err();

    assert_eq!(kind(&error), "unavailable");
    assert!(
        error.to_string().contains("503") && error.to_string().contains("Overloaded"),
        "{error}"
    );
}

#[tokio::test]
async fn one_attempt_means_no_retry() {
    let lighton = FakeLightOn::new().then(Reply::status(503));
    let retry = Retry {
        attempts: 1,
        ..options().retry
    };
    let once = Options { retry, ..options() };

    let error = client(&lighton.url(), once)
        .search(&SearchQuery::new("q"))
        .await
        .unwrap_err();

    assert_eq!(kind(&error), "unavailable");
}

#[tokio::test]
async fn a_service_that_nobody_runs_is_unavailable() {
    let error = search(&format!("http://{}", nobody())).await.unwrap_err();

    let Error::Unavailable { detail, source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(detail, "it cannot be reached");
    assert!(source.is_some());
}

#[tokio::test]
async fn garbage_on_the_wire_is_unavailable() {
    let garbage = || Reply::garbage("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let lighton = FakeLightOn::new()
        .then(garbage())
        .then(garbage())
        .then(garbage());

    assert_eq!(
        kind(&search(&lighton.url()).await.unwrap_err()),
        "unavailable"
    );
}

#[tokio::test]
async fn a_retry_after_longer_than_allowed_is_told_and_not_waited() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
    for (value, at_least) in [("7", 7), (date.as_str(), 3590)] {
        let lighton = FakeLightOn::new()
            .then(refusal(429, "rate_limited", "Slow down").header("retry-after", value));

        let error = search(&lighton.url()).await.unwrap_err();

        let Error::RateLimited {
            detail,
            retry_after,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(detail, "Slow down");
        assert!(
            *retry_after >= Some(Duration::from_secs(at_least)),
            "{retry_after:?}"
        );
    }
}

#[tokio::test]
async fn a_retry_after_is_waited_in_full() {
    let wait = Duration::from_millis(300);
    let lighton = FakeLightOn::new()
        .then(Reply::status(429).header("retry-after", wait.as_secs_f64()))
        .then(found([]));
    let retry = Retry {
        max_wait: wait,
        ..options().retry
    };
    let patient = Options { retry, ..options() };

    client(&lighton.url(), patient)
        .search(&SearchQuery::new("q"))
        .await
        .unwrap();

    let requests = lighton.requests();
    assert!(requests[1].at - requests[0].at >= wait);
}

#[tokio::test]
async fn a_refusal_names_the_field_at_fault() {
    let lighton = FakeLightOn::new().then(invalid("max_results", "Must be at most 100"));

    let error = search(&lighton.url()).await.unwrap_err();

    let Error::Query {
        status,
        detail,
        field,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((status, field.as_deref()), (422, Some("max_results")));
    assert_eq!(
        detail,
        "One or more fields failed validation. (max_results: Must be at most 100)"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeLightOn::new();
    for status in [301, 302, 307, 308] {
        let target = format!("{}/api/v3/search", elsewhere.url());
        let lighton = FakeLightOn::new().then(Reply::status(status).header("location", &target));

        let error = search(&lighton.url()).await.unwrap_err();

        assert_eq!(kind(&error), "unavailable");
        assert!(error.to_string().contains("search.base_url"), "{error}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn an_error_never_quotes_our_key() {
    let lighton =
        FakeLightOn::new().then(refusal(401, "unauthorized", &format!("No such key: {KEY}")));

    let error = search(&lighton.url()).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "search refused the gateway's key: No such key: (secret)"
    );
    assert!(!format!("{error:?}").contains(KEY));
}
