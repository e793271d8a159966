//! `/v1/vector_stores`: workspaces that a key reaches, and search in them.

use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Reply as Answer, sha256},
    support::{
        lighton::{FakeLightOn, found, refusal, result},
        reply::Reply,
        server::Server,
    },
};

async fn gateway(search: &FakeLightOn, more: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [search]
        base_url = "{}"
        api_key = "search-key"
        [retry]
        attempts = 1
        [upstreams.gpu]
        base_url = "http://127.0.0.1:9/v1"
        {more}
        "#,
        search.url()
    ))
    .await
}

fn workspace(id: i64, name: &str, created: &str, files: u64) -> Value {
    json!({"id": id, "name": name, "created_at": created, "files_count": files, "workspace_type": "custom"})
}

fn page(workspaces: &[Value]) -> Reply {
    Reply::json(
        json!({"count": workspaces.len(), "next": null, "previous": null, "results": workspaces}),
    )
}

fn three() -> Reply {
    page(&[
        workspace(42, "Alpha", "2026-01-02T00:00:00Z", 3),
        workspace(43, "Beta", "2026-01-03T00:00:00Z", 0),
        workspace(44, "Gamma", "2026-01-01T00:00:00Z", 1),
    ])
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|store| store["id"].as_str().unwrap())
        .collect()
}

/// A passage of its own id, relevance and workspace.
fn passage(id: u8, relevance: f64, workspace: i64) -> Value {
    let mut passage = result(&format!("text {id}"));
    passage["chunk_id"] = json!(format!("550e8400-e29b-41d4-a716-4466554400{id:02}"));
    passage["score"] = json!(relevance);
    passage["scores"]["relevance"] = json!(relevance);
    passage["workspace"]["id"] = json!(workspace);
    passage
}

fn texts(page: &Value) -> Vec<&str> {
    page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["content"][0]["text"].as_str().unwrap())
        .collect()
}

async fn search(gateway: &Gateway, store: &str, body: Value) -> Answer {
    gateway
        .post(&format!("/v1/vector_stores/{store}/search"), body)
        .await
}

#[tokio::test]
async fn workspaces_are_listed_newest_first_and_in_pages() {
    let lighton = FakeLightOn::new().always("/api/v3/workspaces", three());
    let gateway = gateway(&lighton, "").await;

    let all = gateway.get("/v1/vector_stores").await.ok();
    let first = gateway.get("/v1/vector_stores?limit=2").await.ok();
    let rest = gateway
        .get("/v1/vector_stores?limit=2&after=vs_42")
        .await
        .ok();
    let oldest = gateway
        .get("/v1/vector_stores?order=asc&limit=1")
        .await
        .ok();
    let before = gateway
        .get("/v1/vector_stores?before=44&limit=1")
        .await
        .ok();

    assert_eq!(ids(&all), ["vs_43", "vs_42", "vs_44"]);
    assert_eq!(
        all["data"][1],
        json!({
            "id": "vs_42", "object": "vector_store", "created_at": 1_767_312_000, "name": "Alpha", "usage_bytes": 0,
            "file_counts": {"in_progress": 0, "completed": 3, "failed": 0, "cancelled": 0, "total": 3},
            "status": "completed", "expires_at": null, "last_active_at": null, "metadata": {}
        })
    );
    assert_eq!(ids(&first), ["vs_43", "vs_42"]);
    assert_eq!(
        (&first["first_id"], &first["last_id"], &first["has_more"]),
        (&json!("vs_43"), &json!("vs_42"), &json!(true))
    );
    assert_eq!(
        (ids(&rest), &rest["has_more"]),
        (vec!["vs_44"], &json!(false))
    );
    assert_eq!(ids(&oldest), ["vs_44"]);
    assert_eq!(ids(&before), ["vs_42"]);
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=x", "order"),
        ("after=vs_9", "after"),
    ] {
        gateway
            .get(&format!("/v1/vector_stores?{query}"))
            .await
            .refused(400, "invalid_value", param);
    }
}

