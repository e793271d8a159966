//! `/v1/files` over LightOn's files: uploads that pass through, lists, and what a key does not reach.

use reqwest::{
    Body, Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Reply as Answer, sha256},
    support::{
        lighton::{FakeLightOn, found, refusal, result},
        reply::Reply,
    },
};

pub(crate) async fn gateway(lighton: &FakeLightOn, more: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [search]
        base_url = "{}"
        api_key = "search-key"
        [limits]
        file = "3MiB"
        [retry]
        attempts = 1
        [upstreams.gpu]
        base_url = "http://127.0.0.1:9/v1"
        {more}
        "#,
        lighton.url()
    ))
    .await
}

/// A key whose scope is one workspace.
pub(crate) fn narrow() -> String {
    format!(
        "[[keys]]\nname = \"narrow\"\nsha256 = \"{}\"\nworkspace_id = [42]",
        sha256("narrow")
    )
}

pub(crate) fn stored(id: i64, workspace: i64, status: &str) -> Value {
    json!({
        "id": id, "filename": format!("file{id}.md"), "workspace": {"id": workspace, "name": "W", "workspace_type": "custom"},
        "title": "t", "extension": "md", "status": status, "status_detail": "no text in it", "size": 100 + id,
        "created_at": "2026-01-02T00:00:00Z", "total_pages": 1, "tags": []
    })
}

fn page(files: &[Value], next: Value) -> Reply {
    Reply::json(json!({"count": files.len(), "next": next, "previous": null, "results": files}))
}

pub(crate) fn file(bytes: impl Into<Body>) -> Part {
    Part::stream(bytes).file_name("plan.md")
}

pub(crate) async fn upload(gateway: &Gateway, form: Form) -> Answer {
    Answer::of(gateway.request(Method::POST, "/v1/files").multipart(form)).await
}

