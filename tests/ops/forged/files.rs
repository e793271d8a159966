//! Files: forms and names that carry more than a file and its name.

use super::{
    Door, Plain,
    Refused::{self, As},
};
use crate::support::{lighton::FakeLightOn, reply::Reply, server::Server};
use serde_json::json;

/// A part of a form.
fn part(disposition: &str, value: &str) -> String {
    format!("--edge\r\ncontent-disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
}

fn file(names: &str) -> String {
    part(&format!("name=\"file\"; {names}"), "%PDF")
}

fn workspace(value: &str) -> String {
    part("name=\"workspace_id\"", value)
}

fn form(parts: impl AsRef<[String]>) -> Plain {
    Plain {
        kind: "content-type: multipart/form-data; boundary=edge\r\n".to_owned(),
        ..Plain::post(
            "/v1/files",
            format!("{}--edge--\r\n", parts.as_ref().concat()),
        )
    }
}

const PLAIN: &str = "filename=\"a.pdf\"";

#[tokio::test]
async fn a_form_says_each_thing_once_and_plainly() {
    let door = Door::silent().await;
    let bad = |param: &'static str| As(400, "invalid_value", param);
    let (workspace_id, broken): (Refused, Refused) = (bad("workspace_id"), bad(""));
    let rag = |value: &str| form([part("name=\"rag\"", value), file(PLAIN)]);
    let kind = |kind: &str| Plain {
        kind: format!("content-type: {kind}\r\n"),
        ..form([file(PLAIN)])
    };
    let table = vec![
        form([workspace("42"), workspace("7"), file(PLAIN)]).is("two workspaces", workspace_id),
        form([workspace("7"), file(PLAIN)]).is(
            "one outside",
            As(403, "workspace_not_allowed", "workspace_id"),
        ),
        form([workspace("123456789012345678901234567890"), file(PLAIN)])
            .is("30 digits", workspace_id),
        form([workspace("42\0"), file(PLAIN)]).is("NUL", workspace_id),
        form([workspace("42.0"), file(PLAIN)]).is("a float", workspace_id),
        form([workspace("*"), file(PLAIN)]).is("a star", workspace_id),
        form([workspace("42"), file(PLAIN)])
            .with("x-rag-workspace-id: 7\r\n")
            .is("another in the head", workspace_id),
        rag("{\"workspace_id\":42,\"workspace_id\":7}").is("a key twice", bad("rag.workspace_id")),
        rag("{\"__proto__\":{}}").is("a prototype", bad("rag.__proto__")),
        rag(&"[".repeat(60_000)).is("lists without end", bad("rag")),
        rag("{\"workspace_id\":[42,7]}").is("two at once", workspace_id),
        form([file(PLAIN), file(PLAIN)]).is("two files", bad("file")),
        form([file(&format!("filename=\"{}.pdf\"", "a".repeat(2000)))])
            .is("an endless name", bad("file")),
        form([file("filename=\"\"")]).is("no name", As(400, "missing_field", "file")),
        form([file("filename*=UTF-8''a%0d%0ab.pdf")])
            .is("an encoded name alone", As(400, "missing_field", "file")),
        form([file("filename=\"a\0.pdf\"")]).is("NUL in a name", broken),
        form([file("filename=\"a\rb.pdf\"")]).is("CR in a name", broken),
        form([file("filename=\"a.pdf\"\r\n folded: yes")]).is("a folded line", broken),
        form([]).is("no file", As(400, "missing_field", "file")),
        form(vec![part("name=\"x\"", ""); 200]).is("too many fields", broken),
        form([part("name=\"x\"", &"a".repeat(100_000)), file(PLAIN)])
            .is("a field too long", broken),
        form([file(PLAIN)])
            .with("content-encoding: gzip\r\n")
            .is("compressed", As(415, "unsupported_media_type", "")),
        kind("multipart/form-data").is("no boundary", As(415, "unsupported_media_type", "")),
        kind("application/json").is("JSON", As(415, "unsupported_media_type", "")),
        kind(&format!(
            "multipart/form-data; boundary={}",
            "a".repeat(5000)
        ))
        .is("an endless boundary", broken),
    ];
    door.refuses(table).await;
}

#[tokio::test]
async fn another_workspace_behind_the_file_ends_an_upload_that_began() {
    let door = Door::silent().await;
    let request = form([workspace("42"), file(PLAIN), workspace("7")]);

    let heard = door.hear(&request.bytes()).await;

    heard.check("", As(400, "invalid_value", "workspace_id"));
    assert!(door.lighton.requests().is_empty(), "it was not stored");
}

#[tokio::test]
async fn a_files_name_is_nothing_but_its_name_for_the_service() {
    for names in [
        "filename=\"a%0d%0ax-evil: 1.pdf\"",
        "filename=\"a%22; name=%22workspace_id.pdf\"",
        "filename=\"a\\\"; name=\\\"workspace_id.pdf\"",
        "filename=\"a.pdf\"; filename=\"b.pdf\"",
        "filename=\"a.pdf\"; filename*=UTF-8''..%2f..%2fetc%2fpasswd",
        "filename=\"a.pdf\"; name=\"workspace_id\"",
    ] {
        let stored = json!({"id": 7, "filename": "a.pdf", "status": "embedded", "workspace": {"id": 42, "name": "w"}});
        let lighton = FakeLightOn::new().always("/api/v3/files", Reply::json(stored));
        let door = Door::start(lighton, Server::new()).await;

        let heard = door.hear(&form([file(names)]).bytes()).await;

        if heard.status != 200 {
            // A name that the reader of forms does not take.
            assert_eq!(
                (heard.status, door.lighton.connections()),
                (400, 0),
                "{names}: {}",
                heard.body
            );
            continue;
        }
        let sent = door.lighton.request();
        let sent = String::from_utf8_lossy(&sent.body);
        assert_eq!(
            sent.matches("\r\nContent-Disposition:").count()
                + sent.matches("\r\ncontent-disposition:").count(),
            3,
            "{sent}"
        );
        assert_eq!(sent.matches(" name=\"workspace_id\"").count(), 1, "{sent}");
        assert!(!sent.contains("\nx-evil"), "{sent}");
    }
}

#[tokio::test]
async fn a_files_name_is_nothing_but_its_name_for_the_browser() {
    for (name, told) in [
        ("a\r\nx-evil: 1.pdf", "a%0D%0Ax-evil%3A%201.pdf"),
        (
            "a\"; filename=\"evil.exe",
            "a%22%3B%20filename%3D%22evil.exe",
        ),
        (
            "a.pdf\"; filename*=UTF-8''evil.exe; x=\"",
            "a.pdf%22%3B%20filename%2A%3DUTF-8%27%27evil.exe%3B%20x%3D%22",
        ),
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("a\0.pdf", "a%00.pdf"),
        ("\u{202e}fdp.exe", "%E2%80%AEfdp.exe"),
        ("été.pdf", "%C3%A9t%C3%A9.pdf"),
    ] {
        let stored = json!({"id": 512, "filename": name, "status": "embedded", "workspace": {"id": 42, "name": "w"}});
        let lighton = FakeLightOn::new()
            .always("/api/v3/files/512", Reply::json(stored))
            .always(
                "/api/v3/files/512/download",
                Reply::body("application/pdf", "%PDF"),
            );
        let door = Door::start(lighton, Server::new()).await;
        for (path, kind) in [
            ("/v1/files/512/content", "attachment"),
            ("/sources/512", "inline"),
        ] {
            let heard = door.hear(&Plain::get(path).bytes()).await;

            assert_eq!(heard.status, 200, "{}", heard.body);
            let disposition = format!("{kind}; filename*=UTF-8''{told}");
            assert_eq!(
                heard.header("content-disposition"),
                Some(disposition.as_str()),
                "{name:?}"
            );
            assert_eq!(heard.header("x-evil"), None);
        }
    }
}
