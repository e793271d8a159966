//! `/api/v3/workspaces` and `/api/v3/tags`.

use serde_json::{Value, json};

use crate::service::{Service, form};

#[tokio::test]
async fn a_workspace_lives_from_creation_to_deletion() {
    let service = Service::small().await;

    let made = service
        .post(
            "/api/v3/workspaces",
            json!({"name": "Legal", "description": "Contracts"}),
        )
        .await;
    assert_eq!(made.status, 201);
    let path = format!("/api/v3/workspaces/{}", made.id());
    for (name, value) in [
        ("name", json!("Legal")),
        ("description", json!("Contracts")),
        ("workspace_type", json!("shared")),
        ("document_upload_method", json!("manual")),
        ("files_count", json!(0)),
        ("used_storage", json!(0.0)),
        ("user_role", json!("owner")),
        ("sync", Value::Null),
        ("scoped_api_keys", json!([])),
        ("summaries", json!([])),
    ] {
        assert_eq!(made.body[name], value, "{name}");
    }

    let renamed = service.patch(&path, json!({"name": "Law"})).await;
    assert_eq!(
        (renamed.status, &renamed.body["name"]),
        (200, &json!("Law"))
    );
    assert_eq!(
        renamed.body["description"], "Contracts",
        "what is not sent stays"
    );
    let cleared = service.patch(&path, json!({"description": null})).await;
    assert_eq!(cleared.body["description"], "");
    assert_eq!(service.get(&path).await.body, cleared.body);

    assert_eq!(service.delete(&path).await.status, 204);
    service.get(&path).await.assert_error(404, "not_found");
}

#[tokio::test]
async fn a_new_name_of_a_workspace_is_told_by_search() {
    let service = Service::small().await;
    assert_eq!(
        service
            .patch("/api/v3/workspaces/2", json!({"name": "Makers"}))
            .await
            .status,
        200
    );
    let passages = service
        .find(json!({"query": "on-call pilot", "workspace_id": [2]}))
        .await;
    assert_eq!(passages[0]["workspace"], json!({"id": 2, "name": "Makers"}));
}

#[tokio::test]
async fn a_deleted_workspace_takes_its_files_along() {
    let service = Service::small().await;
    let workspace = service
        .post("/api/v3/workspaces", json!({"name": "Short"}))
        .await
        .id();
    let file = service
        .upload_form(
            form("owl.md", "The xylophone owl sings.").text("workspace_id", workspace.to_string()),
        )
        .await
        .id();
    let path = format!("/api/v3/workspaces/{workspace}");
    assert_eq!(service.get(&path).await.body["files_count"], 1);
    assert_eq!(service.find(json!({"query": "xylophone"})).await.len(), 1);

    assert_eq!(service.delete(&path).await.status, 204);

    service
        .get(&format!("/api/v3/files/{file}"))
        .await
        .assert_error(404, "not_found");
    assert!(service.find(json!({"query": "xylophone"})).await.is_empty());
    service
        .search(json!({"query": "x", "workspace_id": [workspace]}))
        .await
        .assert_error(403, "forbidden");
}

#[tokio::test]
async fn workspaces_with_bad_fields_are_refused() {
    let service = Service::small().await;
    for (body, code) in [
        (json!({}), "required"),
        (json!({"name": ""}), "blank"),
        (json!({"name": null}), "null"),
        (json!({"name": "x".repeat(101)}), "max_length"),
        (json!({"name": {}}), "invalid"),
    ] {
        service
            .post("/api/v3/workspaces", body)
            .await
            .assert_field("name", code);
    }
    let members = json!({"members": {"users": []}});
    service
        .patch("/api/v3/workspaces/1", members)
        .await
        .assert_error(400, "bad_request");
}

#[tokio::test]
async fn a_tag_lives_from_creation_to_deletion() {
    let service = Service::small().await;

    let made = service
        .post(
            "/api/v3/tags",
            json!({"name": "urgent", "description": "Now", "auto_assign": false}),
        )
        .await;

    assert_eq!(made.status, 201);
    for (name, value) in [
        ("name", json!("urgent")),
        ("description", json!("Now")),
        ("auto_assign", json!(false)),
        ("document_count", json!(0)),
    ] {
        assert_eq!(made.body[name], value, "{name}");
    }
    let file = service
        .upload_form(
            form("a.md", "Text")
                .text("workspace_id", "1")
                .text("tags", made.id().to_string()),
        )
        .await;
    assert_eq!(
        file.body["tags"],
        json!([{"id": made.id(), "name": "urgent", "auto_assigned": false}])
    );
    let listed = service.get("/api/v3/tags").await;
    assert_eq!(listed.body["results"][0]["document_count"], 1);

    assert_eq!(
        service
            .delete(&format!("/api/v3/tags/{}", made.id()))
            .await
            .status,
        204
    );

    assert_eq!(service.get("/api/v3/tags").await.body["count"], 0);
    assert_eq!(
        service
            .get(&format!("/api/v3/files/{}", file.id()))
            .await
            .body["tags"],
        json!([])
    );
}

#[tokio::test]
async fn tags_with_bad_fields_are_refused() {
    let service = Service::small().await;
    service
        .post("/api/v3/tags", json!({"description": "x"}))
        .await
        .assert_field("name", "required");
    let long = json!({"name": "x", "description": "x".repeat(501)});
    service
        .post("/api/v3/tags", long)
        .await
        .assert_field("description", "max_length");
    let perhaps = json!({"name": "x", "auto_assign": "perhaps"});
    service
        .post("/api/v3/tags", perhaps)
        .await
        .assert_field("auto_assign", "invalid");
}