#[tokio::test]
async fn a_workspace_goes_by_both_its_names() {
    let lighton = FakeLightOn::new()
        .always(
            "/api/v3/workspaces/42",
            Reply::json(workspace(42, "Alpha", "2026-01-02T00:00:00Z", 3)),
        )
        .always("/api/v3/workspaces/9", refusal(404, "not_found", "gone"));
    let gateway = gateway(&lighton, "").await;

    for id in ["42", "vs_42"] {
        let store = gateway.get(&format!("/v1/vector_stores/{id}")).await.ok();
        assert_eq!(
            (&store["id"], &store["name"]),
            (&json!("vs_42"), &json!("Alpha"))
        );
    }
    for id in ["9", "vs_9", "vs_042", "vs_", "x"] {
        gateway
            .get(&format!("/v1/vector_stores/{id}"))
            .await
            .refused(404, "not_found", "");
    }
    gateway
        .post("/v1/vector_stores", json!({"name": "n"}))
        .await
        .refused(405, "method_not_allowed", "");
}

#[tokio::test]
async fn what_a_key_does_not_reach_does_not_exist() {
    let lighton = FakeLightOn::new().always("/api/v3/workspaces", three());
    let keys = format!(
        r#"
        [[keys]]
        name = "narrow"
        sha256 = "{}"
        workspace_id = [42]
        "#,
        sha256("narrow")
    );
    let gateway = gateway(&lighton, &keys).await;
    let with_key = |request: reqwest::RequestBuilder| Answer::of(request.bearer_auth("narrow"));

    let listed = with_key(gateway.request(reqwest::Method::GET, "/v1/vector_stores")).await;
    assert_eq!(ids(&listed.ok()), ["vs_42"]);
    with_key(gateway.request(reqwest::Method::GET, "/v1/vector_stores/43"))
        .await
        .refused(404, "not_found", "");
    let outside = gateway
        .request(reqwest::Method::POST, "/v1/vector_stores/vs_43/search")
        .json(&json!({"query": "a"}));
    with_key(outside).await.refused(404, "not_found", "");
    gateway
        .get("/v1/vector_stores")
        .await
        .refused(401, "invalid_api_key", "");
    assert_eq!(lighton.requests().len(), 1, "nothing outside was asked for");
}

