//! Which workspaces a request may see, and which files a link opens.

use serde_json::{Value, json};

use crate::{
    key, passage, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, result},
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
        let file =
            json!({"id": 512, "filename": "policy.pdf", "workspace": {"id": 42, "name": "w"}});
        let lighton = FakeLightOn::new()
            .always("/api/v3/files/512", Reply::json(file))
            .finds([foreign.clone(), result("Five years."), homeless.clone()]);
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
