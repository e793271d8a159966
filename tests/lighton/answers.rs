//! What comes back: both shapes of scores, everything that may be null, and results that lack something.

use groundwire::{
    config::{Retry, WorkspaceId},
    retrieval::{
        Passage, Retriever, Scores, SearchQuery, Source, Tag, Workspace, lighton::Options,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    client, options, search,
    support::{
        lighton::{FakeLightOn, found, result},
        reply::Reply,
    },
};

#[tokio::test]
async fn a_result_of_today_is_read_whole() {
    let mut one = result("JWT tokens expire.");
    one["image"] = json!({"b64_content": "aGk="});
    one["bboxes"] = json!([{"page_number": 3, "x": 1.5}]);
    one["source"]["external_metadata"] = json!({"external_id": "x-1"});
    one["source"]["content_types"] = json!([{"path": "legal"}]);
    one["unknown"] = json!({"ignored": true});
    let lighton = FakeLightOn::new().finds([one]);

    let found = search(&lighton.url()).await.unwrap();

    let expected = Passage {
        chunk_id: "550e8400-e29b-41d4-a716-446655440000".to_owned(),
        content: "JWT tokens expire.".to_owned(),
        score: 0.95,
        scores: Scores {
            text: Some(0.92),
            vision: None,
            keyword: Some(11.4),
            multivector: Some(24.8),
            relevance: Some(0.95),
        },
        source: Source {
            file_id: 512,
            filename: "policy.pdf".to_owned(),
            title: Some("Data policy".to_owned()),
            mime_type: Some("pdf".to_owned()),
            size_bytes: Some(482_113),
            page_start: Some(3),
            page_end: Some(4),
            total_pages: Some(12),
            tags: vec![Tag {
                id: 7,
                name: "security".to_owned(),
            }],
            content_types: vec![json!({"path": "legal"})],
            external_metadata: Some(json!({"external_id": "x-1"})),
        },
        workspace: Some(Workspace {
            id: WorkspaceId(42),
            name: "Engineering Docs".to_owned(),
        }),
        image: Some("aGk=".to_owned()),
        bboxes: Some(json!([{"page_number": 3, "x": 1.5}])),
    };
    assert_eq!(found.passages, [expected]);
    assert!(found.warnings.is_empty());
}

#[tokio::test]
async fn a_score_may_be_an_object_as_it_was_before_june_2026() {
    let old = |score: Value| {
        let mut one = result("old");
        one["score"] = score;
        one.as_object_mut().unwrap().remove("scores");
        one
    };
    let lighton = FakeLightOn::new().finds([
        old(json!({"retrieval": 0.92, "reranking": 0.95})),
        old(json!({"retrieval": 0.5, "reranking": null})),
    ]);

    let found = search(&lighton.url()).await.unwrap();

    let read: Vec<_> = found
        .passages
        .iter()
        .map(|passage| (passage.score, passage.scores.relevance))
        .collect();
    assert_eq!(read, [(0.95, Some(0.95)), (0.5, None)]);
}

#[tokio::test]
async fn whatever_may_be_null_may_also_be_missing_or_odd() {
    let nulls = json!({
        "chunk_id": "c1", "content": null, "score": 2,
        "scores": {"text": null, "vision": null, "keyword": null, "multivector": null, "relevance": null},
        "source": {
            "file_id": 1, "filename": "a.pdf", "title": null, "mime_type": null, "size_bytes": null, "page_start": null,
            "page_end": null, "total_pages": 0, "tags": [], "content_types": null, "external_metadata": null
        },
        "workspace": null, "image": {"b64_content": ""}, "bboxes": null
    });
    let missing =
        json!({"chunk_id": "c1", "score": 2, "source": {"file_id": 1, "filename": "a.pdf"}});
    let odd = json!({
        "chunk_id": "c1", "content": 5, "score": 2, "scores": "none",
        "source": {
            "file_id": 1, "filename": "a.pdf", "title": [], "mime_type": 1, "size_bytes": -1, "page_start": 0,
            "page_end": 4.5, "total_pages": "twelve", "tags": [{"id": "x"}, null], "content_types": {}
        },
        "workspace": "Engineering", "image": null
    });
    let lighton = FakeLightOn::new().finds([nulls, missing, odd]);

    let found = search(&lighton.url()).await.unwrap();

    let bare = Passage {
        chunk_id: "c1".to_owned(),
        content: String::new(),
        score: 2.0,
        scores: Scores::default(),
        source: Source {
            file_id: 1,
            filename: "a.pdf".to_owned(),
            ..Source::default()
        },
        workspace: None,
        image: None,
        bboxes: None,
    };
    assert_eq!(found.passages, [bare.clone(), bare.clone(), bare]);
    assert!(found.warnings.is_empty());
}

#[tokio::test]
async fn a_result_that_lacks_what_a_passage_needs_is_left_out_with_a_warning() {
    let without = |part: &str| {
        let mut one = result("x");
        match part.split_once('.') {
            Some((outer, inner)) => one[outer].as_object_mut().unwrap().remove(inner),
            None => one.as_object_mut().unwrap().remove(part),
        };
        one
    };
    let mut unscored = result("x");
    unscored["score"] = Value::Null;
    unscored["scores"]["relevance"] = Value::Null;
    let lighton = FakeLightOn::new().finds([
        without("chunk_id"),
        without("source"),
        without("source.filename"),
        result("kept"),
        without("source.file_id"),
        unscored,
        json!("text"),
        json!(["c1", "content", 1]),
        Value::Null,
    ]);

    let found = search(&lighton.url()).await.unwrap();

    assert_eq!(found.passages.len(), 1);
    assert_eq!(found.passages[0].content, "kept");
    assert_eq!(
        found.warnings,
        ["results: 8 of 9 lacked what a passage needs and were left out"]
    );
}

#[tokio::test]
async fn a_missing_score_is_the_relevance() {
    let mut one = result("x");
    one.as_object_mut().unwrap().remove("score");
    let lighton = FakeLightOn::new().finds([one]);

    assert_eq!(
        search(&lighton.url()).await.unwrap().passages[0].score,
        0.95
    );
}

#[tokio::test]
async fn warnings_are_told_as_code_and_reason() {
    let body = json!({
        "results": [],
        "warnings": [
            {"code": "relevance", "reason": "timeout"},
            {"code": "vision"},
            "something else",
            {"reason": "nothing to name"},
            7
        ]
    });
    let lighton = FakeLightOn::new().then(Reply::json(body));

    let found = search(&lighton.url()).await.unwrap();

    assert_eq!(
        found.warnings,
        ["relevance: timeout", "vision: unknown", "something else"]
    );
}

#[tokio::test]
async fn no_match_is_an_empty_answer() {
    let lighton = FakeLightOn::new().finds([]);
    assert_eq!(
        search(&lighton.url()).await.unwrap(),
        groundwire::retrieval::Found::default()
    );
}

#[tokio::test]
async fn passages_keep_the_order_of_the_service_and_their_number_never_exceeds_what_was_asked() {
    let lighton = FakeLightOn::new().then(found(["a", "b", "c"].map(result)));
    let query = SearchQuery {
        max_results: 2,
        ..SearchQuery::new("q")
    };

    let found = client(&lighton.url(), options())
        .search(&query)
        .await
        .unwrap();

    let contents: Vec<_> = found
        .passages
        .iter()
        .map(|passage| passage.content.as_str())
        .collect();
    assert_eq!(contents, ["a", "b"]);
}

#[tokio::test]
async fn an_answer_with_images_is_read_up_to_its_limit_and_not_beyond() {
    let image = "A".repeat(1024 * 1024);
    let mut one = result("page");
    one["image"] = json!({"b64_content": image});
    let large = json!({"results": [one]}).to_string();
    let endless = Reply::stream("application/json").piece("{\"results\":[\"");
    let endless = (0..65).fold(endless, |reply, _| reply.piece(image.clone()));
    let lighton = FakeLightOn::new()
        .then(Reply::body("application/json", large))
        .then(endless.hang());

    let found = search(&lighton.url()).await.unwrap();
    let error = search(&lighton.url()).await.unwrap_err();

    assert_eq!(found.passages[0].image.as_ref().unwrap().len(), image.len());
    assert!(
        error.to_string().contains("larger than 67108864 bytes"),
        "{error}"
    );
    lighton.closed().await;
}

/// Any JSON, so made that it often looks like an answer.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "results",
        "warnings",
        "error",
        "detail",
        "code",
        "chunk_id",
        "content",
        "score",
        "scores",
        "source",
        "file_id",
        "filename",
        "page_start",
        "tags",
        "workspace",
        "id",
        "name",
        "image",
        "b64_content",
        "reason",
        "relevance",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|fields| fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_an_answer_or_an_error_and_never_a_panic(
        bodies in prop::collection::vec(any_json(), 1..8),
        results in prop::collection::vec(any_json(), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let lighton = FakeLightOn::new();
            let retry = Retry { attempts: 1, ..options().retry };
            let client = client(&lighton.url(), Options { retry, ..options() });
            let query = SearchQuery::new("q");
            let count = results.len();
            lighton.push(found(results));
            if let Ok(found) = client.search(&query).await {
                assert!(found.passages.len() <= count);
                assert!(found.passages.iter().all(|passage| passage.score.is_finite()));
            }
            for body in bodies {
                lighton.push(Reply::json(body));
                let _ = client.search(&query).await;
            }
        });
    }
}
