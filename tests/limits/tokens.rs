//! Tokens a minute: held by an estimate, settled by what upstreams count, or by what was relayed.

use serde_json::{Value, json};

use crate::{
    ask, number, open, question, refused, relaying, send,
    support::{
        answer::Answer,
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::{Gate, Reply, sse, sse_unfinished},
        server::Server,
        upstream::{chunk, completion, finish, refuses, says, speaks, usage},
    },
};

const LIMIT: &str = "1000 tokens a minute (`tokens_per_minute`)";

fn left(answer: &Answer) -> u64 {
    number(answer, "x-ratelimit-remaining-tokens")
}

/// `usage` with so many tokens.
fn counts(tokens: u64) -> Value {
    json!({"prompt_tokens": tokens - 1, "completion_tokens": 1, "total_tokens": tokens})
}

/// The chunk that counts so many tokens.
fn counting(tokens: u64) -> Value {
    let mut chunk = usage();
    chunk["usage"] = counts(tokens);
    chunk
}

fn costly(tokens: u64) -> Reply {
    let mut answer = completion("x");
    answer["usage"] = counts(tokens);
    Reply::json(answer)
}

#[tokio::test]
async fn a_whole_answer_takes_what_its_upstream_counts() {
    let upstream = Server::new().then(costly(300)).then(costly(5000));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let body = question(json!({}));

    let first = ask(&gateway, "acme", &body).await;
    let second = ask(&gateway, "acme", &body).await;
    let third = ask(&gateway, "acme", &body).await;

    assert_eq!(number(&first, "x-ratelimit-limit-tokens"), 1000);
    // What was held leaked while the answer was made, so on a slow machine more may be left.
    assert!((700..1000).contains(&left(&first)), "{}", left(&first));
    assert_eq!((second.status, left(&second)), (200, 0));
    // The debt of four limits takes minutes to leak.
    assert!(refused(&third, LIMIT) > 120);
    let reset = third.header("x-ratelimit-reset-tokens").unwrap();
    assert!(reset.contains('m'), "{reset}");
}

#[tokio::test]
async fn what_is_held_for_a_request_refuses_others_until_it_is_settled() {
    let gate = Gate::new();
    let upstream = Server::new()
        .then(costly(10).head_after(&gate))
        .then(costly(10));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let body = question(json!({"max_tokens": 900}));

    let first = ask(&gateway, "acme", &body);
    let second = async {
        upstream.received(1).await;
        let refused = ask(&gateway, "acme", &body).await;
        gate.open();
        refused
    };
    let (first, second) = tokio::join!(first, second);

    assert_eq!(first.status, 200);
    refused(&second, LIMIT);
    assert_eq!(ask(&gateway, "acme", &body).await.status, 200);
}

#[tokio::test]
async fn a_request_larger_than_its_limit_passes_when_all_of_it_is_there() {
    let upstream = Server::new().then(costly(2));
    let gateway = relaying(&upstream, "tokens_per_minute = 20").await;
    let long = "one two three four five six seven eight nine ten ".repeat(20);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": long}]});

    assert_eq!(ask(&gateway, "acme", &body).await.status, 200);
}

#[tokio::test]
async fn the_gateway_asks_for_a_streams_count_and_keeps_it_to_itself() {
    for mode in ["off", "inject"] {
        let lighton = FakeLightOn::new();
        if mode == "inject" {
            lighton.push(crate::support::lighton::found([result("Seven years.")]));
        }
        let reply = sse([chunk("Seven"), finish("stop"), counting(5000)]);
        let upstream = Server::new().then(reply);
        let settings = format!(
            "rag.mode = \"{mode}\"\n{}",
            crate::key("acme", "tokens_per_minute = 1000")
        );
        let gateway = Gateway::start(&lighton, &upstream, &settings).await;
        let body = question(json!({"stream": true, "stream_options": {"x": 1}}));

        let stream = open(&gateway, "acme", &body).await;
        assert_eq!(stream.header("x-ratelimit-limit-tokens"), Some("1000"));
        let streamed = stream.rest().await;

        let sent = upstream.request().json();
        assert_eq!(
            sent["stream_options"],
            json!({"x": 1, "include_usage": true}),
            "{mode}"
        );
        assert!(!streamed.text().contains("usage\":{\"p"), "{mode}");
        let chunks = streamed.chunks();
        assert!(chunks.iter().all(|chunk| chunk["choices"][0].is_object()));
        assert!(streamed.is_done() && streamed.content() == "Seven");
        refused(&ask(&gateway, "acme", &question(json!({}))).await, LIMIT);
    }
}

