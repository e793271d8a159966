//! `POST /api/v3/search`.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Answer, Service, form};

const QUESTION: &str = "What is our data retention policy?";

#[tokio::test]
async fn a_passage_has_every_field_of_the_contract_and_no_other() {
    let service = Service::handbook().await;

    let answer = service
        .search(json!({"query": QUESTION, "max_results": 1}))
        .await;

    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&answer.body), ["results"], "no warnings, no paging");
    let passage = &answer.body["results"][0];
    assert_eq!(
        names(passage),
        [
            "chunk_id",
            "content",
            "score",
            "scores",
            "source",
            "workspace"
        ]
    );
    assert_eq!(
        names(&passage["scores"]),
        ["text", "vision", "keyword", "multivector", "relevance"]
    );
    assert_eq!(
        names(&passage["source"]),
        [
            "file_id",
            "filename",
            "title",
            "mime_type",
            "size_bytes",
            "page_start",
            "page_end",
            "total_pages",
            "tags",
            "content_types",
            "external_metadata",
        ]
    );
    assert_eq!(passage["source"]["filename"], "data-retention-policy.md");
    assert_eq!(passage["source"]["mime_type"], "md");
    assert_eq!(
        passage["workspace"],
        json!({"id": 1, "name": "Brightwater Handbook"})
    );
    assert_eq!(passage["chunk_id"].as_str().unwrap().len(), 36);
    assert!(passage["source"]["total_pages"].as_i64().unwrap() >= 1);
}

