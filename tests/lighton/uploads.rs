//! Uploads: streamed, sent once, and never waiting for a service that stands still.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use groundwire::{
    config::WorkspaceId,
    retrieval::{DocumentStore, Error, documents::Upload, lighton::Options},
};

use crate::{
    client,
    documents::{file, stored},
    options,
    support::{
        lighton::{FakeLightOn, invalid, refusal},
        reply::{Gate, Reply},
    },
};

fn upload(bytes: BoxStream<'static, io::Result<Bytes>>) -> Upload {
    Upload {
        workspace: Some(WorkspaceId(42)),
        filename: "été \"1\".md".to_owned(),
        title: None,
        content_type: Some("text/markdown".to_owned()),
        length: None,
        bytes,
    }
}

#[tokio::test]
async fn an_upload_goes_out_while_it_comes_in() {
    let lighton =
        FakeLightOn::new().on("POST /api/v3/files", Reply::json(file(7)).with_status(201));
    let client = client(&lighton.url(), options());
    let gate = Gate::new();
    let held = gate.clone();
    let second = stream::once(async move {
        held.opened().await;
        Ok(Bytes::from_static(b"# the end"))
    });
    let first = stream::iter([Ok(Bytes::from(vec![b'x'; 100_000]))]);

    let storing = client.upload(upload(first.chain(second).boxed()));
    // The first half is there before the second exists.
    let opening = async {
        lighton.body_bytes(100_000).await;
        gate.open();
    };
    let (stored_file, ()) = futures_util::join!(storing, opening);

    assert_eq!(stored_file.unwrap(), stored(7));
    let request = lighton.request();
    assert_eq!(request.header("content-length"), None);
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let field =
        |name: &str, value: &str| body.contains(&format!("name=\"{name}\"\r\n\r\n{value}\r\n"));
    assert!(
        field("workspace_id", "42") && field("filename", "été \"1\".md"),
        "{}",
        &body[..600]
    );
    assert!(!body.contains("name=\"title\""));
    assert!(
        body.contains("content-type: text/markdown\r\n"),
        "{}",
        &body[..600]
    );
    assert!(body.contains("# the end\r\n--"));
}

#[tokio::test]
async fn an_upload_of_known_length_announces_it() {
    let lighton = FakeLightOn::new().then(Reply::json(file(7)));
    let sized = Upload {
        length: Some(5),
        title: Some("Summer".to_owned()),
        content_type: Some("not a media type".to_owned()),
        ..upload(stream::iter([Ok(Bytes::from_static(b"12345"))]).boxed())
    };

    client(&lighton.url(), options())
        .upload(sized)
        .await
        .unwrap();

    let request = lighton.request();
    assert_eq!(
        request.header("content-length"),
        Some(request.body.len().to_string().as_str())
    );
    assert!(String::from_utf8_lossy(&request.body).contains("name=\"title\"\r\n\r\nSummer\r\n"));
}

#[tokio::test]
async fn an_upload_is_sent_once_whatever_comes_back() {
    let bytes = || stream::iter([Ok(Bytes::from_static(b"12345"))]).boxed();
    for (reply, expected) in [
        (Reply::status(503), "unavailable"),
        (refusal(429, "rate_limited", "Slow down"), "fewer requests"),
        (invalid("workspace_id", "Unknown"), "workspace_id: Unknown"),
        (
            refusal(404, "not_found", "No such workspace"),
            "refused the query with 404",
        ),
    ] {
        let lighton = FakeLightOn::new().then(reply);
        let error = client(&lighton.url(), options())
            .upload(upload(bytes()))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_upload_waits_for_its_client_but_not_for_the_service() {
    let short = Options {
        timeout: Duration::from_secs(1),
        ..options()
    };
    let lighton = FakeLightOn::new()
        .then(Reply::json(file(7)))
        .then(Reply::silence());
    let client = client(&lighton.url(), short);
    // A client that needs longer than the service may.
    let slow = stream::once(async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        Ok(Bytes::from_static(b"late"))
    });

    client.upload(upload(slow.boxed())).await.unwrap();
    let bytes = stream::iter([Ok(Bytes::from_static(b"12345"))]);
    let error = client.upload(upload(bytes.boxed())).await.unwrap_err();

    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    lighton.closed().await;
}

#[tokio::test]
async fn an_upload_whose_client_leaves_is_not_stored() {
    let lighton = FakeLightOn::new();
    let broken = stream::iter([
        Ok(Bytes::from_static(b"half")),
        Err(io::Error::other("the client left")),
    ]);

    let error = client(&lighton.url(), options())
        .upload(upload(broken.boxed()))
        .await
        .unwrap_err();

    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    lighton.all_closed().await;
    assert!(lighton.requests().is_empty());
}
