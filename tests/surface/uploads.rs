//! `POST /v1/files`: a file on its way through to LightOn.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use reqwest::{
    Body, Method,
    multipart::{Form, Part},
};
use serde_json::json;

use crate::{
    files::{file, gateway, narrow, stored, upload},
    gateway::Reply as Answer,
    support::{
        lighton::{FakeLightOn, invalid, refusal},
        reply::{Gate, Reply},
    },
};

/// The form that LightOn got, as text.
fn sent(lighton: &FakeLightOn) -> String {
    let requests = lighton.requests();
    String::from_utf8_lossy(&requests.last().unwrap().body).into_owned()
}

fn field(form: &str, name: &str, value: &str) -> bool {
    form.contains(&format!("name=\"{name}\"\r\n\r\n{value}\r\n"))
}

#[tokio::test]
async fn a_file_goes_where_the_form_says_whatever_the_order_of_its_fields() {
    let text = || Body::from("Five years.");
    let fields_first = Form::new()
        .text("purpose", "user_data")
        .text("workspace_id", "42")
        .part("file", file(text()));
    let file_first = Form::new()
        .part("file", file(text()))
        .text("purpose", "user_data")
        .text("rag[workspace_id]", "42");
    let as_json = Form::new()
        .text("rag", r#"{"workspace_id": [42]}"#)
        .text("purpose", "user_data")
        .part("file", file(text()));
    for form in [fields_first, file_first, as_json] {
        let lighton = FakeLightOn::new().on(
            "POST /api/v3/files",
            Reply::json(stored(7, 42, "pending")).with_status(201),
        );
        let gateway = gateway(&lighton, "").await;

        let answer = upload(&gateway, form).await.ok();

        assert_eq!(
            answer,
            json!({
                "id": "7", "object": "file", "bytes": 107, "created_at": 1_767_312_000, "filename": "file7.md",
                "purpose": "user_data", "status": "uploaded"
            })
        );
        let form = sent(&lighton);
        assert!(field(&form, "workspace_id", "42"), "{form}");
        assert!(
            form.contains("plan.md") && form.contains("\r\n\r\nFive years.\r\n"),
            "{form}"
        );
    }
}

#[tokio::test]
async fn a_workspace_can_be_left_out_where_there_is_only_one() {
    for (settings, header, key) in [
        ("[rag]\nworkspace_id = [42]".to_owned(), None, None),
        ("[files]\nworkspace_id = 42".to_owned(), None, None),
        (narrow(), None, Some("narrow")),
        (String::new(), Some("42"), None),
    ] {
        let lighton = FakeLightOn::new().then(Reply::json(stored(7, 42, "embedded")));
        let gateway = gateway(&lighton, &settings).await;
        let form = Form::new().part("file", file("x"));
        let mut request = gateway.request(Method::POST, "/v1/files").multipart(form);
        if let Some(ids) = header {
            request = request.header("x-rag-workspace-id", ids);
        }
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }

        let answer = Answer::of(request).await.ok();

        assert_eq!(answer["status"], "processed");
        assert!(field(&sent(&lighton), "workspace_id", "42"));
    }
}

#[tokio::test]
async fn the_bytes_pass_while_the_client_still_writes() {
    let lighton = FakeLightOn::new().then(Reply::json(stored(7, 42, "pending")));
    let gateway = gateway(&lighton, "").await;
    let gate = Gate::new();
    let opened = gate.clone();
    let first = Ok::<_, Infallible>(Bytes::from(vec![b'a'; 1 << 20]));
    let body = stream::unfold(0, move |step| {
        let (first, gate) = (first.clone(), opened.clone());
        async move {
            match step {
                0 => Some((first, 1)),
                1 => {
                    gate.opened().await;
                    Some((Ok(Bytes::from_static(b"the end")), 2))
                }
                _ => None,
            }
        }
    });
    let form = Form::new()
        .text("workspace_id", "42")
        .part("file", file(Body::wrap_stream(body)));

    let (answer, ()) = tokio::join!(upload(&gateway, form), async {
        lighton.body_bytes(1 << 20).await;
        gate.open();
    });

    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(sent(&lighton).contains("the end\r\n"));
}

