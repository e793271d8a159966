//! Pages, orders and filters of the three lists.

use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Answer, Service, form};

fn all(answer: &Answer, name: &str) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item[name].clone())
        .collect()
}

#[tokio::test]
async fn pages_lead_through_the_whole_list_once() {
    let service = Service::handbook().await;
    let mut seen = Vec::new();
    let mut next =
        Some(service.url("/api/v3/files?page_size=5&ordering=filename&extension=md,html,txt"));
    let mut pages = 0;
    while let Some(url) = next {
        let path = url.strip_prefix(&service.url("")).unwrap().to_owned();
        let page = service.get(&path).await;
        assert_eq!(page.body["count"], 13);
        seen.extend(all(&page, "filename"));
        next = page.body["next"].as_str().map(str::to_owned);
        assert_eq!(page.body["previous"].is_null(), pages == 0);
        pages += 1;
    }
    assert_eq!((pages, seen.len()), (3, 13));
    let names: Vec<&str> = seen.iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]),
        "{names:?}"
    );
}

#[tokio::test]
async fn pages_that_do_not_exist_are_404() {
    let service = Service::handbook().await;
    for page in ["0", "2", "-1", "x"] {
        service
            .get(&format!("/api/v3/workspaces?page={page}"))
            .await
            .assert_error(404, "not_found");
    }
    assert_eq!(
        service.get("/api/v3/tags?page=1").await.body,
        json!({"count": 0, "next": null, "previous": null, "results": []})
    );
}

#[tokio::test]
async fn workspaces_are_listed_by_name_and_filtered() {
    let service = Service::handbook().await;
    let list = async |query: &str| {
        all(
            &service.get(&format!("/api/v3/workspaces{query}")).await,
            "name",
        )
    };
    let by_name = ["Brightwater Handbook", "engineering", "france", "support"];
    assert_eq!(list("").await, by_name);
    assert_eq!(
        list("?ordering=-name").await,
        by_name.iter().rev().copied().collect::<Vec<_>>()
    );
    assert_eq!(list("?name=BRIGHT").await, ["Brightwater Handbook"]);
    assert_eq!(list("?workspace_type=shared,personal").await.len(), 4);
    for nothing in [
        "workspace_type=personal",
        "document_upload_method=synced",
        "user_role=viewer",
        "datasource_type=sharepoint",
    ] {
        assert!(list(&format!("?{nothing}")).await.is_empty(), "{nothing}");
    }
    let page = service.get("/api/v3/workspaces").await;
    assert_eq!(
        page.body["results"][0]["taxonomy"],
        json!({"classified_files_rate": 0.0, "root_content_types": []})
    );
    assert_eq!(page.body["results"][0]["files_count"], 8);
}

#[tokio::test]
async fn tags_are_filtered_by_name_and_kind() {
    let service = Service::handbook().await;
    for (name, auto_assign) in [("beta", true), ("alpha", false)] {
        service
            .post(
                "/api/v3/tags",
                json!({"name": name, "description": "", "auto_assign": auto_assign}),
            )
            .await;
    }
    let list = async |query: &str| all(&service.get(&format!("/api/v3/tags{query}")).await, "name");
    assert_eq!(list("").await, ["alpha", "beta"]);
    assert_eq!(list("?name=ALP").await, ["alpha"]);
    assert_eq!(list("?auto_assign=True").await, ["beta"]);
}

