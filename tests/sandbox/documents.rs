//! A folder of documents, and uploads that outlive the program.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::service::{Service, form};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

async fn start(documents: &Path, data: &Path) -> Service {
    Service::with(|options| {
        options.documents = Some(documents.to_owned());
        options.data = Some(data.to_owned());
    })
    .await
}

#[tokio::test]
async fn each_sub_folder_is_a_workspace_and_the_top_is_number_one() {
    let folder = folder(&[
        ("top.md", "# Top\n\nThe lighthouse is at the top."),
        ("beta/deep/er.txt", "The lighthouse is deep."),
        (
            "alpha/a.html",
            "<title>A</title><p>The lighthouse is in alpha.</p>",
        ),
        (".hidden/b.md", "The lighthouse is hidden."),
        ("gamma/.keep", ""),
        ("image.svg", "The lighthouse is no document."),
    ]);
    let service = Service::over(folder.path()).await;

    let mut found: Vec<_> = service
        .find(json!({"query": "lighthouse", "relevance_scoring": "none"}))
        .await
        .iter()
        .map(|passage| {
            (
                passage["workspace"]["id"].as_i64().unwrap(),
                passage["source"]["filename"].as_str().unwrap().to_owned(),
            )
        })
        .collect();

    found.sort();
    let expected =
        [(1, "top.md"), (2, "a.html"), (3, "er.txt")].map(|(id, name)| (id, name.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(
        service.get("/api/v3/workspaces/2").await.body["name"],
        "alpha"
    );
    assert_eq!(
        service.get("/api/v3/workspaces/3").await.body["name"],
        "beta"
    );
    // One without documents is there to be uploaded into.
    let empty = service.get("/api/v3/workspaces/4").await.body;
    assert_eq!(
        (&empty["name"], &empty["files_count"]),
        (&json!("gamma"), &json!(0))
    );
    assert_eq!(
        service.get("/api/v3/files/3").await.body["status"],
        "embedded"
    );
}

#[tokio::test]
async fn an_unreadable_document_is_left_out_and_stops_nothing() {
    let folder = folder(&[
        ("good.md", "The lighthouse shines."),
        ("bad.pdf", "no PDF at all"),
    ]);
    let service = Service::over(folder.path()).await;
    assert_eq!(service.get("/api/v3/files").await.body["count"], 1);
    assert_eq!(service.find(json!({"query": "lighthouse"})).await.len(), 1);
}

#[tokio::test]
async fn deleting_a_document_of_the_folder_leaves_the_file_alone() {
    let folder = folder(&[("only.md", "The lighthouse shines.")]);
    let service = Service::over(folder.path()).await;
    assert_eq!(service.delete("/api/v3/files/1").await.status, 204);
    assert!(
        service
            .find(json!({"query": "lighthouse"}))
            .await
            .is_empty()
    );
    assert!(folder.path().join("only.md").exists());
}

#[tokio::test]
async fn an_empty_folder_is_a_library_of_one_empty_workspace() {
    let folder = folder(&[]);
    let service = Service::over(folder.path()).await;
    assert_eq!(service.get("/api/v3/workspaces").await.body["count"], 1);
    assert!(service.find(json!({"query": "anything"})).await.is_empty());
}

#[tokio::test]
async fn uploads_in_a_data_folder_are_there_after_a_restart() {
    let documents = folder(&[("north/n.md", "North."), ("south/s.md", "South.")]);
    let data = TempDir::new().unwrap();
    let service = start(documents.path(), data.path()).await;
    let made = service
        .post("/api/v3/workspaces", json!({"name": "Made"}))
        .await
        .id();
    let tag = service
        .post("/api/v3/tags", json!({"name": "kept", "description": ""}))
        .await
        .id();
    let in_made = service
        .upload_form(
            form("ibis.md", "The ibis stalks.")
                .text("workspace_id", made.to_string())
                .text("tags", tag.to_string()),
        )
        .await
        .id();
    let in_south = service
        .upload_form(form("heron.md", "The heron waits.").text("workspace_id", "3"))
        .await
        .id();
    let gone = service.upload("gone.md", "The dodo left.").await.id();
    assert_eq!(
        service
            .delete(&format!("/api/v3/files/{gone}"))
            .await
            .status,
        204
    );
    service.shutdown().await;

    // A new sub-folder comes first by name, and one is gone: the numbers that keys and models name stay.
    fs::create_dir(documents.path().join("east")).unwrap();
    fs::write(documents.path().join("east/e.md"), "East.").unwrap();
    fs::remove_dir_all(documents.path().join("north")).unwrap();
    let service = start(documents.path(), data.path()).await;

    let ibis = &service
        .find(json!({"query": "ibis", "tag_id": [tag]}))
        .await[0];
    assert_eq!(ibis["source"]["file_id"], in_made);
    assert_eq!(ibis["workspace"], json!({"id": made, "name": "Made"}));
    let heron = &service.find(json!({"query": "heron"})).await[0];
    assert_eq!(heron["source"]["file_id"], in_south);
    assert_eq!(heron["workspace"], json!({"id": 3, "name": "south"}));
    let east = &service.find(json!({"query": "east"})).await[0];
    assert_eq!(east["workspace"], json!({"id": 4, "name": "east"}));
    assert!(service.find(json!({"query": "dodo"})).await.is_empty());
    assert_eq!(
        service.get(&format!("/api/v3/files/{in_made}")).await.body["status"],
        "embedded"
    );
    let next = service.upload("next.md", "Next.").await.id();
    assert!(next > in_south, "numbers are not used again");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_that_names_it() {
    let mut options = groundwire::sandbox::Options::new("127.0.0.1:0".parse().unwrap());
    options.documents = Some("/nowhere/at/all".into());
    let Err(error) = groundwire::sandbox::Services::start(options).await else {
        panic!("the sandbox started");
    };
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("/nowhere/at/all"), "{cause}");
}
