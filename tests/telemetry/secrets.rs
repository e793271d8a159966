//! No byte of an export is content, or a key.

use serde_json::json;

use crate::{
    Collector, QUESTION, question,
    support::{
        gateway::{Gateway, MODEL_KEY, SEARCH_KEY},
        lighton::{FakeLightOn, found, result},
        reply::{Reply, sse},
        server::Server,
        upstream::{chunk, completion, finish, refuses},
    },
};

const CLIENT_KEY: &str = "acme-client-key-5521";
const PASSAGE: &str = "Records are kept for seven winters.";
const ANSWER: &str = "Seven winters it is.";

#[tokio::test]
async fn nothing_that_was_asked_found_answered_or_kept_secret_is_exported() {
    let collector = Collector::new();
    let file = Reply::json(json!({"id": 512, "filename": "policy.pdf", "workspace": {"id": 42}}));
    let lighton = FakeLightOn::new()
        .always("/api/v3/search", found([result(PASSAGE)]))
        .always("/api/v3/files/512", file);
    let mut odd = completion(ANSWER);
    // What an upstream writes where only words belong.
    odd["model"] = json!(ANSWER);
    odd["choices"][0]["finish_reason"] = json!(ANSWER);
    let arguments = json!({"query": "the secret of the winters"}).to_string();
    let call = json!({"id": "a", "type": "function", "function": {"name": "lighton_search", "arguments": arguments}});
    let mut calls = completion("");
    calls["choices"][0]["message"] =
        json!({"role": "assistant", "content": null, "tool_calls": [call]});
    calls["choices"][0]["finish_reason"] = json!("tool_calls");
    let refusal = format!("no: {QUESTION} with {MODEL_KEY}");
    let upstream = Server::new()
        .then(Reply::json(odd))
        .then(sse([chunk(ANSWER), finish("stop")]))
        .then(Reply::json(calls))
        .then(Reply::json(completion(ANSWER)))
        .then(refuses(400, &refusal))
        // It is asked once more with fewer passages.
        .then(refuses(400, &refusal));
    let digest =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(CLIENT_KEY));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "log.sources = true\n[upstreams.model]\nbase_url = \"${{MODEL}}/v1\"\napi_key = \"{MODEL_KEY}\"\nmodels = [\"m\"]\n\
         [[keys]]\nname = \"acme\"\nsha256 = \"{digest}\"\nworkspace_id = \"*\"\n\
         {}headers = {{ Authorization = \"Bearer tk-secret-41\" }}\n",
        collector.settings()
    );
    let neighbours = [("SEARCH", &*lighton), ("MODEL", &upstream)];
    let mut gateway = Gateway::of(&text, &neighbours).await;

    for more in [
        json!({}),
        json!({"stream": true}),
        json!({"rag": {"mode": "tool"}}),
        json!({"user": "jane@example.com", "metadata": {"secret": "mm-secret-8"}}),
    ] {
        let request = gateway.chat(&question(more)).bearer_auth(CLIENT_KEY);
        request.send().await.unwrap().bytes().await.unwrap();
    }
    for path in [
        "/sources/512?expires=99999999999&signature=sg-secret-77",
        "/v1/models?key=qq-secret-12",
    ] {
        gateway.get(path).await;
    }
    let spans = collector.spans(&mut gateway).await;

    assert_eq!(upstream.requests().len(), 6);
    assert!(spans.len() > 12, "{spans:#?}");
    let exported: Vec<u8> = collector
        .0
        .requests()
        .into_iter()
        .flat_map(|request| request.body)
        .collect();
    let exported = String::from_utf8_lossy(&exported);
    assert!(exported.contains("acme") && exported.contains("512:550e8400"));
    for secret in [
        CLIENT_KEY,
        MODEL_KEY,
        SEARCH_KEY,
        &digest,
        "secret",
        "winters",
        "retention",
        "policy.pdf",
        "Data policy",
        "Engineering Docs",
        "jane",
    ] {
        assert!(!exported.contains(secret), "{secret}");
    }
}
