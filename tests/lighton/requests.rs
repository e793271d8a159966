//! What goes out: fields, headers, the address.

use std::collections::BTreeSet;

use groundwire::{
    config::{RelevanceScoring, SearchMode, Secret, WorkspaceId},
    retrieval::{Error, Retriever, SearchQuery, lighton::LightOn},
};
use serde_json::json;

use crate::{
    KEY, client, options, search,
    support::lighton::{FakeLightOn, found, result},
};

#[tokio::test]
async fn a_plain_query_sends_only_what_is_set() {
    let lighton = FakeLightOn::new().finds([]);

    search(&lighton.url()).await.unwrap();

    let request = lighton.request();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/api/v3/search")
    );
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.json(),
        json!({
            "query": "a question",
            "max_results": 10,
            "mode": "text",
            "relevance_scoring": "scoring_and_filtering"
        })
    );
}

#[tokio::test]
async fn every_field_of_a_query_is_sent() {
    let lighton = FakeLightOn::new().finds([]);
    let query = SearchQuery {
        max_results: 100,
        workspaces: Some(BTreeSet::from([WorkspaceId(43), WorkspaceId(42)])),
        tag_id: vec![7],
        content_type: vec!["legal:contract".to_owned()],
        attribute: vec!["year:>2020".to_owned(), "status:a|b".to_owned()],
        mode: SearchMode::Vision,
        relevance_scoring: RelevanceScoring::None,
        include_image: true,
        include_bboxes: true,
        ..SearchQuery::new("q")
    };

    client(&lighton.url(), options())
        .search(&query)
        .await
        .unwrap();

    assert_eq!(
        lighton.request().json(),
        json!({
            "query": "q",
            "max_results": 100,
            "workspace_id": [42, 43],
            "tag_id": [7],
            "content_type": ["legal:contract"],
            "attribute": ["year:>2020", "status:a|b"],
            "mode": "vision",
            "relevance_scoring": "none",
            "include_image": true,
            "include_bboxes": true
        })
    );
}

#[tokio::test]
async fn files_are_named_without_the_workspaces_that_would_be_refused_beside_them() {
    let lighton = FakeLightOn::new().finds([result("from workspace 42")]);
    let query = SearchQuery {
        workspaces: Some(BTreeSet::from([WorkspaceId(1)])),
        file_id: vec![512],
        ..SearchQuery::new("q")
    };

    let found = client(&lighton.url(), options())
        .search(&query)
        .await
        .unwrap();

    let sent = lighton.request().json();
    assert_eq!(sent["file_id"], json!([512]));
    assert_eq!(sent.get("workspace_id"), None);
    // The workspace comes along, so that the caller can refuse the passage.
    assert_eq!(
        found.passages[0].workspace.as_ref().unwrap().id,
        WorkspaceId(42)
    );
}

#[tokio::test]
async fn an_empty_scope_is_refused_without_asking() {
    let lighton = FakeLightOn::new();
    let query = SearchQuery {
        workspaces: Some(BTreeSet::new()),
        ..SearchQuery::new("q")
    };

    let error = client(&lighton.url(), options())
        .search(&query)
        .await
        .unwrap_err();

    assert!(matches!(error, Error::Scope { .. }), "{error:?}");
    assert!(lighton.requests().is_empty());
}

#[tokio::test]
async fn a_blank_query_is_refused_without_asking() {
    let lighton = FakeLightOn::new();

    let error = client(&lighton.url(), options())
        .search(&SearchQuery::new(" \n\t"))
        .await
        .unwrap_err();

    let Error::Query { field, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(field.as_deref(), Some("query"));
    assert!(lighton.requests().is_empty());
}

#[tokio::test]
async fn a_long_query_is_cut_at_a_word_and_the_answer_says_so() {
    let lighton = FakeLightOn::new().finds([]);
    let query = SearchQuery::new("données ".repeat(1000));

    let found = client(&lighton.url(), options())
        .search(&query)
        .await
        .unwrap();

    let sent = lighton.request().json();
    let sent = sent["query"].as_str().unwrap();
    // Eight characters a word with its space, counted as Python counts, not in bytes.
    assert_eq!(sent.chars().count(), 3999);
    assert!(sent.ends_with("données"));
    assert_eq!(
        found.warnings,
        ["query: only its first 4000 characters were searched for"]
    );
}

#[tokio::test]
async fn the_address_may_end_in_a_slash_a_prefix_or_the_version() {
    for (suffix, path) in [
        ("", "/api/v3/search"),
        ("/", "/api/v3/search"),
        ("/api/v3", "/api/v3/search"),
        ("/api/v3/", "/api/v3/search"),
        ("/lighton/", "/lighton/api/v3/search"),
    ] {
        let lighton = FakeLightOn::new().finds([]);
        search(&format!("{}{suffix}", lighton.url())).await.unwrap();
        assert_eq!(lighton.request().path, path, "{suffix:?}");
    }
}

#[tokio::test]
async fn a_key_that_no_header_carries_is_refused_when_the_client_is_made() {
    let url = "http://127.0.0.1:1".parse().unwrap();

    let error = LightOn::new(&url, Secret::new("two\nlines"), options()).unwrap_err();

    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
    assert!(!error.to_string().contains("lines"));
}

#[tokio::test]
async fn searches_share_a_kept_connection() {
    let lighton = FakeLightOn::new()
        .then(found([]))
        .then(found([]))
        .then(found([]));
    let client = client(&lighton.url(), options());

    for _ in 0..3 {
        client.search(&SearchQuery::new("q")).await.unwrap();
    }

    assert_eq!(lighton.connections(), 1);
}
