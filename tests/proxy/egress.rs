//! Where the gateway connects to: the neighbours of its configuration, whatever a request, a document or a neighbour says.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    passage, question,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, found, result},
        reply::Reply,
        server::Server,
        upstream::says,
    },
};

/// Every field and header that some program or other reads an address from.
fn named_everywhere(url: &str) -> (Value, Vec<(&'static str, String)>) {
    let content = json!([
        {"type": "text", "text": format!("Fetch {url}/a and tell me.")},
        {"type": "image_url", "image_url": {"url": format!("{url}/b.png")}},
        {"type": "file", "file": {"file_url": format!("{url}/c.pdf")}},
    ]);
    let body = json!({
        "model": "m",
        "messages": [{"role": "user", "content": content}],
        "base_url": url, "api_base": url, "url": url, "endpoint": url, "proxy": url, "webhook": url, "callback_url": url,
        "tools": [{"type": "mcp", "server_url": url}, {"type": "function", "function": {"name": "f", "parameters": {"$ref": url}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"$ref": url, "$schema": url}}},
        "metadata": {"base_url": url},
        "rag": {"query": url, "content_type": url, "attribute": url},
    });
    let host = url.trim_start_matches("http://").to_owned();
    let headers = [
        "x-forwarded-host",
        "x-forwarded-server",
        "x-original-host",
        "x-host",
        "forwarded",
        "referer",
        "origin",
        "x-base-url",
        "x-original-url",
        "x-rewrite-url",
        "x-http-host-override",
        "openai-beta",
        "traceparent",
        "tracestate",
    ];
    let mut headers: Vec<(&'static str, String)> =
        headers.iter().map(|name| (*name, url.to_owned())).collect();
    headers.push(("host", host));
    (body, headers)
}

#[tokio::test]
async fn no_request_makes_it_connect_to_an_address_of_the_callers_choice() {
    let elsewhere = Server::new();
    let url = elsewhere.url();
    let mut from_elsewhere = passage("x", &format!("See {url}/passage"));
    from_elsewhere["source"]["external_metadata"] =
        json!({"external_url": format!("{url}/document"), "external_id": url});
    let next = json!({"count": 1, "next": format!("{url}/api/v3/files?page=2"), "results": []});
    let lighton = FakeLightOn::new()
        .always("/api/v3/search", found([from_elsewhere]))
        .on("/api/v3/files", Reply::json(next))
        .always(
            "/api/v3/files",
            Reply::json(json!({"count": 1, "next": null, "results": []})),
        );
    let answer = says(&format!("It is at {url}/answer [1].")).header("link", &url);
    let upstream = Server::new().always("/v1/chat/completions", answer);
    let collector = Server::new()
        .always("/v1/traces", Reply::status(200))
        .always("/v1/metrics", Reply::status(200));
    let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"", collector.url());
    let mut gateway = Gateway::start(&lighton, &upstream, &telemetry).await;
    let (body, headers) = named_everywhere(&url);

    let mut request = gateway.chat(&body);
    for (name, value) in &headers {
        request = request.header(*name, value);
    }
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for model in [
        format!("{url}/v1/m"),
        format!("model/{url}"),
        format!("//{}/m", elsewhere.address()),
        format!("@{}/m", elsewhere.address()),
    ] {
        let mut body = question(json!({}));
        body["model"] = json!(model);
        gateway.ask(&body).await;
    }
    for path in [
        format!("/v1/models/{url}"),
        format!("/sources/{url}"),
        format!("/v1/files/..%2f..%2f{}", elsewhere.address()),
        format!("/v1/vector_stores/@{}", elsewhere.address()),
        // The list says that its next page is elsewhere.
        format!("/v1/files?order=asc&limit=1&base_url={url}"),
    ] {
        let _ = gateway.get(&path).await;
    }
    // A caller names no collector either, though it has headers that are about traces.
    gateway.flush().await;

    assert_eq!(elsewhere.connections(), 0);
    assert!(collector.connections() > 0);
    let only: Vec<String> = upstream
        .requests()
        .iter()
        .map(|request| request.path.clone())
        .collect();
    assert!(
        only.iter().all(|path| path == "/v1/chat/completions"),
        "{only:?}"
    );
}

#[tokio::test]
async fn it_is_no_proxy_for_whoever_asks_for_another_host() {
    let elsewhere = Server::new();
    let gateway = Gateway::start(&FakeLightOn::new(), &Server::new(), "").await;
    let there = elsewhere.address();

    for head in [
        format!("GET http://{there}/ HTTP/1.1\r\nhost: {there}"),
        format!("GET /healthz HTTP/1.1\r\nhost: {there}"),
        format!("CONNECT {there} HTTP/1.1\r\nhost: {there}"),
    ] {
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!("{head}\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        // Whatever it answers, it answers itself.
        assert!(answer.starts_with(b"HTTP/1.1 "), "{head}");
    }

    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_redirect_of_a_model_provider_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::new();
        let away = Reply::status(status).header("location", format!("{}/v1", elsewhere.url()));
        let upstream = Server::new().always("/v1/chat/completions", away);
        let settings = "rag.mode = \"off\"\nretry.attempts = 1";
        let gateway = Gateway::start(&FakeLightOn::new(), &upstream, settings).await;

        let whole = gateway.ask(&question(json!({}))).await;
        let streamed = gateway.ask(&question(json!({"stream": true}))).await;

        for answer in [whole, streamed] {
            assert!(answer.status >= 500, "{status}: {}", answer.status);
            assert!(answer.header("location").is_none());
            assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
        }
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_of_search_is_not_followed() {
    for status in [301, 302, 307, 308] {
        let elsewhere = Server::new();
        let away = Reply::status(status).header("location", format!("{}/", elsewhere.url()));
        let lighton = FakeLightOn::new()
            .always("/api/v3/search", away.clone())
            .always("/api/v3/files/512", away.clone())
            .always("/api/v3/files/512/download", away.clone())
            .always("/api/v3/files", away.clone())
            .always("/api/v3/workspaces", away);
        let settings = "retry.attempts = 1";
        let gateway = Gateway::start(&lighton, &Server::new(), settings).await;

        let answer = gateway.ask(&question(json!({}))).await;
        answer.error(502, "search_error", "search_unavailable");
        for path in [
            "/sources/512",
            "/v1/files/512",
            "/v1/files/512/content",
            "/v1/files",
            "/v1/vector_stores",
        ] {
            let answer = gateway.get(path).await;
            answer.error(502, "search_error", "search_unavailable");
            assert!(answer.header("location").is_none());
        }
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}

#[tokio::test]
async fn a_provider_whose_list_of_models_leads_away_is_not_followed() {
    let elsewhere = Server::new();
    let away = Reply::status(302).header("location", format!("{}/v1/models", elsewhere.url()));
    let upstream = Server::new().always("/v1/models", away);
    let text = "[upstreams.listed]\nbase_url = \"${MODEL}/v1\"\napi_key = \"md-secret-k\"\n";
    let gateway = Gateway::of(text, &[("MODEL", &upstream)]).await;

    gateway.get("/v1/models").await;

    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_redirect_of_the_collector_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::new();
        let away = Reply::status(status).header("location", format!("{}/", elsewhere.url()));
        let collector = Server::new()
            .always("/v1/traces", away.clone())
            .always("/v1/metrics", away);
        let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"", collector.url());
        let upstream = Server::new();
        let mut gateway = Gateway::start(&FakeLightOn::new(), &upstream, &telemetry).await;

        gateway.get("/v1/models").await;
        gateway.flush().await;

        assert_eq!(collector.requests().len(), 2, "{status}");
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}

#[tokio::test]
async fn the_address_of_a_document_is_told_and_not_visited() {
    let elsewhere = Server::new();
    let mut found = result("Five years.");
    let address = format!("{}/policy", elsewhere.url());
    found["source"]["external_metadata"] = json!({"external_url": address});
    let lighton = FakeLightOn::new().finds([found]);
    let upstream = Server::new().then(says("Five years [1]."));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    let link = &answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"];
    assert_eq!(link, &json!(address));
    assert_eq!(elsewhere.connections(), 0);
}
