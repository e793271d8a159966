//! One span a request, and below it one for each search and each call of a model.

use serde_json::{Value, json};

use crate::{
    Collector, QUESTION,
    collector::{attributes, tree},
    question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, found, refusal, result},
        reply::{Reply, sse},
        server::Server,
        upstream::{chunk, chunk_of, completion, finish, refuses, says, speaks, usage},
    },
    told,
};

/// A call to the search.
fn search(id: &str, query: &str) -> Value {
    let arguments = json!({ "query": query }).to_string();
    json!({"id": id, "type": "function", "function": {"name": "lighton_search", "arguments": arguments}})
}

/// A turn that makes these calls, whole or streamed.
fn calls(is_streamed: bool, calls: &[Value]) -> Reply {
    if is_streamed {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(index, call)| {
                let mut call = call.clone();
                call["index"] = json!(index);
                call
            })
            .collect();
        let delta = json!({"index": 0, "delta": {"role": "assistant", "tool_calls": calls}, "finish_reason": null});
        return sse([chunk_of(delta), finish("tool_calls"), usage()]);
    }
    let mut answer = completion("");
    answer["choices"][0]["message"] =
        json!({"role": "assistant", "content": null, "tool_calls": calls});
    answer["choices"][0]["finish_reason"] = json!("tool_calls");
    Reply::json(answer)
}

#[tokio::test]
async fn an_answer_of_mode_inject_is_a_search_and_a_call() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(says("Five [1]."));
    let mut gateway = told(&collector, &lighton, &upstream, "").await;

    assert_eq!(gateway.ask(&question(json!({}))).await.status, 200);

    assert_eq!(
        tree(&collector.spans(&mut gateway).await),
        "POST /v1/chat/completions (server)\n  search (client)\n  chat m (client)\n"
    );
}

#[tokio::test]
async fn a_stream_has_its_first_event_on_both_spans() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(speaks(["Five", " [1]."]));
    let mut gateway = told(&collector, &lighton, &upstream, "").await;

    let answer = gateway.stream(&question(json!({"stream": true}))).await;

    assert!(answer.is_done());
    assert_eq!(
        tree(&collector.spans(&mut gateway).await),
        "POST /v1/chat/completions (server) +first_event\n  search (client)\n  chat m (client) +first_event\n"
    );
}

#[tokio::test]
async fn each_turn_of_mode_tool_and_each_of_its_searches_has_its_own() {
    for is_streamed in [false, true] {
        let collector = Collector::new();
        let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Five years.")]));
        let last = if is_streamed {
            sse([chunk("Five."), finish("stop"), usage()])
        } else {
            says("Five.")
        };
        let upstream = Server::new()
            .then(calls(
                is_streamed,
                &[search("a", "one"), search("b", "two")],
            ))
            .then(last);
        let mut gateway = told(&collector, &lighton, &upstream, "rag.mode = \"tool\"").await;

        gateway.ask(&question(json!({"stream": is_streamed}))).await;
        let spans = collector.spans(&mut gateway).await;

        let first = if is_streamed { " +first_event" } else { "" };
        assert_eq!(
            tree(&spans),
            format!(
                "POST /v1/chat/completions (server){first}\n  chat m (client){first}\n  search (client)\n  search (client)\n  chat m (client){first}\n"
            )
        );
        let calls = spans.iter().filter(|span| span.name == "chat m");
        let said: Vec<Value> = calls.map(attributes).collect();
        for (call, reason) in said.iter().zip(["tool_calls", "stop"]) {
            // Each turn's own, not the sum of them.
            assert_eq!(call["gen_ai.usage.input_tokens"], 7, "{call}");
            assert_eq!(call["gen_ai.usage.output_tokens"], 3, "{call}");
            assert_eq!(call["gen_ai.response.finish_reasons"], json!([reason]));
        }
        let request = attributes(&spans[0]);
        assert_eq!(request["groundwire.prompt_tokens"], 14);
        assert_eq!(request["groundwire.searches"], 2);
        // The second turn begins when the searches are through.
        let ends = spans[2].end_time_unix_nano.max(spans[3].end_time_unix_nano);
        assert!(spans[4].start_time_unix_nano >= ends);
    }
}

