//! `ask` against a scripted gateway: what is sent, when it is shown, and every way in which it fails.

use std::io::pipe;

use serde_json::{Value, json};

use super::{
    program::{groundwire, read_some},
    support::{
        reply::{Gate, Reply, sse, sse_unfinished},
        server::{Server, nobody},
    },
};

const CHAT: &str = "POST /v1/chat/completions";

fn chunk(delta: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn last(reason: &str) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn event(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_is_shown_when_it_arrives() {
    let (second, third) = (Gate::new(), Gate::new());
    let reply = Reply::stream("text/event-stream")
        .piece(": heartbeat\n\n")
        .piece(event(&chunk(json!({"content": "Five "}))))
        .wait(&second)
        .piece(event(&chunk(json!({"content": "years"}))))
        .wait(&third)
        .piece(event(&last("stop")))
        .piece("data: [DONE]\n\n");
    let server = Server::new().on(CHAT, reply);

    let mut asked =
        groundwire(&["ask", "How long?", "--model", "m", "--url", &server.url()]).start();

    assert_eq!(asked.writes("Five "), "Five ");
    second.open();
    assert_eq!(asked.writes("years"), "Five years");
    third.open();
    let ended = asked.end();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "Five years\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_it_quietly_and_the_answer_with_it() {
    let second = Gate::new();
    let reply = Reply::stream("text/event-stream")
        .piece(event(&chunk(json!({"content": "Five "}))))
        .wait(&second)
        .piece(event(&chunk(json!({"content": "years"}))))
        .hang();
    let server = Server::new().on(CHAT, reply);
    let (mut reader, writer) = pipe().unwrap();

    let asked = groundwire(&["ask", "How long?", "--model", "m", "--url", &server.url()])
        .start_into(writer);
    assert_eq!(read_some(&mut reader), "Five ");
    drop(reader);
    second.open();

    let ended = asked.end();
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""));
    server.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_says_what_the_command_line_says_and_no_more() {
    let list = json!({"object": "list", "data": [
        {"id": "bge-m3"},
        {"id": "solon", "model_type": "Embedding Model"},
        {"id": "org/llama-3.3-70b"},
        {"id": "mistral-small"},
    ]});
    let answer = || sse([chunk(json!({"content": "x"})), last("stop")]);
    let server = Server::new()
        .on("GET /v1/models", Reply::json(list))
        .on(CHAT, answer())
        .on(CHAT, answer());
    let url = server.url();

    let plain = groundwire(&["ask", " Why? ", "--url", &url])
        .with(&[("GROUNDWIRE_KEY", "gw_env_secret")])
        .run();
    let full = groundwire(&[
        "ask",
        "Why?",
        "--url",
        &url,
        "--key",
        "gw_arg",
        "--model",
        "m",
        "--mode",
        "tool",
        "--workspace",
        "4,5",
        "--workspace",
        "6",
        "--max-results",
        "9",
    ])
    .with(&[("GROUNDWIRE_KEY", "gw_env_secret")])
    .run();

    assert_eq!((plain.code(), full.code()), (Some(0), Some(0)));
    let requests = server.requests();
    let [list, plain, full] = requests.as_slice() else {
        panic!("{requests:#?}");
    };
    let messages = json!([{"role": "user", "content": "Why?"}]);
    assert_eq!(list.header("authorization"), Some("Bearer gw_env_secret"));
    assert_eq!(
        plain.json(),
        json!({"model": "org/llama-3.3-70b", "messages": messages, "stream": true})
    );
    assert_eq!(full.header("authorization"), Some("Bearer gw_arg"));
    assert_eq!(
        full.json(),
        json!({"model": "m", "messages": messages, "stream": true,
            "rag": {"mode": "tool", "workspace_id": [4, 5, 6], "max_results": 9}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thinking_and_warnings_never_mix_with_the_answer() {
    let grounded = json!({"choices": [{"index": 0, "delta": {"reasoning": "Let me think."}}], "rag": {
        "sources": [{"index": 1, "filename": "a\u{1b}]0;x\u{7}.pdf", "page_start": 3, "page_end": 4}],
        "warnings": ["search: a \u{1b}[31mwarning"],
    }});
    let server = Server::new().on(
        CHAT,
        sse([
            grounded,
            chunk(json!({"content": "Five \u{1b}[2Jyears."})),
            last("length"),
        ]),
    );

    let asked = groundwire(&["ask", "Why?", "--model", "m", "--url", &server.url()]).run();

    assert_eq!(asked.code(), Some(0));
    assert_eq!(asked.stdout, "Five [2Jyears.\n\n[1] a]0;x.pdf, p.3-4\n");
    assert_eq!(
        asked.stderr,
        "warning: search: a [31mwarning\nwarning: the answer is not complete: the model reached its limit of tokens\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_1_and_says_what_to_do() {
    let error = json!({"error": {"message": "the model has gone", "type": "upstream_error", "param": null, "code": "x"}});
    let begun = || chunk(json!({"content": "Five"}));
    for (reply, shown, said) in [
        (
            Reply::json(error.clone()).with_status(502),
            "",
            "the model has gone",
        ),
        (
            Reply::json(error.clone()).with_status(401),
            "",
            "--key or in GROUNDWIRE_KEY",
        ),
        (
            Reply::body("text/html", "<h1>Hi</h1>").with_status(404),
            "",
            "404 Not Found; is it the address of a gateway?",
        ),
        (Reply::body("text/html", "<h1>Hi</h1>"), "", "is no gateway"),
        (
            Reply::stream("text/event-stream").piece("data: [1, 2\n\n"),
            "",
            "is no gateway",
        ),
        (
            sse_unfinished([begun(), error.clone()]),
            "Five\n",
            "the model has gone",
        ),
        (sse_unfinished([begun()]), "Five\n", "the answer broke off"),
        (
            sse_unfinished([begun()]).reset(),
            "Five\n",
            "the answer broke off",
        ),
    ] {
        let described = format!("{reply:?}");
        let server = Server::new().on(CHAT, reply);

        let asked = groundwire(&["ask", "Why?", "--model", "m", "--url", &server.url()]).run();

        assert_eq!(asked.code(), Some(1), "{described}: {}", asked.stderr);
        assert_eq!(asked.stdout, shown, "{described}");
        assert!(asked.stderr.contains(said), "{described}: {}", asked.stderr);
    }
}

#[test]
fn an_address_where_nothing_listens_gets_a_hint() {
    let url = format!("http://{}", nobody());
    for arguments in [
        &["ask", "Why?", "--url", &url][..],
        &["models", "--url", &url],
    ] {
        let asked = groundwire(arguments).run();

        assert_eq!(asked.code(), Some(1));
        assert_eq!(asked.stdout, "");
        assert!(asked.stderr.contains(&url), "{}", asked.stderr);
        assert!(
            asked.stderr.contains("groundwire sandbox"),
            "{}",
            asked.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_failure_leaves_stdout_empty() {
    let error = json!({"error": {"message": "not today"}});
    let server = Server::new()
        .on(
            "GET /v1/models",
            Reply::json(json!({"data": [{"id": "bge-m3"}]})),
        )
        .on(CHAT, Reply::json(error));
    let url = server.url();

    let unlisted = groundwire(&["ask", "Why?", "--json", "--url", &url]).run();
    let failed = groundwire(&["ask", "Why?", "--json", "--model", "m", "--url", &url]).run();

    assert_eq!((unlisted.code(), &*unlisted.stdout), (Some(1), ""));
    assert!(unlisted.stderr.contains("--model"), "{}", unlisted.stderr);
    assert_eq!((failed.code(), &*failed.stdout), (Some(1), ""));
    assert!(failed.stderr.contains("not today"), "{}", failed.stderr);
}
