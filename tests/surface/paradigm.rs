//! `/v1/files` over Paradigm's files, version 2: whole numbers, numbered pages, no workspaces told.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Reply as Answer, sha256},
    support::{reply::Reply, server::Server},
};

async fn gateway(paradigm: &Server, more: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [search]
        base_url = "http://127.0.0.1:9"
        api_key = "search-key"
        [files]
        target = "paradigm"
        [retry]
        attempts = 1
        [upstreams.paradigm]
        base_url = "{}/api/v2"
        api_key = "paradigm-key"
        {more}
        "#,
        paradigm.url()
    ))
    .await
}

fn stored(id: i64) -> Value {
    json!({"id": id, "object": "list", "created_at": 1_631_533_200, "filename": format!("f{id}.pdf"), "purpose": "documents", "status": "embedded"})
}

fn page(ids: std::ops::Range<i64>, next: Value) -> Reply {
    let data: Vec<Value> = ids.rev().map(stored).collect();
    Reply::json(
        json!({"next": next, "previous": null, "count": 23, "object": "list", "data": data}),
    )
}

fn missing() -> Reply {
    Reply::json(json!({"code": 404, "error": "not_found", "detail": "File not found."}))
        .with_status(404)
}

#[tokio::test]
async fn an_upload_needs_no_workspace_and_says_one_where_it_is_named() {
    let mut answer = stored(1);
    answer["bytes"] = json!(20032);
    let paradigm = Server::new().always("POST /api/v2/files", Reply::json(answer).with_status(201));
    let gateway = gateway(&paradigm, "").await;
    let file = || Part::text("text").file_name("document.pdf");
    let upload =
        |form: Form| Answer::of(gateway.request(Method::POST, "/v1/files").multipart(form));

    let form = Form::new()
        .text("purpose", "assistants")
        .part("file", file());
    let bare = upload(form).await.ok();
    let form = Form::new().part("file", file()).text("workspace_id", "42");
    upload(form).await.ok();

    assert_eq!(
        bare,
        json!({
            "id": "1", "object": "file", "bytes": 20032, "created_at": 1_631_533_200, "filename": "f1.pdf",
            "purpose": "assistants", "status": "processed"
        })
    );
    let [first, second] = &paradigm.requests()[..] else {
        panic!("two uploads");
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(first.header("authorization"), Some("Bearer paradigm-key"));
    assert!(!text(&first.body).contains("workspace_id"));
    assert!(text(&second.body).contains("name=\"collection_type\"\r\n\r\nworkspace\r\n"));
    assert!(text(&second.body).contains("name=\"workspace_id\"\r\n\r\n42\r\n"));
}

#[tokio::test]
async fn numbered_pages_of_twenty_become_one_list() {
    let paradigm = Server::new()
        .then(page(4..24, json!("http://paradigm/next")))
        .then(page(1..4, Value::Null));
    let gateway = gateway(&paradigm, "").await;

    let listed = gateway.get("/v1/files").await.ok();

    let data = listed["data"].as_array().unwrap();
    assert_eq!(data.len(), 23);
    assert_eq!(
        (&data[0]["id"], &data[22]["id"]),
        (&json!("23"), &json!("1"))
    );
    assert_eq!(data[0]["bytes"], 0, "its lists tell no size");
    let queries: Vec<String> = paradigm
        .requests()
        .into_iter()
        .map(|request| request.query)
        .collect();
    assert_eq!(queries, ["page=1", "page=2"]);
}

#[tokio::test]
async fn a_file_is_shown_read_and_deleted() {
    let mut with_text = stored(1);
    with_text["content"] = json!("What it says.");
    let paradigm = Server::new()
        .then(Reply::json(stored(1)))
        .then(Reply::json(stored(1)))
        .then(Reply::json(with_text))
        .then(Reply::json(stored(1)))
        .on(
            "DELETE /api/v2/files/1",
            Reply::json(json!({"id": 1, "deleted": true})),
        )
        .on("GET /api/v2/files/2", missing());
    let gateway = gateway(&paradigm, "").await;

    assert_eq!(gateway.get("/v1/files/1").await.ok()["id"], "1");
    let content = gateway.get("/v1/files/1/content").await;
    assert_eq!(
        (content.status, content.body.as_str()),
        (200, "What it says.")
    );
    let deleted = gateway.delete("/v1/files/1").await.ok();
    assert_eq!(
        deleted,
        json!({"id": "1", "object": "file", "deleted": true})
    );
    gateway
        .get("/v1/files/2")
        .await
        .refused(404, "not_found", "");
}

#[tokio::test]
async fn a_narrow_key_sees_only_what_the_lists_of_its_workspaces_hold() {
    let keys = format!(
        "[[keys]]\nname = \"narrow\"\nsha256 = \"{}\"\nworkspace_id = [42]",
        sha256("narrow")
    );
    let paradigm = Server::new()
        .always("GET /api/v2/files/1", Reply::json(stored(1)))
        .always("GET /api/v2/files/9", Reply::json(stored(9)))
        .always("GET /api/v2/files", page(1..4, Value::Null));
    let gateway = gateway(&paradigm, &keys).await;
    let get = |path: &str| Answer::of(gateway.request(Method::GET, path).bearer_auth("narrow"));

    assert_eq!(get("/v1/files/1").await.ok()["id"], "1");
    get("/v1/files/9").await.refused(404, "not_found", "");
    assert_eq!(
        get("/v1/files").await.ok()["data"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let lists: Vec<_> = paradigm
        .requests()
        .into_iter()
        .filter(|request| request.path == "/api/v2/files")
        .collect();
    assert!(
        lists
            .iter()
            .all(|request| request.query.contains("workspace_scope=42")),
        "{lists:?}"
    );
}
