//! Documents: files and workspaces, what is known of them and what is in them.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use groundwire::{
    config::WorkspaceId,
    retrieval::{
        DocumentStore, Error, Workspace,
        documents::{FileFilter, FileStatus, Page, StoredFile, StoredWorkspace},
        lighton::Options,
    },
};
use serde_json::{Value, json};

use crate::{
    client, options,
    support::{
        lighton::{FakeLightOn, refusal},
        reply::{Gate, Reply},
    },
};

pub(crate) fn file(id: i64) -> Value {
    json!({
        "id": id, "filename": "report_20260728_c9be.pdf", "title": "report", "extension": "pdf", "size": 482_113,
        "workspace": {"id": 42, "name": "Engineering", "workspace_type": "custom"}, "status": "embedded",
        "status_detail": null, "status_vision": null, "created_at": "2025-03-01T10:30:00Z",
        "updated_at": "2025-03-01T10:30:00Z", "total_pages": 0, "tags": [], "summaries": []
    })
}

pub(crate) fn stored(id: i64) -> StoredFile {
    StoredFile {
        id,
        filename: "report_20260728_c9be.pdf".to_owned(),
        title: Some("report".to_owned()),
        extension: Some("pdf".to_owned()),
        workspace: Some(Workspace {
            id: WorkspaceId(42),
            name: "Engineering".to_owned(),
        }),
        size_bytes: Some(482_113),
        status: FileStatus::Embedded,
        status_detail: None,
        created_at: Some("2025-03-01T10:30:00Z".parse().unwrap()),
    }
}

#[tokio::test]
async fn a_file_is_told_with_everything_known_of_it() {
    let lighton = FakeLightOn::new().on("GET /api/v3/files/7", Reply::json(file(7)));

    let found = client(&lighton.url(), options()).file(7).await.unwrap();

    assert_eq!(found, Some(stored(7)));
}

