//! `upload` against a scripted gateway: what is sent, what is waited for, and what a failure costs the other files.

use serde_json::{Value, json};

use super::{
    program::groundwire,
    support::{
        reply::Reply,
        server::{Server, nobody},
    },
};

fn file(id: &str, status: &str) -> Value {
    json!({"id": id, "object": "file", "bytes": 1, "created_at": 0, "filename": "a.md", "purpose": "assistants", "status": status,
        "status_details": "no text in it"})
}

fn refused(status: u16, message: &str) -> Reply {
    let error = json!({"message": message, "type": "invalid_request_error", "param": "file", "code": "invalid_value"});
    Reply::json(json!({ "error": error })).with_status(status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_and_waited_for_until_search_finds_it() {
    let server = Server::new()
        .on("POST /v1/files", Reply::json(file("7", "uploaded")))
        .on("GET /v1/files/7", refused(503, "busy"))
        .on("GET /v1/files/7", Reply::json(file("7", "processed")));

    let ended = groundwire(&[
        "upload",
        "--wait",
        "--workspace",
        "42",
        "plan.md",
        "--url",
        &server.url(),
    ])
    .with(&[("GROUNDWIRE_KEY", "gw_secret_k")])
    .among(&[("plan.md", "Five years.")])
    .start()
    .end();

    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "7\tprocessed\tplan.md\n");
    assert!(ended.stderr.contains("1 of 1 files"), "{}", ended.stderr);
    let sent = &server.requests()[0];
    let form = String::from_utf8_lossy(&sent.body).into_owned();
    assert_eq!(sent.header("authorization"), Some("Bearer gw_secret_k"));
    let workspace = form.find("name=\"workspace_id\"\r\n\r\n42\r\n").unwrap();
    let content = form.find("\r\n\r\nFive years.\r\n").unwrap();
    assert!(
        workspace < content,
        "the workspace goes before the file: {form}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_does_not_stop_the_others() {
    let server = Server::new()
        .then(Reply::json(file("7", "processed")))
        .then(refused(400, "Unsupported file type."))
        .then(Reply::json(file("9", "error")));

    let ended = groundwire(&["upload", "a.md", "b.md", "c.md", "--url", &server.url()])
        .among(&[("a.md", "a"), ("b.md", "b"), ("c.md", "c")])
        .start()
        .end();

    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    for text in [
        "Unsupported file type.",
        "stored as 9",
        "no text in it",
        "2 of 3 files failed",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_a_file_is_missing_or_nobody_is_there() {
    let server = Server::new();
    let missing = groundwire(&["upload", "a.md", "gone.md", "--url", &server.url()])
        .among(&[("a.md", "a")])
        .start()
        .end();
    assert_eq!(missing.code(), Some(1), "{}", missing.stderr);
    assert!(missing.stderr.contains("gone.md"), "{}", missing.stderr);
    assert_eq!(server.requests().len(), 0);

    let url = format!("http://{}", nobody());
    let alone = groundwire(&["upload", "a.md", "--url", &url])
        .among(&[("a.md", "a")])
        .start()
        .end();
    assert_eq!(alone.code(), Some(1), "{}", alone.stderr);
    assert!(
        alone.stderr.contains("no gateway can be reached"),
        "{}",
        alone.stderr
    );

    let empty = groundwire(&["upload"]).start().end();
    assert_eq!(empty.code(), Some(2), "{}", empty.stderr);
}
