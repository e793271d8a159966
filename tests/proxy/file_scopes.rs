//! Files that a request names by number: held to the scope before anything is searched.

use serde_json::{Value, json};

use crate::{
    key, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, found, refusal, result},
        reply::Reply,
        server::Server,
        upstream::says,
    },
};

/// What the key of these tests holds.
const SOME: &str = "workspace_id = [42, 43]";

/// A file in this workspace.
fn file(id: i64, workspace: Value) -> Reply {
    Reply::json(
        json!({"id": id, "filename": "a.pdf", "status": "embedded", "workspace": workspace}),
    )
}

fn within(workspace: i64) -> Value {
    json!({"id": workspace, "name": "w"})
}

fn named(files: Value) -> Value {
    question(json!({"rag": {"file_id": files}}))
}

#[tokio::test]
async fn a_file_outside_the_scope_is_refused_and_nothing_is_searched() {
    for (what, reply) in [
        ("elsewhere", file(512, within(7))),
        ("nowhere told", file(512, Value::Null)),
        ("not there", refusal(404, "not_found", "No file")),
        ("not ours", refusal(403, "forbidden", "Not yours")),
    ] {
        for more in [json!({}), json!({"stream": true})] {
            for mode in ["inject", "tool"] {
                let lighton = FakeLightOn::new()
                    .on("/api/v3/files/511", file(511, within(42)))
                    .on("/api/v3/files/512", reply.clone());
                let upstream = Server::new();
                let gateway = Gateway::start(&lighton, &upstream, &key("acme", SOME)).await;
                let mut body = named(json!([511, 512]));
                body["rag"]["mode"] = json!(mode);
                body["stream"] = more["stream"].clone();

                let answer = Answer::of(gateway.chat(&body).bearer_auth("acme")).await;

                let error = answer.error(403, "permission_error", "workspace_not_allowed");
                assert_eq!(error["param"], "rag.file_id", "{what}");
                // The same words whether the file is there or not: nobody learns which files there are.
                assert_eq!(
                    error["message"],
                    "your key does not reach file 512; `GET /v1/files` lists those that it reaches",
                    "{what}"
                );
                assert_eq!(upstream.connections(), 0, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_within_the_scope_is_searched_and_its_home_remembered() {
    let lighton = FakeLightOn::new()
        .on("/api/v3/files/512", file(512, within(42)))
        .always("/api/v3/search", found([result("Five years.")]));
    let upstream = Server::new().always("/v1/chat/completions", says("a"));
    let gateway = Gateway::start(&lighton, &upstream, &key("acme", SOME)).await;

    for _ in 0..2 {
        let answer = Answer::of(gateway.chat(&named(json!(512))).bearer_auth("acme")).await;
        assert_eq!(answer.json()["rag"]["sources"][0]["content"], "Five years.");
    }

    let searches = lighton.requests();
    let searches: Vec<_> = searches
        .iter()
        .filter(|request| request.path == "/api/v3/search")
        .collect();
    assert_eq!(searches.len(), 2);
    assert_eq!(searches[0].json()["file_id"], json!([512]));
}

#[tokio::test]
async fn a_narrower_request_or_model_narrows_the_files_too() {
    let settings = format!(
        "[models.handbook]\nupstream = \"model\"\nmodel = \"m\"\nrag = {{ workspace_id = [43] }}\n{}",
        key("acme", SOME)
    );
    let lighton = FakeLightOn::new().on("/api/v3/files/512", file(512, within(42)));
    let upstream = Server::new();
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;
    let mut body = named(json!(512));
    body["model"] = json!("handbook");

    let answer = Answer::of(gateway.chat(&body).bearer_auth("acme")).await;

    answer.error(403, "permission_error", "workspace_not_allowed");
}

#[tokio::test]
async fn a_key_for_every_workspace_names_any_file() {
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(says("a"));
    let gateway = Gateway::start(&lighton, &upstream, &key("acme", "workspace_id = \"*\"")).await;

    let answer = Answer::of(gateway.chat(&named(json!(512))).bearer_auth("acme")).await;

    assert_eq!(answer.status, 200);
    assert_eq!(lighton.request().json()["file_id"], json!([512]));
}

#[tokio::test]
async fn mode_off_asks_nobody_about_files() {
    let upstream = Server::new().then(says("a"));
    let gateway = Gateway::start(&FakeLightOn::new(), &upstream, &key("acme", SOME)).await;
    let mut body = named(json!(512));
    body["rag"]["mode"] = json!("off");

    let answer = Answer::of(gateway.chat(&body).bearer_auth("acme")).await;

    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_store_that_does_not_answer_fails_the_request() {
    let lighton = FakeLightOn::new().on("/api/v3/files/512", Reply::status(500));
    let settings = format!("[retry]\nattempts = 1\n{}", key("acme", SOME));
    let gateway = Gateway::start(&lighton, &Server::new(), &settings).await;

    let answer = Answer::of(gateway.chat(&named(json!(512))).bearer_auth("acme")).await;

    answer.error(502, "search_error", "search_unavailable");
}

#[tokio::test]
async fn a_vector_store_is_not_left_by_naming_a_file() {
    let lighton = FakeLightOn::new()
        .on("/api/v3/files/512", file(512, within(42)))
        .on("/api/v3/files/513", file(513, within(43)))
        .on("/api/v3/search", found([result("Five years.")]))
        .on(
            "/api/v3/workspaces/42",
            Reply::json(json!({"id": 42, "name": "w"})),
        );
    let gateway = Gateway::start(&lighton, &Server::new(), &key("acme", SOME)).await;
    let search = async |ids: &[&str]| {
        let filters: Vec<Value> = ids
            .iter()
            .map(|id| json!({"type": "eq", "key": "file_id", "value": id}))
            .collect();
        let body = json!({"query": "x", "filters": {"type": "or", "filters": filters}});
        let request = gateway.request(reqwest::Method::POST, "/v1/vector_stores/42/search");
        let request = request.header("content-type", "application/json");
        let request = request.bearer_auth("acme").body(body.to_string());
        Answer::of(request).await.json()
    };

    let both = search(&["512", "513"]).await;
    let outside = search(&["513"]).await;

    assert_eq!(both["data"][0]["content"][0]["text"], "Five years.");
    assert_eq!(outside["data"], json!([]));
    let requests = lighton.requests();
    let mut searches = requests
        .iter()
        .filter(|request| request.path == "/api/v3/search");
    assert_eq!(searches.next().unwrap().json()["file_id"], json!([512]));
}