#[tokio::test]
async fn a_search_answers_in_openais_shape_and_stays_in_its_workspace() {
    let elsewhere = passage(2, 0.9, 43);
    let mut odd = passage(3, 0.8, 42);
    odd["source"]["external_metadata"] = json!({
        "external_id": "x", "external_url": null,
        "additional_metadata": {"team": "legal", "year": 2024, "final": true, "list": [1], "long": "x".repeat(513)}
    });
    let lighton = FakeLightOn::new().finds([passage(1, 0.95, 42), elsewhere, odd]);
    let gateway = gateway(&lighton, "").await;

    let answer = search(
        &gateway,
        "vs_42",
        json!({"query": "retention", "max_num_results": 7, "ranking_options": {"ranker": "auto", "score_threshold": 0.5}}),
    )
    .await
    .ok();

    let sent = lighton.request().json();
    assert_eq!(
        (&sent["query"], &sent["max_results"], &sent["workspace_id"]),
        (&json!("retention"), &json!(7), &json!([42]))
    );
    assert_eq!(answer["object"], "vector_store.search_results.page");
    assert_eq!(answer["search_query"], json!(["retention"]));
    assert_eq!(
        (&answer["has_more"], &answer["next_page"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(texts(&answer), ["text 1", "text 3"]);
    assert_eq!(
        answer["data"][0],
        json!({
            "file_id": "512", "filename": "policy.pdf", "score": 0.95,
            "attributes": {"chunk_id": "550e8400-e29b-41d4-a716-446655440001", "title": "Data policy", "page_start": 3, "page_end": 4},
            "content": [{"type": "text", "text": "text 1"}]
        })
    );
    let attributes = &answer["data"][1]["attributes"];
    assert_eq!(
        (
            &attributes["team"],
            &attributes["year"],
            &attributes["final"]
        ),
        (&json!("legal"), &json!(2024), &json!(true))
    );
    assert_eq!(
        (attributes.get("list"), attributes.get("long")),
        (None, None)
    );
}

#[tokio::test]
async fn several_queries_run_at_once_and_their_results_are_merged() {
    let lighton = FakeLightOn::new()
        .then(found([passage(1, 0.6, 42), passage(2, 0.5, 42)]))
        .then(found([
            passage(3, 0.9, 42),
            passage(1, 0.7, 42),
            passage(4, 0.1, 42),
        ]));
    let gateway = gateway(&lighton, "").await;

    let answer = search(
        &gateway,
        "42",
        json!({"query": ["a", "b"], "max_num_results": 3, "ranking_options": {"ranker": "none", "score_threshold": 0.2}}),
    )
    .await
    .ok();

    assert_eq!(answer["search_query"], json!(["a", "b"]));
    assert_eq!(texts(&answer), ["text 3", "text 1", "text 2"]);
    assert_eq!(answer["data"][1]["score"], 0.7);
    for request in lighton.requests() {
        assert_eq!(request.json()["relevance_scoring"], "none");
    }
}

#[tokio::test]
async fn filters_reach_lighton_or_are_refused() {
    let lighton = FakeLightOn::new().finds([passage(1, 0.6, 42)]);
    let gateway = gateway(&lighton, "").await;
    let filters = |filters: Value| json!({"query": "q", "filters": filters});

    let both = json!({"type": "and", "filters": [
        {"type": "gte", "key": "year", "value": 2020}, {"type": "in", "key": "tag_id", "value": [7, 8]}]});
    search(&gateway, "42", filters(both)).await.ok();
    let sent = lighton.request().json();
    assert_eq!(
        (&sent["attribute"], &sent["tag_id"]),
        (&json!(["year:>=2020"]), &json!([7, 8]))
    );

    let not = json!({"type": "ne", "key": "year", "value": 2020});
    search(&gateway, "42", filters(not))
        .await
        .refused(400, "invalid_value", "filters");
}

#[tokio::test]
async fn a_query_is_reworded_by_the_configured_model_and_told_as_it_was_searched() {
    let lighton = FakeLightOn::new().always("/api/v3/search", found([passage(1, 0.6, 42)]));
    let model = Server::new().then(Reply::json(json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "\"data retention period\""}, "finish_reason": "stop"}]
    })));
    let rewriting = format!(
        "[upstreams.words]\nbase_url = \"{}/v1\"\n[rag]\nrewrite_model = \"words/m\"",
        model.url()
    );
    let with_model = gateway(&lighton, &rewriting).await;
    let without = gateway(&lighton, "").await;
    let body = json!({"query": "how long?", "rewrite_query": true});

    let reworded = search(&with_model, "42", body.clone()).await.ok();
    let as_it_is = search(&without, "42", body).await.ok();

    assert_eq!(reworded["search_query"], json!(["data retention period"]));
    assert_eq!(as_it_is["search_query"], json!(["how long?"]));
    assert_eq!(
        lighton.requests()[0].json()["query"],
        "data retention period"
    );
}

#[tokio::test]
async fn nothing_found_and_nowhere_to_look_are_different_answers() {
    let lighton = FakeLightOn::new()
        .then(found([]))
        .on(
            "/api/v3/workspaces/42",
            Reply::json(workspace(42, "Alpha", "2026-01-02T00:00:00Z", 0)),
        )
        .then(refusal(403, "forbidden", "no authorized resources"));
    let gateway = gateway(&lighton, "").await;

    let empty = search(&gateway, "42", json!({"query": "q"})).await.ok();
    assert_eq!(empty["data"], json!([]));
    search(&gateway, "43", json!({"query": "q"}))
        .await
        .refused(404, "not_found", "");
    search(&gateway, "42", json!({"query": ""}))
        .await
        .refused(400, "invalid_value", "query");
}