#[tokio::test]
async fn passages_come_best_first_and_never_more_than_asked_for() {
    let service = Service::handbook().await;
    for most in [1, 3, 10, 100] {
        let scoring = "scoring_only";
        let passages = service
            .find(json!({"query": "data of customers", "max_results": most, "relevance_scoring": scoring}))
            .await;
        assert!(!passages.is_empty() && passages.len() <= most);
        let scores: Vec<f64> = passages
            .iter()
            .map(|passage| passage["score"].as_f64().unwrap())
            .collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
}

#[tokio::test]
async fn ten_passages_come_at_most_when_no_number_is_asked_for() {
    let service = Service::handbook().await;
    let passages = service
        .find(json!({"query": "days", "relevance_scoring": "none"}))
        .await;
    assert_eq!(passages.len(), 10);
}

#[tokio::test]
async fn relevance_is_told_exactly_when_it_was_scored() {
    let service = Service::handbook().await;
    for (scoring, scored) in [
        (json!({"relevance_scoring": "scoring_and_filtering"}), true),
        (json!({"relevance_scoring": "scoring_only"}), true),
        (json!({"relevance_scoring": "none"}), false),
        (json!({"skip_rerank": true}), false),
        (json!({"skip_rerank": false}), true),
        (
            json!({"skip_rerank": true, "relevance_scoring": "scoring_only"}),
            true,
        ),
        (json!({}), true),
    ] {
        let mut body = scoring.clone();
        body["query"] = json!(QUESTION);
        let passage = &service.find(body).await[0];
        assert_eq!(
            passage["scores"]["relevance"].is_number(),
            scored,
            "{scoring}"
        );
        if scored {
            assert_eq!(
                passage["score"], passage["scores"]["relevance"],
                "{scoring}"
            );
        }
        assert!(passage["score"].is_number());
    }
}

#[tokio::test]
async fn filtering_leaves_out_what_fits_badly() {
    let service = Service::handbook().await;
    let ask = |scoring| json!({"query": "battery of a sensor", "max_results": 100, "relevance_scoring": scoring});
    let filtered = service.find(ask("scoring_and_filtering")).await;
    let all = service.find(ask("scoring_only")).await;
    assert!(!filtered.is_empty() && filtered.len() < all.len());
}

#[tokio::test]
async fn filters_narrow_what_is_found() {
    let service = Service::handbook().await;
    let tag = service
        .post(
            "/api/v3/tags",
            json!({"name": "security", "description": ""}),
        )
        .await
        .id();
    let tagged = service
        .upload_form(
            form(
                "keys.md",
                "# Keys\n\nSpare keys are kept in the blue cabinet.",
            )
            .text("workspace_id", "2")
            .text("tags", tag.to_string()),
        )
        .await
        .id();
    let find = async |filter: Value| {
        let mut body = filter;
        body["query"] = json!("Where are the spare keys, and who is on call at night?");
        body["max_results"] = json!(50);
        service.find(body).await
    };

    for passage in find(json!({"workspace_id": [2]})).await {
        assert_eq!(passage["workspace"]["id"], 2);
    }
    for filter in [
        json!({"file_id": [tagged]}),
        json!({"tag_id": [tag]}),
        json!({"tag_id": [tag], "workspace_id": [2]}),
        // An id that names nothing is passed over beside one that names something.
        json!({"file_id": [tagged, 999_999]}),
        // An empty list is no filter.
        json!({"file_id": [tagged], "workspace_id": [], "tag_id": []}),
    ] {
        let passages = find(filter.clone()).await;
        assert!(!passages.is_empty(), "{filter}");
        for passage in passages {
            assert_eq!(passage["source"]["file_id"], tagged, "{filter}");
            assert_eq!(
                passage["source"]["tags"],
                json!([{"id": tag, "name": "security"}])
            );
        }
    }
    assert!(
        find(json!({"tag_id": [tag], "workspace_id": [1]}))
            .await
            .is_empty(),
        "both filters hold"
    );
    assert!(
        find(json!({"content_type": ["legal"]})).await.is_empty(),
        "nothing is classified here"
    );
    assert!(
        find(json!({"attribute": ["year:2024|2025"]}))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn filters_that_reach_nothing_are_403() {
    let service = Service::handbook().await;
    for filter in ["workspace_id", "tag_id", "file_id"] {
        let answer = service
            .search(json!({"query": "x", filter: [999_999]}))
            .await;
        answer.assert_error(403, "forbidden");
    }
}

#[tokio::test]
async fn a_question_that_nothing_answers_is_200_with_no_passages() {
    let service = Service::handbook().await;
    assert!(
        service
            .find(json!({"query": "zyxgrumpfl"}))
            .await
            .is_empty()
    );
    assert!(service.find(json!({"query": "?!"})).await.is_empty());
}

#[tokio::test]
async fn each_bad_field_is_told_with_its_code() {
    let service = Service::handbook().await;
    for (body, field, code) in [
        (json!({}), "query", "required"),
        (json!({"query": null}), "query", "null"),
        (json!({"query": ""}), "query", "blank"),
        (json!({"query": " \n"}), "query", "blank"),
        (json!({"query": ["x"]}), "query", "invalid"),
        (json!({"query": "é".repeat(4001)}), "query", "max_length"),
        (
            json!({"query": "x", "max_results": 0}),
            "max_results",
            "min_value",
        ),
        (
            json!({"query": "x", "max_results": 101}),
            "max_results",
            "max_value",
        ),
        (
            json!({"query": "x", "max_results": "many"}),
            "max_results",
            "invalid",
        ),
        (
            json!({"query": "x", "max_results": 1.5}),
            "max_results",
            "invalid",
        ),
        (
            json!({"query": "x", "workspace_id": 1}),
            "workspace_id",
            "not_a_list",
        ),
        (
            json!({"query": "x", "workspace_id": ["one"]}),
            "workspace_id",
            "invalid",
        ),
        (json!({"query": "x", "tag_id": null}), "tag_id", "null"),
        (
            json!({"query": "x", "mode": "sound"}),
            "mode",
            "invalid_choice",
        ),
        (
            json!({"query": "x", "relevance_scoring": "some"}),
            "relevance_scoring",
            "invalid_choice",
        ),
        (
            json!({"query": "x", "include_image": "perhaps"}),
            "include_image",
            "invalid",
        ),
        (
            json!({"query": "x", "file_id": [1], "workspace_id": [1]}),
            "file_id",
            "invalid",
        ),
        (
            json!({"query": "x", "file_id": [1], "tag_id": [1]}),
            "file_id",
            "invalid",
        ),
        (
            json!({"query": "x", "attribute": [7]}),
            "attribute",
            "invalid",
        ),
    ] {
        service.search(body).await.assert_field(field, code);
    }
    // Two faults are told at once.
    let answer = service.search(json!({"max_results": 0})).await;
    answer.assert_field("query", "required");
    answer.assert_field("max_results", "min_value");
}

#[tokio::test]
async fn the_longest_query_is_counted_in_characters_not_bytes() {
    let service = Service::handbook().await;
    service.find(json!({"query": "é".repeat(4000)})).await;
}

#[tokio::test]
async fn a_form_is_taken_as_json_is() {
    let service = Service::handbook().await;
    let request = service.request(Method::POST, "/api/v3/search").form(&[
        ("query", QUESTION),
        ("max_results", "2"),
        ("workspace_id", "1"),
        ("workspace_id", "2"),
    ]);
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        answer.body["results"][0]["source"]["filename"],
        "data-retention-policy.md"
    );
}

#[tokio::test]
async fn images_and_boxes_come_only_when_asked_for() {
    let service = Service::handbook().await;
    let passage = &service
        .find(json!({"query": QUESTION, "include_image": true, "include_bboxes": true}))
        .await[0];
    let image = STANDARD
        .decode(passage["image"]["b64_content"].as_str().unwrap())
        .unwrap();
    assert!(image.starts_with(b"\x89PNG"));
    assert_eq!(passage["bboxes"], json!([]), "boxes are for PDF files");
}

#[tokio::test]
async fn vision_mode_has_images_in_place_of_text() {
    let service = Service::handbook().await;
    let passage = &service
        .find(json!({"query": QUESTION, "mode": "vision", "include_image": true}))
        .await[0];
    assert_eq!(passage["content"], Value::Null);
    assert!(passage["scores"]["vision"].is_number());
    for signal in ["text", "keyword", "multivector"] {
        assert_eq!(passage["scores"][signal], Value::Null, "{signal}");
    }
    assert!(!passage["image"]["b64_content"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn the_old_contract_has_an_object_for_a_score_and_its_own_limits() {
    let service = Service::with_object_scores().await;

    let scored = &service.find(json!({"query": QUESTION})).await[0];
    let unscored = &service
        .find(json!({"query": QUESTION, "skip_rerank": true}))
        .await[0];

    assert!(scored.get("scores").is_none());
    assert!(scored["score"]["retrieval"].is_number() && scored["score"]["reranking"].is_number());
    assert!(unscored["score"]["retrieval"].is_number());
    assert_eq!(unscored["score"]["reranking"], Value::Null);
    service
        .search(json!({"query": "x".repeat(1501)}))
        .await
        .assert_field("query", "max_length");
    service
        .search(json!({"query": "x", "max_results": 51}))
        .await
        .assert_field("max_results", "max_value");
}

#[tokio::test]
async fn the_same_passage_keeps_its_id() {
    let (first, second) = (Service::handbook().await, Service::handbook().await);
    let body = json!({"query": QUESTION, "max_results": 3});
    let ids = |passages: Vec<Value>| {
        passages
            .iter()
            .map(|passage| passage["chunk_id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(first.find(body.clone()).await),
        ids(second.find(body).await)
    );
}