#[tokio::test]
async fn every_filter_of_files_does_its_part() {
    let service = Service::handbook().await;
    let tag = service
        .post("/api/v3/tags", json!({"name": "t", "description": ""}))
        .await
        .id();
    let origin = json!({"external_id": "INC-7", "doc_type": "incident"}).to_string();
    let made = service
        .upload_form(
            form("Zebra Report.md", "# Stripes\n\nZebras have stripes.")
                .text("workspace_id", "3")
                .text("title", "Stripes of the year")
                .text("tags", tag.to_string())
                .text("external_metadata", origin),
        )
        .await;
    let session = made.body["upload_session_uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    // It is embedded after three looks.
    for _ in 0..3 {
        service.get(&format!("/api/v3/files/{}", made.id())).await;
    }
    let list = async |query: &str| {
        all(
            &service
                .get(&format!("/api/v3/files?page_size=100&{query}"))
                .await,
            "id",
        )
    };
    let only = vec![json!(made.id())];
    for query in [
        format!("tag_id={tag}"),
        "title=STRIPES+OF".to_owned(),
        "filename=zebra".to_owned(),
        "filename=zebra&workspace_id=3&extension=md&status=embedded&status_vision=embedded&owner_id=1".to_owned(),
        "created_at_after=2026-06-01T00:00:00Z&filename=zebra".to_owned(),
        format!("upload_session_uuid={session}"),
        "external_metadata__external_id=INC-7".to_owned(),
        "external_metadata__doc_type=incident".to_owned(),
        "total_pages_min=1&total_pages_max=1&filename=zebra".to_owned(),
        "search=zebras".to_owned(),
    ] {
        assert_eq!(list(&query).await, only, "{query}");
    }
    for query in [
        "filename=zebra&workspace_id=1",
        "filename=zebra&workspace_id=1&workspace_id=2",
        "filename=zebra&extension=pdf",
        "filename=zebra&status=pending,parsing",
        "filename=zebra&owner_id=2",
        "filename=zebra&group_id=1",
        "filename=zebra&created_at_before=2020-01-01",
        "filename=zebra&updated_at_before=2020-01-01",
        "filename=zebra&updated_at_after=2999-01-01",
        "filename=zebra&total_pages_min=2",
    ] {
        assert!(list(query).await.is_empty(), "{query}");
    }
    for (query, field) in [
        ("workspace_id=one", "workspace_id"),
        ("created_at_after=yesterday", "created_at_after"),
        ("ordering=colour", "ordering"),
        ("total_pages_min=few", "total_pages_min"),
        ("search=zebra&max_documents=501", "max_documents"),
        ("include_details=perhaps", "include_details"),
    ] {
        let answer = service.get(&format!("/api/v3/files?{query}")).await;
        answer.assert_error(422, "validation_error");
        assert!(
            answer.body["fields"].get(field).is_some(),
            "{query}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn files_come_newest_first_unless_told_otherwise() {
    let service = Service::handbook().await;
    let newest = service.upload("new.md", "Text").await.id();
    let ids = all(&service.get("/api/v3/files").await, "id");
    assert_eq!(ids[0], newest);
    for ordering in ["created_at", "filename", "title", "total_pages", "size"] {
        let path = |sign: &str| format!("/api/v3/files?page_size=100&ordering={sign}{ordering}");
        let up = all(&service.get(&path("")).await, "id");
        let mut down = all(&service.get(&path("-")).await, "id");
        down.reverse();
        assert_eq!(up, down, "{ordering}");
    }
}

#[tokio::test]
async fn searched_files_bring_the_passages_that_were_found() {
    let service = Service::handbook().await;
    let page = service
        .get("/api/v3/files?search=how+long+does+the+battery+last&search_details=true&search_details_chunks_limit=1&max_documents=2")
        .await;
    assert_eq!(page.body["results"][0]["filename"], "product-faq.html");
    assert!(page.body["results"].as_array().unwrap().len() <= 2);
    let chunks = page.body["results"][0]["search_details"]["relevant_chunks"]
        .as_array()
        .unwrap();
    assert_eq!(chunks.len(), 1);
    assert!(
        chunks[0]["text"].as_str().unwrap().contains("30 months"),
        "{}",
        chunks[0]
    );
    assert!(chunks[0]["score"].is_number());
    assert_eq!(chunks[0]["scores"]["relevance"], Value::Null);
}

#[tokio::test]
async fn details_of_a_list_come_when_asked_for() {
    let service = Service::handbook().await;
    let request = |details: &str| {
        service.request(
            Method::GET,
            &format!("/api/v3/files?include_details={details}"),
        )
    };
    let with = Answer::of(request("true")).await;
    let without = Answer::of(request("false")).await;
    assert!(with.body["results"][0].get("signature").is_some());
    assert!(without.body["results"][0].get("signature").is_none());
}