#[tokio::test]
async fn the_words_for_a_status_mean_one_of_three() {
    for (word, status) in [
        ("pending", FileStatus::Pending),
        ("pending_conversion", FileStatus::Pending),
        ("converting", FileStatus::Pending),
        ("parsing", FileStatus::Pending),
        ("embedding", FileStatus::Pending),
        ("parsed", FileStatus::Pending),
        ("updating", FileStatus::Pending),
        ("a new word", FileStatus::Pending),
        ("embedded", FileStatus::Embedded),
        ("fail", FileStatus::Failed),
        ("parsing_failed", FileStatus::Failed),
        ("embedding_failed", FileStatus::Failed),
    ] {
        let body = json!({"id": 1, "filename": "a", "status": word, "status_detail": "why"});
        let lighton = FakeLightOn::new().then(Reply::json(body));

        let found = client(&lighton.url(), options())
            .file(1)
            .await
            .unwrap()
            .unwrap();

        assert_eq!(
            (found.status, found.status_detail.as_deref()),
            (status, Some("why")),
            "{word}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let gone = || refusal(404, "not_found", "No such thing");
    let lighton = FakeLightOn::new()
        .then(gone())
        .then(gone())
        .then(gone())
        .then(gone());
    let client = client(&lighton.url(), options());

    assert_eq!(client.file(1).await.unwrap(), None);
    assert!(client.content(1).await.unwrap().is_none());
    assert_eq!(client.workspace(WorkspaceId(1)).await.unwrap(), None);
    assert!(!client.delete(1).await.unwrap());
}

#[tokio::test]
async fn content_comes_as_it_is_sent_with_its_type_and_name() {
    let gate = Gate::new();
    let reply = Reply::stream("application/pdf")
        .header(
            "content-disposition",
            "attachment; filename=\"plain.pdf\"; filename*=UTF-8''%C3%A9t%C3%A9.pdf",
        )
        .piece("%PDF-")
        .wait(&gate)
        .piece("1.7");
    let lighton = FakeLightOn::new().on("GET /api/v3/files/7/download", reply);

    let mut content = client(&lighton.url(), options())
        .content(7)
        .await
        .unwrap()
        .unwrap();
    let first = content.bytes.next().await.unwrap().unwrap();
    gate.open();
    let rest: Vec<_> = content.bytes.try_collect().await.unwrap();

    assert_eq!(lighton.request().query, "purpose=original");
    assert_eq!(content.content_type.as_deref(), Some("application/pdf"));
    assert_eq!(
        (content.filename.as_deref(), content.length),
        (Some("été.pdf"), None)
    );
    assert_eq!(
        (&first[..], rest.concat().as_slice()),
        (&b"%PDF-"[..], &b"1.7"[..])
    );
}

#[tokio::test]
async fn content_has_a_length_where_the_service_tells() {
    let lighton = FakeLightOn::new().then(Reply::body("text/plain", "12345"));

    let content = client(&lighton.url(), options())
        .content(7)
        .await
        .unwrap()
        .unwrap();

    assert_eq!((content.length, content.filename), (Some(5), None));
}

#[tokio::test]
async fn content_that_breaks_off_or_stands_still_ends_in_an_error() {
    let short = Options {
        timeout: Duration::from_secs(1),
        ..options()
    };
    let lighton = FakeLightOn::new()
        .then(Reply::stream("text/plain").piece("half").cut())
        .then(Reply::stream("text/plain").piece("half").hang());
    let client = client(&lighton.url(), short);

    for expected in ["unavailable", "no answer within 1s"] {
        let content = client.content(7).await.unwrap().unwrap();
        let pieces: Vec<_> = content.bytes.collect().await;
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0].as_ref().unwrap(), "half");
        let error = pieces[1].as_ref().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    lighton.closed().await;
}

#[tokio::test]
async fn a_list_asks_for_its_page_and_its_filter() {
    let body = json!({
        "count": 41, "next": "http://elsewhere.example/api/v3/files?page=3", "previous": null,
        "results": [file(1), {"id": "odd"}, file(2)]
    });
    let lighton = FakeLightOn::new().on("GET /api/v3/files", Reply::json(body));
    let filter = FileFilter {
        workspaces: vec![WorkspaceId(42), WorkspaceId(43)],
        tag_id: vec![7],
        filename: Some("a b".to_owned()),
    };

    let page = Page {
        number: 2,
        size: 20,
    };
    let listed = client(&lighton.url(), options())
        .list(&filter, page)
        .await
        .unwrap();

    assert_eq!(
        lighton.request().query,
        "workspace_id=42%2C43&tag_id=7&filename=a+b&page=2&page_size=20"
    );
    assert_eq!(listed.items, [stored(1), stored(2)]);
    assert_eq!((listed.total, listed.more), (41, true));
}

#[tokio::test]
async fn a_page_beyond_the_last_is_empty() {
    let lighton = FakeLightOn::new().then(refusal(404, "not_found", "Invalid page."));

    let page = Page {
        number: 9,
        size: 20,
    };
    let listed = client(&lighton.url(), options())
        .list(&FileFilter::default(), page)
        .await
        .unwrap();

    assert_eq!(lighton.request().query, "page=9&page_size=20");
    assert!(listed.items.is_empty() && !listed.more);
}

#[tokio::test]
async fn workspaces_are_listed_and_found() {
    let one = json!({
        "id": 42, "name": "Engineering", "description": "", "created_at": "2025-03-01T10:30:00+02:00", "files_count": 3,
        "workspace_type": "shared", "user_role": ""
    });
    let lighton = FakeLightOn::new()
        .on(
            "GET /api/v3/workspaces",
            Reply::json(json!({"count": 1, "next": null, "results": [one]})),
        )
        .on("GET /api/v3/workspaces/42", Reply::json(one.clone()));
    let client = client(&lighton.url(), options());

    let listed = client.workspaces(Page::default()).await.unwrap();
    let found = client.workspace(WorkspaceId(42)).await.unwrap();

    let expected = StoredWorkspace {
        id: WorkspaceId(42),
        name: "Engineering".to_owned(),
        description: None,
        created_at: Some("2025-03-01T08:30:00Z".parse().unwrap()),
        files: Some(3),
    };
    assert_eq!((listed.items, listed.more), (vec![expected.clone()], false));
    assert_eq!(found, Some(expected));
}

#[tokio::test]
async fn reading_is_tried_again_and_a_refusal_is_told() {
    let lighton = FakeLightOn::new()
        .then(Reply::status(503))
        .then(Reply::json(file(7)))
        .then(refusal(403, "forbidden", "Not yours"))
        .then(Reply::json(json!({"code": 401, "error": "unauthorized"})))
        .then(Reply::body("text/html", "<html>"));
    let client = client(&lighton.url(), options());

    assert_eq!(client.file(7).await.unwrap(), Some(stored(7)));
    assert!(matches!(client.file(7).await, Err(Error::Scope { .. })));
    assert!(matches!(
        client.file(7).await,
        Err(Error::Authentication { .. })
    ));
    assert!(matches!(
        client.file(7).await,
        Err(Error::Unavailable { .. })
    ));
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_is_a_deletion() {
    let lighton = FakeLightOn::new()
        .on("DELETE /api/v3/files/7", Reply::status(204))
        .on("DELETE /api/v3/files/8", Reply::closed())
        .on(
            "DELETE /api/v3/files/8",
            refusal(404, "not_found", "No such file"),
        );
    let client = client(&lighton.url(), options());

    assert!(client.delete(7).await.unwrap());
    assert!(client.delete(8).await.unwrap());
}
