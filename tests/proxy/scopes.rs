//! Which workspaces a request may see, and which files a link opens.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::{
    key, passage, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, refusal, result},
        reply::Reply,
        server::Server,
        upstream::says,
    },
};

/// What the keys of these tests hold.
const STAR: &str = "workspace_id = \"*\"";
const SOME: &str = "workspace_id = [42, 43]";

/// What comes of a request: the workspaces that search was asked for, or the error's code and the request's answer.
async fn scope(
    settings: &str,
    key_settings: &str,
    body: &Value,
    header: Option<&str>,
) -> Result<Value, Answer> {
    // Standing answers: whether search is asked is what each case tells.
    let lighton = FakeLightOn::new().always("/api/v3/search", Reply::json(json!({"results": []})));
    let upstream = Server::new().always("/v1/chat/completions", says("a"));
    let text = format!("{settings}\n{}", key("acme", key_settings));
    let gateway = Gateway::start(&lighton, &upstream, &text).await;
    let mut request = gateway.chat(body).bearer_auth("acme");
    if let Some(header) = header {
        request = request.header("x-rag-workspace-id", header);
    }
    let answer = Answer::of(request).await;
    if answer.status == 200 {
        return Ok(lighton
            .request()
            .json()
            .get("workspace_id")
            .cloned()
            .unwrap_or(Value::Null));
    }
    assert_eq!(
        (lighton.requests().len(), upstream.requests().len()),
        (0, 0),
        "nobody is asked for a refused request"
    );
    Err(answer)
}

#[tokio::test]
async fn the_scope_is_what_key_and_model_have_in_common_narrowed_by_the_request() {
    let named = |ids: &str| {
        format!(
            "[models.handbook]\nupstream = \"model\"\nmodel = \"m\"\nrag = {{ workspace_id = {ids} }}\n"
        )
    };
    let none = Value::Null;
    for (settings, key_settings, asked, expected) in [
        (String::new(), STAR, none.clone(), none.clone()),
        (String::new(), SOME, none.clone(), json!([42, 43])),
        (String::new(), STAR, json!(7), json!([7])),
        (String::new(), SOME, json!([43]), json!([43])),
        (named("[43, 44]"), STAR, none.clone(), json!([43, 44])),
        (named("[43, 44]"), SOME, none.clone(), json!([43])),
        (named("[43, 44]"), SOME, json!([43]), json!([43])),
        (
            "rag.workspace_id = [42]".to_owned(),
            STAR,
            none.clone(),
            json!([42]),
        ),
        (
            "rag.workspace_id = [42, 99]".to_owned(),
            SOME,
            none.clone(),
            json!([42]),
        ),
        (
            "rag.workspace_id = [42]".to_owned(),
            SOME,
            json!([43]),
            json!([43]),
        ),
        (
            "rag.workspace_id = [42]".to_owned(),
            "workspace_id = \"*\"\nrag = { workspace_id = [43] }",
            none.clone(),
            json!([43]),
        ),
        (
            "rag.workspace_id = [42]".to_owned(),
            "workspace_id = [42, 43]\nrag = { workspace_id = [43] }",
            json!(42),
            json!([42]),
        ),
    ] {
        let mut body = question(json!({}));
        if settings.contains("handbook") {
            body["model"] = json!("handbook");
        }
        if !asked.is_null() {
            body["rag"] = json!({"workspace_id": asked});
        }
        let sent = scope(&settings, key_settings, &body, None).await;
        assert_eq!(sent.unwrap(), expected, "{settings} {key_settings} {asked}");
    }
}

#[tokio::test]
async fn a_workspace_outside_the_scope_is_refused_by_its_number() {
    let named = "[models.handbook]\nupstream = \"model\"\nmodel = \"m\"\nrag = { workspace_id = [43, 44] }\n";
    for (settings, model, asked, outside) in [
        ("", "m", json!([42, 7, 8]), "7, 8"),
        ("", "m", json!(44), "44"),
        (named, "handbook", json!([42, 43]), "42"),
    ] {
        let mut body = question(json!({"rag": {"workspace_id": asked}}));
        body["model"] = json!(model);
        let answer = scope(settings, SOME, &body, None).await.unwrap_err();
        let error = answer.error(403, "permission_error", "workspace_not_allowed");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(outside) && !message.contains("43"),
            "{message}"
        );
        assert_eq!(error["param"], "rag.workspace_id");
    }
    let answer = scope("", SOME, &question(json!({})), Some("42,7"))
        .await
        .unwrap_err();
    answer.error(403, "permission_error", "workspace_not_allowed");
    assert_eq!(
        scope("", SOME, &question(json!({})), Some(" 43 , 42"))
            .await
            .unwrap(),
        json!([42, 43])
    );
}

#[tokio::test]
async fn an_empty_intersection_is_never_every() {
    let named =
        "[models.handbook]\nupstream = \"model\"\nmodel = \"m\"\nrag = { workspace_id = [44] }\n";
    let mut body = question(json!({}));
    body["model"] = json!("handbook");
    let answer = scope(named, SOME, &body, None).await.unwrap_err();
    answer.error(403, "permission_error", "workspace_not_allowed");

    let answer = scope("rag.workspace_id = [44]", SOME, &question(json!({})), None)
        .await
        .unwrap_err();
    answer.error(403, "permission_error", "workspace_not_allowed");
}

#[tokio::test]
async fn a_passage_from_outside_the_scope_never_reaches_the_model_or_the_client() {
    let mut foreign = passage("foreign", "Secret salary.");
    foreign["workspace"]["id"] = json!(7);
    let mut homeless = passage("homeless", "Secret plan.");
    homeless["workspace"] = Value::Null;
    for rag in [
        json!({}),
        json!({"workspace_id": 42}),
        json!({"file_id": [512]}),
    ] {
        let lighton =
            FakeLightOn::new().finds([foreign.clone(), result("Five years."), homeless.clone()]);
        let upstream = Server::new().then(says("a"));
        let gateway = Gateway::start(&lighton, &upstream, &key("acme", SOME)).await;

        let answer = Answer::of(
            gateway
                .chat(&question(json!({"rag": rag})))
                .bearer_auth("acme"),
        )
        .await;

        assert_eq!(
            answer.json()["rag"]["dropped"],
            json!([{"chunk_id": "foreign", "reason": "scope"}, {"chunk_id": "homeless", "reason": "scope"}]),
            "{rag}"
        );
        assert!(!answer.text().contains("Secret"));
        assert!(!upstream.request().json().to_string().contains("Secret"));
    }
}

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
    let lighton = FakeLightOn::new().finds([result("x")]);
    let upstream = Server::new().then(says("[1]"));
    let gateway = Gateway::start(
        &lighton,
        &upstream,
        &format!("[links]\nsecret = \"s\"\n{}", key("acme", SOME)),
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
