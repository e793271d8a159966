//! `api_key = "client"`: the caller's own key goes to the upstream that wants it, and ours to none.

use serde_json::json;

use crate::{
    key, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        reply::Reply,
        server::Server,
        upstream::{refuses, says},
    },
};

/// One upstream that wants the caller's own key, and one with the gateway's, which is the other's fallback.
const CLIENTS: &str = r#"
    rag.mode = "off"
    retry.attempts = 1
    [upstreams.theirs]
    base_url = "${THEIRS}"
    api_key = "client"
    models = ["a"]
    [upstreams.also]
    base_url = "${ALSO}"
    api_key = "client"
    models = ["c"]
    [upstreams.ours]
    base_url = "${OURS}"
    api_key = "our-secret-key"
    models = ["b"]
    [models.falling]
    upstream = "theirs"
    model = "a"
    fallback = ["theirs/a2", "also/c", "ours/b"]
"#;

struct Clients {
    gateway: Gateway,
    theirs: Server,
    also: Server,
    ours: Server,
}

impl Clients {
    async fn new(theirs: Server, also: Server, ours: Server) -> Self {
        let text = format!("{CLIENTS}{}", key("acme", "workspace_id = \"*\""));
        let gateway = Gateway::of(
            &text,
            &[("THEIRS", &theirs), ("ALSO", &also), ("OURS", &ours)],
        )
        .await;
        Self {
            gateway,
            theirs,
            also,
            ours,
        }
    }

    async fn ask(&self, model: &str, headers: &[(&str, &str)]) -> Answer {
        let mut body = question(json!({}));
        body["model"] = json!(model);
        let mut request = self.gateway.chat(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }
}

fn authorizations(server: &Server) -> Vec<Option<String>> {
    server
        .requests()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn the_callers_own_key_goes_to_the_upstream_that_wants_it_and_to_no_other() {
    let clients = Clients::new(
        Server::new()
            .then(Reply::status(500))
            .then(Reply::status(500)),
        Server::new().then(Reply::status(500)),
        Server::new().then(says("a")),
    )
    .await;

    let answer = clients
        .ask(
            "falling",
            &[("api-key", "acme"), ("authorization", "Bearer their-own")],
        )
        .await;

    assert_eq!(answer.status, 200);
    let theirs = Some("Bearer their-own".to_owned());
    assert_eq!(authorizations(&clients.theirs), [theirs.clone(), theirs]);
    assert_eq!(
        authorizations(&clients.also),
        [None],
        "it was given for another upstream"
    );
    assert_eq!(
        authorizations(&clients.ours),
        [Some("Bearer our-secret-key".to_owned())]
    );
}

#[tokio::test]
async fn a_key_of_ours_is_never_forwarded() {
    let clients = Clients::new(Server::new(), Server::new(), Server::new()).await;
    for headers in [
        &[("api-key", "acme"), ("authorization", "Bearer acme")][..],
        &[("authorization", "Bearer acme")],
        &[("api-key", "acme"), ("authorization", "acme")],
    ] {
        let answer = clients.ask("a", headers).await;
        let error = answer.error(401, "authentication_error", "invalid_api_key");
        assert!(
            error["message"].as_str().unwrap().contains("api-key"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_key_of_ours_opens_the_upstreams_that_have_our_own() {
    let clients = Clients::new(
        Server::new(),
        Server::new(),
        Server::new().then(says("a")).then(says("a")),
    )
    .await;
    for headers in [
        &[("api-key", "acme"), ("authorization", "Bearer acme")][..],
        &[("authorization", "Bearer acme")],
    ] {
        assert_eq!(clients.ask("b", headers).await.status, 200);
    }
}

#[tokio::test]
async fn a_refusal_of_the_callers_own_key_is_the_callers() {
    let clients = Clients::new(
        Server::new().then(refuses(401, "Incorrect API key")),
        Server::new(),
        Server::new(),
    )
    .await;
    let answer = clients
        .ask(
            "a",
            &[("api-key", "acme"), ("authorization", "Bearer their-own")],
        )
        .await;
    assert_eq!(
        answer.error(401, "invalid_request_error", "context_length_exceeded")["message"],
        "Incorrect API key"
    );
}
