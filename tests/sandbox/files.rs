//! `/api/v3/files`: uploads, their status, changes and deletion.

use reqwest::{Method, multipart::Form};
use serde_json::{Value, json};

use crate::service::{Answer, Service, form};

#[tokio::test]
async fn an_upload_is_searchable_at_once_while_its_status_moves_on_by_looks() {
    let service = Service::small().await;

    let made = service
        .upload("quokka.md", "# Quokkas\n\nThe quokka smiles at visitors.")
        .await;

    assert_eq!(made.status, 201);
    assert_eq!(made.body["status"], "pending");
    assert_eq!(
        service.find(json!({"query": "quokka"})).await[0]["source"]["file_id"],
        made.id()
    );
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(
            service
                .get(&format!("/api/v3/files/{}", made.id()))
                .await
                .body["status"]
                .clone(),
        );
    }
    assert_eq!(seen, ["parsing", "embedding", "embedded", "embedded"]);
}

#[tokio::test]
async fn an_upload_that_finds_no_room_is_told_how_to_get_some() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = Service::with(|options| options.data = Some(data.clone())).await;
    // Not a matter of permissions, which would not hold for root: a file where the folder was.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "").unwrap();

    let refused = service.upload("quokka.md", "The quokka smiles.").await;

    assert_eq!(refused.status, 507);
    assert_eq!(refused.body["error"], "insufficient_storage");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("--data"), "{detail}");
}

#[tokio::test]
async fn lists_move_the_status_on_too() {
    let service = Service::small().await;
    let id = service.upload("a.md", "Text").await.id();
    for _ in 0..3 {
        service.get("/api/v3/files").await;
    }
    let embedded = service
        .get("/api/v3/files?status=embedded&filename=a.md")
        .await;
    assert_eq!(embedded.body["results"][0]["id"], id);
}

#[tokio::test]
async fn the_answer_to_an_upload_has_every_field() {
    let service = Service::small().await;
    let made = service
        .upload("Yearly report.md", "# Report\n\nA good year.")
        .await;
    let names: Vec<&String> = made.body.as_object().unwrap().keys().collect();
    for name in [
        "id",
        "filename",
        "workspace",
        "summaries",
        "title",
        "extension",
        "status",
        "status_vision",
        "created_at",
        "updated_at",
        "total_pages",
        "tags",
        "created_by",
        "upload_session_uuid",
        "external_metadata",
        "message",
        "thumbnail",
    ] {
        assert!(names.iter().any(|own| *own == name), "`{name}` is missing");
    }
    assert_eq!(made.body["filename"], "Yearly report.md");
    assert_eq!(
        made.body["title"], "Yearly report",
        "the name without its extension"
    );
    assert_eq!(made.body["extension"], "md");
    assert_eq!(
        made.body["workspace"],
        json!({"id": 1, "name": "small", "workspace_type": "shared"})
    );
    assert_eq!(
        made.body["thumbnail"],
        json!({"status": "MISSING", "url": null})
    );
}

#[tokio::test]
async fn the_form_names_and_titles_the_file() {
    let service = Service::small().await;
    let parts = form("C:\\texts\\upload.bin", "Text")
        .text("workspace_id", "2")
        .text("filename", "named.txt")
        .text("title", "Titled");
    let made = service.upload_form(parts).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        (&made.body["filename"], &made.body["title"]),
        (&json!("named.txt"), &json!("Titled"))
    );
    assert_eq!(made.body["workspace"]["id"], 2);

    let unnamed = service.upload("C:\\texts\\plain.txt", "Text").await;
    assert_eq!(unnamed.body["filename"], "plain.txt", "a path is no name");
}

