//! The files behind citations: whom a link opens them to.

use reqwest::Method;
use serde_json::json;
use url::Url;

use crate::{
    key, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, refusal, result},
        reply::Reply,
        server::Server,
        upstream::says,
    },
};

/// What the key of these tests holds.
const SOME: &str = "workspace_id = [42, 43]";

/// A file as LightOn knows it.
fn file(workspace: i64) -> Reply {
    Reply::json(json!({
        "id": 512, "filename": "policy.pdf", "title": "Data policy", "extension": "pdf", "status": "embedded",
        "workspace": {"id": workspace, "name": "w"}, "total_pages": 12, "created_at": "2026-01-01T00:00:00Z",
    }))
}

fn bytes() -> Reply {
    Reply::body("application/pdf", "%PDF-1.7 five years")
        .header("content-disposition", "attachment; filename=\"policy.pdf\"")
}

#[tokio::test]
async fn the_link_of_a_citation_opens_the_file_without_a_key() {
    let lighton = FakeLightOn::new()
        .finds([result("Five years.")])
        .then(bytes());
    let upstream = Server::new().then(says("Five years [1]."));
    let gateway = Gateway::start(&lighton, &upstream, &key("acme", SOME)).await;
    let answer = Answer::of(gateway.chat(&question(json!({}))).bearer_auth("acme"))
        .await
        .json();
    let link = answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
        .as_str()
        .unwrap()
        .to_owned();

    let opened = reqwest::get(&link).await.unwrap();

    assert_eq!(opened.status(), 200);
    let header = |name: &str| {
        opened
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(header("content-type"), "application/pdf");
    assert_eq!(
        header("content-disposition"),
        "inline; filename*=UTF-8''policy.pdf"
    );
    assert_eq!(
        (header("x-content-type-options"), header("referrer-policy")),
        ("nosniff".to_owned(), "no-referrer".to_owned())
    );
    assert_eq!(opened.text().await.unwrap(), "%PDF-1.7 five years");
    let download = lighton.requests().pop().unwrap();
    assert!(download.path.contains("/512"), "{}", download.path);
    assert_eq!(
        download.header("authorization"),
        Some("Bearer lo-secret-7f1c")
    );
}

#[tokio::test]
async fn a_link_that_was_changed_or_has_expired_opens_nothing() {
    // Where nobody is asked for a key, too: a link that says when it ends has to end then.
    for keys in [key("acme", SOME), String::new()] {
        opens_nothing(&keys).await;
    }
}

async fn opens_nothing(keys: &str) {
    let lighton = FakeLightOn::new().finds([result("x")]);
    let upstream = Server::new().then(says("[1]"));
    let settings = format!("[links]\nsecret = \"link-secret\"\n{keys}");
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;
    let answer = Answer::of(gateway.chat(&question(json!({}))).bearer_auth("acme"))
        .await
        .json();
    let link = Url::parse(
        answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let query = link.query().unwrap();
    let (expires, signature) = query.split_once('&').unwrap();
    let later = expires.replace("expires=", "expires=9");

    for path in [
        format!("/sources/513?{query}"),
        format!("/sources/512?{later}&{signature}"),
        format!("/sources/512?{expires}"),
        format!("/sources/512?{signature}"),
        format!("/sources/512?{expires}&signature=00"),
        format!("/sources/512?{expires}&signature=é"),
        format!(
            "/sources/512?{expires}&{}",
            signature
                .to_uppercase()
                .replace("SIGNATURE=", "signature=00")
        ),
        format!("/sources/512?expires=-1&{signature}"),
        format!("/sources/512?expires=x&{signature}"),
    ] {
        let answer = gateway.get(&path).await;
        answer.error(401, "authentication_error", "invalid_api_key");
    }
}

#[tokio::test]
async fn links_live_as_long_as_the_operator_says() {
    let lighton = FakeLightOn::new().finds([result("x")]);
    let upstream = Server::new().then(says("[1]"));
    let gateway = Gateway::start(
        &lighton,
        &upstream,
        &format!("[links]\nttl = \"2h\"\n{}", key("acme", SOME)),
    )
    .await;
    let answer = Answer::of(gateway.chat(&question(json!({}))).bearer_auth("acme"))
        .await
        .json();
    let link = Url::parse(
        answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
            .as_str()
            .unwrap(),
    )
    .unwrap();

    let (_, expires) = link
        .query_pairs()
        .find(|(key, _)| key == "expires")
        .unwrap();

    let left = expires.parse::<u64>().unwrap() - groundwire::openai::unix_seconds();
    assert!((7100..=7200).contains(&left), "{left}");
}

#[tokio::test]
async fn a_key_opens_the_files_of_its_scope_and_no_other_exists() {
    let lighton = FakeLightOn::new()
        .then(file(42))
        .then(bytes())
        .then(file(7))
        .then(refusal(404, "not_found", "No file"))
        .then(refusal(403, "forbidden", "Not yours"));
    let gateway = Gateway::start(&lighton, &Server::new(), &key("acme", SOME)).await;
    let get =
        async |path: &str| Answer::of(gateway.request(Method::GET, path).bearer_auth("acme")).await;

    assert_eq!(get("/sources/512").await.text(), "%PDF-1.7 five years");
    let outside = get("/sources/512").await;
    let unknown = get("/sources/512").await;
    let forbidden = get("/sources/512").await;

    for answer in [&outside, &unknown, &forbidden] {
        answer.error(404, "invalid_request_error", "not_found");
        assert_eq!(answer.text(), outside.text(), "nobody can tell them apart");
    }
    for path in [
        "/sources/x",
        "/sources/0512",
        "/sources/+512",
        "/sources/99999999999999999999",
        "/sources/512%2Fcontent",
    ] {
        get(path)
            .await
            .error(404, "invalid_request_error", "not_found");
    }
}

#[tokio::test]
async fn a_document_that_could_run_as_a_page_is_sandboxed() {
    let page = Reply::body("text/html", "<script>alert(1)</script>").header(
        "content-disposition",
        "attachment; filename=\"a\u{e9} b.html\"",
    );
    let lighton = FakeLightOn::new().then(file(42)).then(page);
    let gateway = Gateway::start(&lighton, &Server::new(), &key("acme", SOME)).await;

    let answer = Answer::of(
        gateway
            .request(Method::GET, "/sources/512")
            .bearer_auth("acme"),
    )
    .await;

    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-security-policy")
            .unwrap()
            .starts_with("sandbox")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_store_that_fails_is_told_as_search() {
    for (reply, status, code) in [
        (Reply::status(500), 502, "search_unavailable"),
        (
            refusal(401, "unauthorized", "Bad key"),
            502,
            "search_authentication",
        ),
    ] {
        let lighton = FakeLightOn::new().then(reply);
        let gateway = Gateway::start(
            &lighton,
            &Server::new(),
            &format!("[retry]\nattempts = 1\n{}", key("acme", SOME)),
        )
        .await;
        let answer = Answer::of(
            gateway
                .request(Method::GET, "/sources/512")
                .bearer_auth("acme"),
        )
        .await;
        answer.error(status, "search_error", code);
    }
}