#[tokio::test]
async fn a_client_that_asks_for_the_count_gets_it_once() {
    let upstream = Server::new().then(sse([chunk("Seven"), finish("stop"), usage()]));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let body = question(json!({"stream": true, "stream_options": {"include_usage": true}}));

    let streamed = open(&gateway, "acme", &body).await.rest().await;

    let told = |chunk: &&Value| chunk["usage"].is_object();
    assert_eq!(streamed.chunks().iter().filter(told).count(), 1);
}

#[tokio::test]
async fn a_count_beside_the_finish_is_taken_out_too() {
    let mut last = finish("stop");
    last["usage"] = counts(5000);
    let upstream = Server::new().then(sse([chunk("Seven"), last]));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let body = question(json!({"stream": true}));

    let streamed = open(&gateway, "acme", &body).await.rest().await;

    let chunks = streamed.chunks();
    assert_eq!(chunks[1]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[1].get("usage"), None);
    refused(&ask(&gateway, "acme", &body).await, LIMIT);
}

#[tokio::test]
async fn an_upstream_that_cannot_count_streams_is_not_asked_and_its_words_are_counted() {
    let words = ["seven years of records "; 300];
    let upstream = Server::new().then(speaks(words));
    let text = format!(
        "rag.mode = \"off\"\nallow_overrides = false\nupstreams.model = {{ base_url = \"${{MODEL}}/v1\", api_key = \"md-secret-k\", models = [\"m\"], quirks = [\"no_stream_options\"] }}\n{}",
        crate::key("acme", "tokens_per_minute = 1000")
    );
    let gateway = Gateway::of(&text, &[("MODEL", &upstream)]).await;
    let body = question(json!({"stream": true}));

    open(&gateway, "acme", &body).await.rest().await;

    assert_eq!(upstream.request().json().get("stream_options"), None);
    refused(&ask(&gateway, "acme", &body).await, LIMIT);
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_was_relayed() {
    let words: Vec<Value> = (0..300).map(|_| chunk("seven years of records ")).collect();
    let upstream =
        Server::new().then(sse_unfinished(words.into_iter().chain([chunk("end")])).hang());
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let body = question(json!({"stream": true}));

    let mut stream = open(&gateway, "acme", &body).await;
    stream.until("\"end\"").await;
    drop(stream);
    upstream.all_closed().await;

    refused(&ask(&gateway, "acme", &body).await, LIMIT);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_pays_for_its_prompt_alone() {
    let upstream = Server::new().then(Reply::silence()).then(costly(1));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let prompt = "seven years of records ".repeat(120);
    let body = json!({"model": "m", "max_tokens": 1000, "messages": [{"role": "user", "content": prompt}]});

    let asking = ask(&gateway, "acme", &body);
    tokio::select! {
        _ = asking => panic!("nobody answers"),
        _ = upstream.received(1) => {}
    }
    upstream.all_closed().await;

    // All of the limit was held for it; its prompt is about half of that.
    let next = ask(&gateway, "acme", &question(json!({}))).await;
    assert_eq!(next.status, 200, "{}", next.text());
    assert!((300..800).contains(&left(&next)), "{}", left(&next));
}

#[tokio::test]
async fn a_request_that_fails_gives_back_what_was_held() {
    let upstream = Server::new().then(refuses(400, "no"));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;

    let failed = ask(&gateway, "acme", &question(json!({"max_tokens": 1000}))).await;

    assert_eq!((failed.status, left(&failed)), (400, 1000));
}

#[tokio::test]
async fn a_broken_stream_pays_for_what_it_said() {
    let words: Vec<Value> = (0..300).map(|_| chunk("seven years of records ")).collect();
    let upstream = Server::new().then(sse_unfinished(words).cut());
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;
    let body = question(json!({"stream": true}));

    let streamed = open(&gateway, "acme", &body).await.rest().await;

    streamed.closing_error("upstream_error", "upstream_truncated");
    refused(&ask(&gateway, "acme", &body).await, LIMIT);
}

#[tokio::test]
async fn completions_and_embeddings_count_too() {
    let vectors = json!({"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 5000, "total_tokens": 5000}});
    let text = json!({"id": "c", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}], "usage": counts(5000)});
    for (path, body, answer) in [
        (
            "/v1/completions",
            json!({"model": "m", "prompt": "a"}),
            text,
        ),
        (
            "/v1/embeddings",
            json!({"model": "m", "input": "a"}),
            vectors,
        ),
    ] {
        let upstream = Server::new().then(Reply::json(answer));
        let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;

        assert_eq!(send(&gateway, "acme", path, &body).await.status, 200);
        refused(&send(&gateway, "acme", path, &body).await, LIMIT);
    }
}

#[tokio::test]
async fn a_whole_answer_without_a_count_takes_what_it_says() {
    let mut answer = completion(&"seven years of records ".repeat(300));
    answer["usage"] = Value::Null;
    let upstream = Server::new().then(Reply::json(answer));
    let gateway = relaying(&upstream, "tokens_per_minute = 1000").await;

    let first = ask(&gateway, "acme", &question(json!({}))).await;

    assert_eq!((first.status, left(&first)), (200, 0));
}

#[tokio::test]
async fn passages_are_held_for_as_soon_as_they_are_found() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().finds([result(&"seven years of records ".repeat(200))]);
    let upstream = Server::new().then(costly(10).head_after(&gate));
    let settings = crate::key("acme", "tokens_per_minute = 1000");
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;
    let off = question(json!({"rag": {"mode": "off"}}));

    let body = question(json!({}));
    let first = ask(&gateway, "acme", &body);
    let second = async {
        upstream.received(1).await;
        let refused = ask(&gateway, "acme", &off).await;
        gate.open();
        refused
    };
    let (first, second) = tokio::join!(first, second);

    assert_eq!(first.status, 200);
    refused(&second, LIMIT);
}

#[tokio::test]
async fn every_turn_of_a_request_that_searches_counts() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "lighton_search", "arguments": "{\"query\":\"x\"}"}});
    let mut turn = completion("");
    turn["choices"][0] = json!({"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"});
    turn["usage"] = counts(900);
    let upstream = Server::new().then(Reply::json(turn)).then(costly(900));
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let settings = format!(
        "rag.mode = \"tool\"\n{}",
        crate::key("acme", "tokens_per_minute = 1000")
    );
    let gateway = Gateway::start(&lighton, &upstream, &settings).await;

    let first = ask(&gateway, "acme", &question(json!({}))).await;

    assert_eq!((first.status, left(&first)), (200, 0));
    refused(&ask(&gateway, "acme", &question(json!({}))).await, LIMIT);
}

#[tokio::test]
async fn a_key_without_a_limit_of_tokens_changes_nothing_of_a_stream() {
    let upstream = Server::new().then(speaks(["Seven"])).then(says("x"));
    let gateway = relaying(&upstream, "requests_per_minute = 1000").await;
    let body = question(json!({"stream": true}));

    let streamed = open(&gateway, "acme", &body).await.rest().await;

    assert_eq!(upstream.request().json(), body);
    assert_eq!(streamed.header("x-ratelimit-limit-tokens"), None);
    assert_eq!(
        ask(&gateway, "free", &question(json!({}))).await.status,
        200
    );
}