#[tokio::test]
async fn each_retry_and_each_fallback_is_a_call_of_its_own() {
    let collector = Collector::new();
    let (first, second) = (
        Server::new()
            .then(Reply::status(503))
            .then(refuses(500, "no")),
        Server::new().then(says("Five.")),
    );
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\n[retry]\nattempts = 2\nmax_wait = \"5ms\"\n[models.best]\nupstream = \"one\"\nmodel = \"a\"\nfallback = [\"two/b\"]\n\
         [upstreams.one]\nbase_url = \"${{ONE}}/v1\"\n[upstreams.two]\nbase_url = \"${{TWO}}/v1\"\n{}",
        collector.settings()
    );
    let mut gateway = Gateway::of(&text, &[("ONE", &first), ("TWO", &second)]).await;

    let answer = gateway.ask(&question(json!({"model": "best"}))).await;
    let spans = collector.spans(&mut gateway).await;

    assert_eq!(answer.status, 200);
    assert_eq!(
        tree(&spans),
        "POST /v1/chat/completions (server)\n  chat a (client) failed: status_5xx\n  chat a (client) failed: status_5xx\n  chat b (client)\n"
    );
    let said: Vec<Value> = spans.iter().map(attributes).collect();
    let of = |key: &str| -> Vec<Value> { said[1..].iter().map(|said| said[key].clone()).collect() };
    assert_eq!(of("gen_ai.provider.name"), ["one", "one", "two"]);
    let again = of("http.request.resend_count");
    assert_eq!(again, [Value::Null, json!(1), Value::Null]);
    assert_eq!(said[0]["groundwire.upstream"], "two");
    assert_eq!(said[0]["groundwire.retries"], 1);
    assert_eq!(said[0]["groundwire.fallbacks"], 1);
}

#[tokio::test]
async fn a_search_that_fails_says_why() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().then(refusal(500, "server_error", "Oops."));
    let settings = "retry.attempts = 1";
    let mut gateway = told(&collector, &lighton, &Server::new(), settings).await;

    assert_eq!(gateway.ask(&question(json!({}))).await.status, 502);

    assert_eq!(
        tree(&collector.spans(&mut gateway).await),
        "POST /v1/chat/completions (server) failed: 502\n  search (client) failed: unavailable\n"
    );
}

#[tokio::test]
async fn a_search_that_is_known_is_not_sent() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().always("/v1/chat/completions", says("Five."));
    let settings = "search.cache_ttl = \"60s\"";
    let mut gateway = told(&collector, &lighton, &upstream, settings).await;

    gateway.ask(&question(json!({}))).await;
    gateway.ask(&question(json!({}))).await;
    let spans = collector.spans(&mut gateway).await;

    let searches = spans.iter().filter(|span| span.name == "search");
    let said: Vec<(i32, Value)> = searches
        .map(|span| {
            (
                span.kind,
                attributes(span)["groundwire.search.cached"].clone(),
            )
        })
        .collect();
    // Client, then internal.
    assert_eq!(said, [(3, json!(false)), (1, json!(true))]);
}

#[tokio::test]
async fn a_query_is_reworded_by_a_call_of_its_own() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(says("retention")).then(says("Five."));
    let settings = "[rag]\nquery_from = \"rewrite\"\nrewrite_model = \"model/small\"";
    let mut gateway = told(&collector, &lighton, &upstream, settings).await;

    gateway.ask(&question(json!({}))).await;

    assert_eq!(
        tree(&collector.spans(&mut gateway).await),
        "POST /v1/chat/completions (server)\n  chat small (client)\n  search (client)\n  chat m (client)\n"
    );
}

#[tokio::test]
async fn every_endpoint_is_a_request_and_no_probe_is() {
    let collector = Collector::new();
    let lighton = FakeLightOn::new().always("/api/v3/search", found([result("Five years.")]));
    let vectors = json!({"object": "list", "model": "m", "data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}});
    let text = json!({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]});
    let upstream = Server::new()
        .on("/v1/embeddings", Reply::json(vectors))
        .on("/v1/completions", Reply::json(text));
    let mut gateway = told(&collector, &lighton, &upstream, "").await;
    let post = async |path: &str, body: Value| {
        let request = gateway.request(reqwest::Method::POST, path);
        let request = request.header("content-type", "application/json");
        request
            .body(body.to_string())
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
    };

    post("/v1/embeddings", json!({"model": "m", "input": "x"})).await;
    post("/v1/completions", json!({"model": "m", "prompt": "x"})).await;
    post(
        "/v1/vector_stores/42/search",
        json!({"query": [QUESTION, "x"]}),
    )
    .await;
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/models/m",
        "/v2/elsewhere",
    ] {
        gateway.get(path).await;
    }

    assert_eq!(
        tree(&collector.spans(&mut gateway).await),
        "POST /v1/embeddings (server)\n  embeddings m (client)\n\
         POST /v1/completions (server)\n  search (client)\n  text_completion m (client)\n\
         POST /v1/vector_stores/{id}/search (server)\n  search (client)\n  search (client)\n\
         GET /v1/models/{*id} (server)\nGET (server)\n"
    );
}
