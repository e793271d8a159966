//! LightOn's error envelope, cause by cause.

use reqwest::Method;
use serde_json::json;

use crate::service::{Answer, Service};

#[tokio::test]
async fn every_endpoint_demands_a_key_and_takes_any() {
    let service = Service::small().await;
    for (method, path) in [
        (Method::POST, "/api/v3/search"),
        (Method::GET, "/api/v3/workspaces"),
        (Method::GET, "/api/v3/files/1"),
        (Method::DELETE, "/api/v3/tags/1"),
    ] {
        for key in [None, Some(""), Some("Bearer "), Some("Basic eDp5")] {
            let mut request = service.request_without_key(method.clone(), path);
            if let Some(key) = key {
                request = request.header("authorization", key);
            }
            Answer::of(request).await.assert_error(401, "unauthorized");
        }
    }
    assert_eq!(service.get("/api/v3/workspaces").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400() {
    let service = Service::small().await;
    for body in ["{\"query\": ", "not json", "{'query': 'x'}", "\u{feff}"] {
        let request = service
            .request(Method::POST, "/api/v3/search")
            .header("content-type", "application/json")
            .body(body);
        Answer::of(request).await.assert_error(400, "bad_request");
    }
}

#[tokio::test]
async fn json_that_is_no_object_is_a_validation_error() {
    let service = Service::small().await;
    for body in [json!([]), json!("query"), json!(null), json!(7)] {
        service
            .search(body)
            .await
            .assert_field("non_field_errors", "invalid");
    }
}

#[tokio::test]
async fn other_media_types_are_415() {
    let service = Service::small().await;
    let request = service
        .request(Method::POST, "/api/v3/search")
        .header("content-type", "text/plain")
        .body("query");
    Answer::of(request)
        .await
        .assert_error(415, "unsupported_media_type");
    // The files API takes forms only.
    let body = json!({"workspace_id": 1});
    service
        .post("/api/v3/files", body.clone())
        .await
        .assert_error(415, "unsupported_media_type");
    service
        .patch("/api/v3/files/1", body)
        .await
        .assert_error(415, "unsupported_media_type");
}

#[tokio::test]
async fn unknown_paths_are_404_and_wrong_methods_405() {
    let service = Service::small().await;
    for path in [
        "/api/v3/nothing",
        "/api/v3/files/1/nothing",
        "/api/v3/",
        "/api/v3/ask",
    ] {
        let answer = service.get(path).await;
        answer.assert_error(404, "not_found");
        assert!(
            answer.body["detail"].as_str().unwrap().contains(path),
            "{}",
            answer.body
        );
    }
    service
        .get("/api/v3/search")
        .await
        .assert_error(405, "method_not_allowed");
    service
        .get("/api/v3/tags/1")
        .await
        .assert_error(405, "method_not_allowed");
}

#[tokio::test]
async fn things_that_do_not_exist_are_404() {
    let service = Service::small().await;
    for id in ["999999", "-1", "word", "99999999999999999999"] {
        for path in ["files", "workspaces"] {
            service
                .get(&format!("/api/v3/{path}/{id}"))
                .await
                .assert_error(404, "not_found");
            service
                .delete(&format!("/api/v3/{path}/{id}"))
                .await
                .assert_error(404, "not_found");
        }
        service
            .delete(&format!("/api/v3/tags/{id}"))
            .await
            .assert_error(404, "not_found");
        service
            .get(&format!("/api/v3/files/{id}/download"))
            .await
            .assert_error(404, "not_found");
        let tags = json!({"tags": [1]});
        service
            .post(&format!("/api/v3/files/{id}/tags"), tags)
            .await
            .assert_error(404, "not_found");
        let name = json!({"name": "x"});
        service
            .patch(&format!("/api/v3/workspaces/{id}"), name)
            .await
            .assert_error(404, "not_found");
    }
}