#[tokio::test]
async fn tags_come_as_a_list_in_json_or_as_repeated_fields() {
    let service = Service::small().await;
    let mut tags = Vec::new();
    for name in ["one", "two"] {
        tags.push(
            service
                .post("/api/v3/tags", json!({"name": name, "description": ""}))
                .await
                .id(),
        );
    }
    let base = || form("a.md", "Text").text("workspace_id", "1");
    for parts in [
        base().text("tags", format!("{tags:?}")),
        base()
            .text("tags", tags[0].to_string())
            .text("tags", tags[1].to_string()),
    ] {
        let made = service.upload_form(parts).await;
        assert_eq!(made.status, 201);
        let own: Vec<Value> = made.body["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag["id"].clone())
            .collect();
        assert_eq!(json!(own), json!(tags));
    }
    let refused = service
        .upload_form(base().text("tags", format!("[{},999]", tags[0])))
        .await;
    assert_eq!(
        refused.status, 207,
        "stored, but without the tag that does not exist"
    );
    assert_eq!(refused.body["tags"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_in_parsing_failed_with_the_reason() {
    let service = Service::small().await;
    for (filename, content) in [
        ("broken.pdf", &b"%PDF-1.7 and then nothing"[..]),
        ("image.png", b"\x89PNG\r\n"),
    ] {
        let made = service
            .upload_form(form(filename, content).text("workspace_id", "1"))
            .await;
        assert_eq!(
            (made.status, &made.body["status"]),
            (201, &json!("pending")),
            "{filename}"
        );
        let path = format!("/api/v3/files/{}", made.id());
        let parsing = service.get(&path).await;
        assert_eq!(parsing.body["status"], "parsing");
        assert!(parsing.body.get("status_detail").is_none());
        let failed = service.get(&path).await;
        assert_eq!(failed.body["status"], "parsing_failed");
        assert!(!failed.body["status_detail"].as_str().unwrap().is_empty());
        assert_eq!(failed.body["total_pages"], 0);
    }
}

#[tokio::test]
async fn text_is_read_under_its_other_names() {
    let service = Service::small().await;
    for name in ["a.csv", "b.json", "c.yaml", "d.yml", "e.htm", "f.xhtml"] {
        let made = service.upload(name, "<p>{\"animal\": \"okapi\"}</p>").await;
        let passages = service
            .find(json!({"query": "okapi", "file_id": [made.id()]}))
            .await;
        assert_eq!(passages.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn uploads_with_bad_fields_are_refused_and_leave_nothing() {
    let service = Service::small().await;
    let before = service.get("/api/v3/files").await.body["count"].clone();
    let valid = || form("a.md", "Text").text("workspace_id", "1");
    for (parts, field, code) in [
        (Form::new().text("workspace_id", "1"), "file", "required"),
        (form("a.md", "Text"), "workspace_id", "required"),
        (
            form("a.md", "Text").text("workspace_id", "one"),
            "workspace_id",
            "invalid",
        ),
        (form("a.md", "").text("workspace_id", "1"), "file", "empty"),
        (
            form("a.exe", "MZ").text("workspace_id", "1"),
            "file",
            "invalid_extension",
        ),
        (
            valid().text("title", "x".repeat(256)),
            "title",
            "max_length",
        ),
        (
            valid().text("filename", "x".repeat(256)),
            "filename",
            "max_length",
        ),
        (valid().text("tags", "urgent"), "tags", "invalid"),
        (
            valid().text("external_metadata", "INC-7"),
            "external_metadata",
            "invalid",
        ),
        (
            valid().text("external_metadata", "{\"doc_type\": \"incident\"}"),
            "external_metadata",
            "required",
        ),
        (
            valid().text("external_metadata", "{\"external_id\": null}"),
            "external_metadata",
            "null",
        ),
        (
            valid().text("external_metadata", "{\"external_id\": \"\"}"),
            "external_metadata",
            "blank",
        ),
    ] {
        service.upload_form(parts).await.assert_field(field, code);
    }
    service
        .upload_form(form("a.md", "Text").text("workspace_id", "999"))
        .await
        .assert_error(403, "forbidden");
    let broken = service
        .request(Method::POST, "/api/v3/files")
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.md\"\r\n\r\ncut");
    Answer::of(broken).await.assert_error(400, "bad_request");
    assert_eq!(service.get("/api/v3/files").await.body["count"], before);
}

#[tokio::test]
async fn a_file_from_elsewhere_is_stored_once_for_each_workspace() {
    let service = Service::small().await;
    let origin = json!({
        "external_id": "INC-7", "doc_type": "incident", "additional_metadata": {"external_url": "https://desk.example/7", "version": 1},
    });
    let parts = |workspace: &str| {
        form("incident.md", "The zeppelin lost a screw.")
            .text("workspace_id", workspace.to_owned())
            .text("external_metadata", origin.to_string())
    };

    let first = service.upload_form(parts("1")).await;
    let again = service.upload_form(parts("1")).await;
    let elsewhere = service.upload_form(parts("2")).await;

    assert_eq!(
        (first.status, again.status, elsewhere.status),
        (201, 200, 201)
    );
    assert_eq!(first.id(), again.id());
    assert_eq!(first.body["external_metadata"], origin);
    let passage = &service
        .find(json!({"query": "zeppelin", "file_id": [first.id()]}))
        .await[0];
    assert_eq!(
        passage["source"]["external_metadata"],
        json!({"external_id": "INC-7", "external_url": "https://desk.example/7", "additional_metadata": {"version": 1}})
    );
}

#[tokio::test]
async fn content_comes_by_page_when_asked_for() {
    let service = Service::small().await;
    let text = "# Title\n\nA paragraph.";
    let path = format!("/api/v3/files/{}", service.upload("a.md", text).await.id());
    let with = service.get(&format!("{path}?include_content=true")).await;
    assert_eq!(with.body["pages"][0]["index"], 1);
    for word in ["Title", "A paragraph."] {
        assert!(
            with.body["pages"][0]["markdown"]
                .as_str()
                .unwrap()
                .contains(word)
        );
        assert!(with.body["content"].as_str().unwrap().contains(word));
    }
    let without = service.get(&path).await;
    assert!(without.body.get("pages").is_none() && without.body.get("content").is_none());
}

#[tokio::test]
async fn downloads_are_the_bytes_that_came() {
    let service = Service::small().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let id = service
        .upload_form(form("all bytes é.png", bytes.clone()).text("workspace_id", "1"))
        .await
        .id();
    let request = service.request(
        Method::GET,
        &format!("/api/v3/files/{id}/download?purpose=rendered_pdf"),
    );
    let response = request.send().await.unwrap();
    let name = response.headers()["content-disposition"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        name,
        "attachment; filename*=UTF-8''all%20bytes%20%C3%A9%2Epng"
    );
    assert!(response.bytes().await.unwrap() == bytes, "the bytes differ");
    service
        .get(&format!("/api/v3/files/{id}/download?purpose=song"))
        .await
        .assert_field("purpose", "invalid_choice");
    let original = service
        .request(Method::GET, "/api/v3/files/1/download")
        .send()
        .await
        .unwrap();
    assert!(
        original
            .text()
            .await
            .unwrap()
            .starts_with("# About the harbour")
    );
}

#[tokio::test]
async fn changes_touch_only_what_is_sent() {
    let service = Service::small().await;
    let tag = service
        .post("/api/v3/tags", json!({"name": "t", "description": ""}))
        .await
        .id();
    let path = format!(
        "/api/v3/files/{}",
        service.upload("walrus.md", "The walrus waits.").await.id()
    );
    let patch = async |fields: &[(&str, &str)]| {
        Answer::of(service.request(Method::PATCH, &path).form(fields)).await
    };

    assert_eq!(
        patch(&[("title", "Waiting")]).await.body["title"],
        "Waiting"
    );
    assert_eq!(
        patch(&[("tags", &tag.to_string())]).await.body["tags"][0]["id"],
        tag
    );
    let origin = "{\"external_id\": \"7\", \"additional_metadata\": {\"a\": 1}}";
    assert_eq!(patch(&[("external_metadata", origin)]).await.status, 200);
    let merged = patch(&[("external_metadata", "{\"additional_metadata\": {\"b\": 2}}")]).await;
    assert_eq!(
        merged.body["external_metadata"],
        json!({"external_id": "7", "doc_type": "", "additional_metadata": {"a": 1, "b": 2}})
    );
    assert_eq!(
        (&merged.body["title"], &merged.body["tags"][0]["id"]),
        (&json!("Waiting"), &json!(tag))
    );
    let passage = &service
        .find(json!({"query": "walrus", "tag_id": [tag]}))
        .await[0];
    assert_eq!(passage["source"]["title"], "Waiting");

    assert_eq!(
        patch(&[("tags", "0")]).await.body["tags"],
        json!([]),
        "[0] clears the tags"
    );
    patch(&[("tags", "999")])
        .await
        .assert_field("tags", "does_not_exist");
    patch(&[("external_metadata", "{\"external_id\": \"\"}")])
        .await
        .assert_field("external_metadata", "blank");
    patch(&[]).await.assert_error(400, "bad_request");
    patch(&[("filename", "other.md")])
        .await
        .assert_error(400, "bad_request");
}

#[tokio::test]
async fn new_content_replaces_the_old_under_the_same_id() {
    let service = Service::small().await;
    let made = service.upload("old.md", "The aardvark digs.").await;
    let path = format!("/api/v3/files/{}", made.id());

    let parts = form("new.txt", "The flamingo wades.");
    let answer = Answer::of(service.request(Method::PATCH, &path).multipart(parts)).await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        (&answer.body["pending_reprocess"], &answer.body["filename"]),
        (&json!("update"), &json!("old.md"))
    );
    let now = service.get(&path).await;
    assert_eq!(now.body["pending_reprocess"], Value::Null);
    assert_eq!(
        (&now.body["filename"], &now.body["title"]),
        (&json!("new.txt"), &json!("old"))
    );
    assert_eq!(
        now.body["status"], "parsing",
        "the life of a file begins anew"
    );
    assert!(service.find(json!({"query": "aardvark"})).await.is_empty());
    assert_eq!(
        service.find(json!({"query": "flamingo"})).await[0]["source"]["file_id"],
        made.id()
    );
}

#[tokio::test]
async fn tags_are_added_and_taken_one_by_one() {
    let service = Service::small().await;
    let tag = service
        .post("/api/v3/tags", json!({"name": "t", "description": ""}))
        .await
        .id();
    let path = "/api/v3/files/1/tags";
    for _ in 0..2 {
        let tagged = service.post(path, json!({"tags": [tag]})).await;
        assert_eq!(tagged.status, 200);
        assert_eq!(
            tagged.body["tags"].as_array().unwrap().len(),
            1,
            "once, however often it is added"
        );
    }
    service
        .post(path, json!({"tags": []}))
        .await
        .assert_field("tags", "empty");
    service
        .post(path, json!({"tags": [999]}))
        .await
        .assert_field("tags", "does_not_exist");
    for _ in 0..2 {
        assert_eq!(
            service.delete(&format!("{path}/{tag}")).await.status,
            204,
            "idempotent"
        );
    }
    assert_eq!(service.get("/api/v3/files/1").await.body["tags"], json!([]));
}

#[tokio::test]
async fn many_files_are_deleted_together_or_not_at_all() {
    let service = Service::small().await;
    let first = service.upload("a.md", "The narwhal dives.").await.id();
    let second = service.upload("b.md", "The narwhal returns.").await.id();
    let delete = async |ids: Value| {
        service
            .post("/api/v3/files/bulk-delete", json!({"ids": ids}))
            .await
    };

    delete(json!([first, second, 999_999]))
        .await
        .assert_error(404, "not_found");
    assert_eq!(
        service.find(json!({"query": "narwhal"})).await.len(),
        2,
        "nothing was deleted"
    );
    delete(json!([])).await.assert_field("ids", "empty");
    assert_eq!(delete(json!([first, second])).await.status, 204);
    assert!(service.find(json!({"query": "narwhal"})).await.is_empty());
    service
        .delete(&format!("/api/v3/files/{first}"))
        .await
        .assert_error(404, "not_found");
}
