//! Providers' differences: a request changes by a quirk that is on, and by nothing else.

use serde_json::json;

use crate::{
    gateway::Gateway,
    support::{reply::Reply, server::Server},
};

async fn gateway(upstream: &Server, name: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "allow_overrides = false\n[rag]\nmode = \"off\"\n[upstreams.{name}]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\n{more}",
        upstream.url()
    ))
    .await
}

fn answer() -> Reply {
    Reply::json(json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]
    }))
}

const ODD: &str = r#"{ "model":"m", "messages":[ {"role":"user","content":"q"}, {"role":"developer","content":"d"} ], "tools":[], "max_completion_tokens": 9, "stop":"x" }"#;

#[tokio::test]
async fn without_quirks_every_byte_is_the_clients() {
    let upstream = Server::new().always("/v1/chat/completions", answer());
    for (name, more) in [("gpu", ""), ("openai", ""), ("ollama", "quirks = []")] {
        let gateway = gateway(&upstream, name, more).await;

        gateway.post_text("/v1/chat/completions", ODD).await.ok();

        let sent = upstream.requests().pop().unwrap().body;
        assert_eq!(String::from_utf8(sent).unwrap(), ODD, "{name}");
    }
}

#[tokio::test]
async fn a_preset_brings_its_quirks_and_a_configuration_names_its_own() {
    for (name, more, expected) in [
        (
            "ollama",
            "",
            json!({"model": "m", "messages": [{"role": "user", "content": "q"}, {"role": "system", "content": "d"}],
                "tools": [], "max_tokens": 9, "stop": "x"}),
        ),
        (
            "gpu",
            r#"quirks = ["merge_system", "drop_empty_tools", "stop_as_list"]"#,
            json!({"model": "m", "messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": "q"}],
                "max_completion_tokens": 9, "stop": ["x"]}),
        ),
    ] {
        let upstream = Server::new().then(answer());
        let gateway = gateway(&upstream, name, more).await;

        gateway.post_text("/v1/chat/completions", ODD).await.ok();

        assert_eq!(upstream.request().json(), expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_too_large_for_a_provider_is_not_sent() {
    let upstream = Server::new();
    let gateway = gateway(&upstream, "ovhcloud", "").await;
    let image = "A".repeat(2_100_000);

    let ask = json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{image}")}}]}]});
    gateway
        .post("/v1/chat/completions", ask)
        .await
        .refused(413, "request_too_large", "");

    assert_eq!(upstream.requests().len(), 0);
}