#[tokio::test]
async fn a_long_file_needs_to_know_where_it_goes_before_it_begins() {
    let long = || file(vec![b'a'; 2 << 20]);
    let lighton = FakeLightOn::new();
    let open = gateway(&lighton, "").await;
    let form = Form::new().part("file", long()).text("workspace_id", "42");
    upload(&open, form)
        .await
        .refused(400, "missing_field", "workspace_id");
    assert_eq!(lighton.requests().len(), 0);

    // A default is known, so the file is on its way when the form says otherwise: LightOn must not see its end.
    let settled = gateway(&lighton, "[rag]\nworkspace_id = [43]").await;
    let form = Form::new().part("file", long()).text("workspace_id", "42");
    upload(&settled, form)
        .await
        .refused(400, "invalid_value", "workspace_id");
    lighton.closed().await;
    assert_eq!(lighton.requests().len(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_told_before_it_is_stored() {
    let lighton = FakeLightOn::new();
    let gateway = gateway(&lighton, "").await;
    let in_42 = || Form::new().text("workspace_id", "42");

    upload(&gateway, in_42())
        .await
        .refused(400, "missing_field", "file");
    upload(&gateway, in_42().part("file", Part::text("x")))
        .await
        .refused(400, "missing_field", "file");
    upload(&gateway, Form::new().part("file", file("x")))
        .await
        .refused(400, "missing_field", "workspace_id");
    upload(&gateway, Form::new().text("workspace_id", "x"))
        .await
        .refused(400, "invalid_value", "workspace_id");
    upload(&gateway, in_42().text("purpose", "batch"))
        .await
        .refused(400, "invalid_value", "purpose");
    upload(&gateway, in_42().text("workspace_id", "43"))
        .await
        .refused(400, "invalid_value", "workspace_id");
    upload(&gateway, in_42().part("file", file(vec![0; 5 << 20])))
        .await
        .refused(413, "request_too_large", "file");
    gateway
        .post("/v1/files", json!({}))
        .await
        .refused(415, "unsupported_media_type", "");
    let cut = gateway
        .request(Method::POST, "/v1/files")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.md\"\r\n\r\nhalf",
        );
    Answer::of(cut).await.refused(400, "invalid_value", "");
    assert_eq!(lighton.requests().len(), 0);
}

#[tokio::test]
async fn a_file_that_grows_beyond_the_limit_is_not_stored() {
    let lighton = FakeLightOn::new();
    let gateway = gateway(&lighton, "").await;
    let pieces = (0..40).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'a'; 100 << 10])));
    let body = Body::wrap_stream(stream::iter(pieces));
    let form = Form::new()
        .text("workspace_id", "42")
        .part("file", file(body));

    upload(&gateway, form)
        .await
        .refused(413, "request_too_large", "file");

    lighton.closed().await;
    assert_eq!(lighton.requests().len(), 0);
}

#[tokio::test]
async fn what_lighton_says_of_an_upload_reaches_the_client() {
    let lighton = FakeLightOn::new()
        .then(invalid("file", "Unsupported file type."))
        .then(refusal(403, "forbidden", "no"))
        .then(refusal(401, "unauthorized", "no"));
    let gateway = gateway(&lighton, "").await;
    let form = || {
        Form::new()
            .text("workspace_id", "42")
            .part("file", file("x"))
    };

    let unsupported = upload(&gateway, form()).await;
    unsupported.refused(400, "invalid_value", "file");
    assert!(unsupported.body.contains("Unsupported file type"));
    upload(&gateway, form())
        .await
        .refused(403, "workspace_not_found", "workspace_id");
    upload(&gateway, form())
        .await
        .refused(502, "search_authentication", "");
}