#[tokio::test]
async fn files_are_listed_in_pages_whatever_the_pages_of_lighton_are() {
    let lighton = FakeLightOn::new();
    let gateway = gateway(&lighton, "").await;
    let ids = |list: &Value| -> Vec<String> {
        let items = list["data"].as_array().unwrap().iter();
        items
            .map(|file| file["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let two_pages = || {
        lighton.push(page(
            &[
                stored(9, 42, "embedded"),
                stored(8, 43, "parsing"),
                stored(7, 42, "parsing_failed"),
            ],
            json!("http://lighton/next"),
        ));
        lighton.push(page(&[stored(6, 42, "converting")], Value::Null));
    };

    two_pages();
    let all = gateway.get("/v1/files").await.ok();
    assert_eq!(ids(&all), ["9", "8", "7", "6"]);
    let states: Vec<&Value> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["status"])
        .collect();
    assert_eq!(states, ["processed", "uploaded", "error", "uploaded"]);
    assert_eq!(all["data"][2]["status_details"], "no text in it");
    assert_eq!(
        (
            &all["object"],
            &all["first_id"],
            &all["last_id"],
            &all["has_more"]
        ),
        (&json!("list"), &json!("9"), &json!("6"), &json!(false))
    );

    two_pages();
    let after = gateway.get("/v1/files?limit=2&after=file-8").await.ok();
    assert_eq!(
        (ids(&after), &after["has_more"]),
        (vec!["7".to_owned(), "6".to_owned()], &json!(false))
    );

    two_pages();
    let oldest = gateway.get("/v1/files?limit=1&order=asc").await.ok();
    assert_eq!(
        (ids(&oldest), &oldest["has_more"]),
        (vec!["6".to_owned()], &json!(true))
    );

    lighton.push(page(
        &[stored(9, 42, "embedded"), stored(8, 43, "parsing")],
        json!("more"),
    ));
    let first = gateway
        .get("/v1/files?limit=1&purpose=assistants")
        .await
        .ok();
    assert_eq!(
        (ids(&first), &first["has_more"]),
        (vec!["9".to_owned()], &json!(true))
    );

    let others = gateway.get("/v1/files?purpose=batch").await.ok();
    assert_eq!(others["data"], json!([]));
    gateway
        .get("/v1/files?limit=0")
        .await
        .refused(400, "invalid_value", "limit");
}

#[tokio::test]
async fn a_file_is_shown_opened_and_deleted() {
    let lighton = FakeLightOn::new()
        .always(
            "GET /api/v3/files/7",
            Reply::json(stored(7, 42, "embedded")),
        )
        .on(
            "GET /api/v3/files/7/download",
            Reply::body("text/markdown", "# Plan"),
        )
        .on("DELETE /api/v3/files/7", Reply::status(204))
        .always("/api/v3/files/8", refusal(404, "not_found", "gone"));
    let gateway = gateway(&lighton, "").await;

    assert_eq!(
        gateway.get("/v1/files/7").await.ok()["filename"],
        "file7.md"
    );
    assert_eq!(gateway.get("/v1/files/file-7").await.ok()["id"], "7");
    let content = gateway.get("/v1/files/7/content").await;
    assert_eq!((content.status, content.body.as_str()), (200, "# Plan"));
    assert_eq!(
        content.headers["content-disposition"],
        "attachment; filename*=UTF-8''file7.md"
    );
    assert_eq!(
        gateway.delete("/v1/files/7").await.ok(),
        json!({"id": "7", "object": "file", "deleted": true})
    );
    for path in [
        "/v1/files/8",
        "/v1/files/8/content",
        "/v1/files/abc",
        "/v1/files/07",
        "/v1/files/file-abc123",
    ] {
        gateway.get(path).await.refused(404, "not_found", "");
    }
    gateway
        .delete("/v1/files/8")
        .await
        .refused(404, "not_found", "");
}

#[tokio::test]
async fn a_file_outside_the_scope_does_not_exist() {
    let lighton = FakeLightOn::new()
        .always(
            "GET /api/v3/files/8",
            Reply::json(stored(8, 43, "embedded")),
        )
        .on(
            "GET /api/v3/files",
            page(
                &[stored(9, 42, "embedded"), stored(8, 43, "embedded")],
                Value::Null,
            ),
        );
    let gateway = gateway(&lighton, &narrow()).await;
    let ask = |method: Method, path: &str| {
        Answer::of(gateway.request(method, path).bearer_auth("narrow"))
    };

    for (method, path) in [
        (Method::GET, "/v1/files/8"),
        (Method::GET, "/v1/files/8/content"),
        (Method::DELETE, "/v1/files/8"),
    ] {
        ask(method, path).await.refused(404, "not_found", "");
    }
    let listed = ask(Method::GET, "/v1/files").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let elsewhere = Form::new()
        .text("workspace_id", "43")
        .part("file", file("x"));
    let elsewhere = gateway
        .request(Method::POST, "/v1/files")
        .bearer_auth("narrow")
        .multipart(elsewhere);
    Answer::of(elsewhere)
        .await
        .refused(403, "workspace_not_allowed", "workspace_id");
    assert_eq!(
        lighton.requests().last().unwrap().query,
        "workspace_id=42&page=1&page_size=100"
    );
    assert!(
        lighton
            .requests()
            .iter()
            .all(|request| request.method == "GET" && !request.path.contains("download"))
    );
}

#[tokio::test]
async fn the_files_of_a_folder_are_read_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plan.md"), "# Plan\n\nFive years.").unwrap();
    let gateway = Gateway::start(&format!(
        "[search]\nbackend = \"local\"\ndocuments = {:?}\n[upstreams.gpu]\nbase_url = \"http://127.0.0.1:9/v1\"",
        folder.path()
    ))
    .await;

    let listed = gateway.get("/v1/files").await.ok();
    let id = listed["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed["data"][0]["filename"], "plan.md");
    assert_eq!(
        gateway.get(&format!("/v1/files/{id}/content")).await.body,
        "# Plan\n\nFive years."
    );
    upload(&gateway, Form::new().part("file", file("x")))
        .await
        .refused(400, "not_supported", "");
    gateway
        .delete(&format!("/v1/files/{id}"))
        .await
        .refused(400, "not_supported", "");
    let stores = gateway.get("/v1/vector_stores").await.ok();
    assert_eq!(stores["data"][0]["file_counts"]["total"], 1);
    let store = stores["data"][0]["id"].as_str().unwrap();
    let found = gateway
        .post(
            &format!("/v1/vector_stores/{store}/search"),
            json!({"query": "how many years"}),
        )
        .await
        .ok();
    assert_eq!(found["data"][0]["file_id"], id);
    gateway
        .post("/v1/vector_stores", json!({"name": "n"}))
        .await
        .refused(400, "not_supported", "");
}

#[tokio::test]
async fn a_changed_file_is_looked_for_again() {
    let lighton = FakeLightOn::new()
        .always("/api/v3/search", found([result("Five years.")]))
        .always(
            "GET /api/v3/files/7",
            Reply::json(stored(7, 42, "embedded")),
        )
        .on("POST /api/v3/files", Reply::json(stored(7, 42, "embedded")))
        .on("DELETE /api/v3/files/7", Reply::status(204));
    let gateway = gateway(&lighton, "").await;
    let searches = async || {
        let query = json!({"query": "q"});
        gateway
            .post("/v1/vector_stores/42/search", query)
            .await
            .ok();
        let asked = lighton.requests();
        asked
            .iter()
            .filter(|request| request.path.ends_with("/search"))
            .count()
    };

    assert_eq!((searches().await, searches().await), (1, 1));
    let form = Form::new()
        .text("workspace_id", "42")
        .part("file", file("x"));
    upload(&gateway, form).await.ok();
    assert_eq!((searches().await, searches().await), (2, 2));
    gateway.delete("/v1/files/7").await.ok();
    assert_eq!(searches().await, 3);
}

#[tokio::test]
async fn nothing_is_kept_while_the_service_reads_a_new_file() {
    let lighton = FakeLightOn::new()
        .always("/api/v3/search", found([result("Five years.")]))
        .on("POST /api/v3/files", Reply::json(stored(7, 42, "pending")));
    let gateway = gateway(&lighton, "").await;
    let searches = async || {
        let query = json!({"query": "q"});
        gateway
            .post("/v1/vector_stores/42/search", query)
            .await
            .ok();
        let asked = lighton.requests();
        asked
            .iter()
            .filter(|request| request.path.ends_with("/search"))
            .count()
    };

    let form = Form::new()
        .text("workspace_id", "42")
        .part("file", file("x"));
    upload(&gateway, form).await.ok();

    assert_eq!((searches().await, searches().await), (1, 2));
}
