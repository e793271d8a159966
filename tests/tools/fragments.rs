//! Sections 3.1 and 3.2 of what servers send: finishes that lie, and calls in pieces. Each row is a turn that searches, and then an answer.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, Way, finds_policy, queries, question},
    support::{reply::Reply, server::Server},
    turns::{call, calls, chunk, ending, says, search, streamed, whole},
};

/// One way to call the search for `retention`, and the id that must come back with its result; `None`: any id of nine characters.
struct Row {
    server: &'static str,
    way: Way,
    turn: Reply,
    id: Option<&'static str>,
}

fn row(server: &'static str, way: Way, turn: Reply, id: &'static str) -> Row {
    Row {
        server,
        way,
        turn,
        id: Some(id),
    }
}

fn message(calls: Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

const ARGUMENTS: &str = r#"{"query":"retention"}"#;

fn finishes() -> Vec<Row> {
    let call = || search("c1", "retention");
    let mut indexed = call();
    indexed["index"] = json!(0);
    let delta = || json!({"tool_calls": [indexed]});
    let mut rows = Vec::new();
    for (server, finish) in [
        ("OpenAI with a named choice", json!("stop")),
        ("a server of its own mind", json!("COMPLETE")),
        ("DeepSeek", json!("insufficient_system_resource")),
        ("a cut behind the call", json!("length")),
        ("no finish at all", Value::Null),
    ] {
        let turn = whole(message(json!([call()])), finish.clone());
        rows.push(row(server, Way::Whole, turn, "c1"));
        let turn = streamed(vec![delta()], finish);
        rows.push(row(server, Way::Streamed, turn, "c1"));
    }
    let twice = [chunk(delta()), ending("tool_calls"), ending("stop")];
    rows.push(row(
        "SGLang: two finishes",
        Way::Streamed,
        crate::support::reply::sse(twice),
        "c1",
    ));
    let cut = r#"{"query":"retention"#;
    let turn = whole(
        message(json!([self::call("c1", "lighton_search", cut)])),
        "tool_calls",
    );
    rows.push(row(
        "vLLM: a cut that is called a call",
        Way::Whole,
        turn,
        "c1",
    ));
    rows
}

fn fragments() -> Vec<Row> {
    let stream = |server, id, deltas: Vec<Value>| Row {
        server,
        way: Way::Streamed,
        turn: streamed(
            deltas
                .into_iter()
                .map(|fragment| json!({"tool_calls": [fragment]}))
                .collect(),
            "tool_calls",
        ),
        id,
    };
    let name = "lighton_search";
    vec![
        stream(
            "Ollama: no index",
            Some("c1"),
            vec![
                json!({"id": "c1", "function": {"name": name, "arguments": "{\"query\""}}),
                json!({"function": {"arguments": ":\"retention\"}"}}),
            ],
        ),
        stream(
            "an index that begins at 5",
            Some("c1"),
            vec![
                json!({"index": 5, "id": "c1", "function": {"name": name, "arguments": ARGUMENTS}}),
            ],
        ),
        stream(
            "LiteLLM: another id in every fragment",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": ""}}),
                json!({"index": 0, "id": "c2", "function": {"arguments": "{\"query\":"}}),
                json!({"index": 0, "id": "c3", "function": {"arguments": "\"retention\"}"}}),
            ],
        ),
        stream(
            "Alibaba: empty ids later on",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": ""}}),
                json!({"index": 0, "id": "", "type": "function", "function": {"arguments": ARGUMENTS}}),
                json!({"index": 0, "id": "", "type": "function", "function": {"arguments": ""}}),
            ],
        ),
        stream(
            "no type, and null for one",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "type": null, "function": {"name": name, "arguments": "{"}}),
                json!({"index": 0, "function": {"arguments": "\"query\":\"retention\"}"}}),
            ],
        ),
        stream(
            "the name comes later",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"arguments": ""}}),
                json!({"index": 0, "function": {"name": name}}),
                json!({"index": 0, "function": {"name": "", "arguments": ARGUMENTS}}),
            ],
        ),
        stream(
            "vLLM: the name in every fragment",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"query\":"}}),
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "\"retention\"}"}}),
            ],
        ),
        stream(
            "llama.cpp: the id inside the function",
            Some("c1"),
            vec![
                json!({"index": 0, "function": {"id": "c1", "name": name, "arguments": ARGUMENTS}}),
            ],
        ),
        stream(
            "complete-looking JSON before the end",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"query\":\"retention\"}"}}),
                json!({"index": 0, "function": {"arguments": " \n"}}),
            ],
        ),
        stream(
            "Scaleway: null arguments",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": null}}),
                json!({"index": 0, "id": null, "function": {"name": null, "arguments": ARGUMENTS}}),
            ],
        ),
        stream(
            "one character at a time",
            Some("c1"),
            std::iter::once(
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": ""}}),
            )
            .chain(
                ARGUMENTS
                    .chars()
                    .map(|c| json!({"index": 0, "function": {"arguments": c}})),
            )
            .collect(),
        ),
        stream(
            "llama-server: a null id",
            None,
            vec![
                json!({"index": 0, "id": null, "function": {"name": name, "arguments": ARGUMENTS}}),
            ],
        ),
        stream(
            "Kimi: the id holds the name",
            Some("functions.lighton_search:0"),
            vec![
                json!({"index": 0, "id": "functions.lighton_search:0", "function": {"name": name, "arguments": ARGUMENTS}}),
            ],
        ),
        stream(
            "arguments as an object",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": {"query": "retention"}}}),
            ],
        ),
        stream(
            "a missing brace",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"query\":\"retention\""}}),
            ],
        ),
        stream(
            "junk behind the arguments",
            Some("c1"),
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"query\":\"retention\"}}</s>"}}),
            ],
        ),
    ]
}

fn whole_messages() -> Vec<Row> {
    let one = |server, call| {
        row(
            server,
            Way::Whole,
            whole(message(json!([call])), "tool_calls"),
            "c1",
        )
    };
    vec![
        one(
            "arguments as an object",
            json!({"id": "c1", "function": {"name": "lighton_search", "arguments": {"query": "retention"}}}),
        ),
        one(
            "the name in capitals",
            call("c1", "Lighton_Search", ARGUMENTS),
        ),
        one("a near name", call("c1", "file_search", ARGUMENTS)),
        one(
            "arguments as text in text",
            call("c1", "lighton_search", r#""{\"query\":\"retention\"}""#),
        ),
        Row {
            server: "a null id",
            way: Way::Whole,
            turn: whole(
                message(
                    json!([{"id": null, "function": {"name": "lighton_search", "arguments": ARGUMENTS}}]),
                ),
                "tool_calls",
            ),
            id: None,
        },
        row(
            "the call of older servers",
            Way::Whole,
            whole(
                json!({"role": "assistant", "content": null, "function_call": {"id": "c1", "name": "lighton_search", "arguments": ARGUMENTS}}),
                "function_call",
            ),
            "c1",
        ),
    ]
}

#[tokio::test]
async fn a_search_is_understood_however_a_server_sends_it() {
    let rows = finishes()
        .into_iter()
        .chain(fragments())
        .chain(whole_messages());
    for Row {
        server,
        way,
        turn,
        id,
    } in rows
    {
        println!("{server}, {way:?}");
        let lighton = finds_policy();
        let model = Server::new().then(turn).then(says(way, "Five years [1]."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        let said = heard.good();
        assert_eq!(
            (said.content.as_str(), &said.finish),
            ("Five years [1].", &json!("stop"))
        );
        assert_eq!(said.calls, Vec::<Value>::new());
        assert_eq!(queries(&lighton), ["retention"]);
        let messages = model.requests()[1].json()["messages"].clone();
        let call = &messages[1]["tool_calls"][0];
        match id {
            Some(id) => assert_eq!(call["id"], id),
            None => {
                let id = call["id"].as_str().unwrap();
                assert!(
                    id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
                    "{id}"
                );
            }
        }
        assert_eq!(call["type"], "function");
        assert_eq!(call["function"]["name"], "lighton_search");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        assert_eq!(arguments, json!({"query": "retention"}));
        assert_eq!(messages[2]["tool_call_id"], call["id"]);
        assert_eq!(
            messages[2]["content"],
            "[1] [a.pdf, p.3]\nKept for five years."
        );
    }
}

#[tokio::test]
async fn parallel_searches_are_told_apart_however_they_are_numbered() {
    let name = "lighton_search";
    let turns: [(&str, Vec<Value>); 4] = [
        (
            "Ollama: an index that is always 0",
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"query\":\"one\"}"}}),
                json!({"index": 0, "id": "c2", "function": {"name": name, "arguments": "{\"query\":\"two\"}"}}),
            ],
        ),
        (
            "gaps",
            vec![
                json!({"index": 1, "id": "c1", "function": {"name": name, "arguments": "{\"query\":"}}),
                json!({"index": 4, "id": "c2", "function": {"name": name, "arguments": "{\"query\":"}}),
                json!({"index": 4, "function": {"arguments": "\"two\"}"}}),
                json!({"index": 1, "function": {"arguments": "\"one\"}"}}),
            ],
        ),
        (
            "neither index nor later ids",
            vec![
                json!({"id": "c1", "function": {"name": name, "arguments": "{\"query\":"}}),
                json!({"function": {"arguments": "\"one\"}"}}),
                json!({"id": "c2", "function": {"name": name, "arguments": "{\"query\":\"two\"}"}}),
            ],
        ),
        (
            "Kimi: an id minted twice",
            vec![
                json!({"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"query\":\"one\"}"}}),
                json!({"index": 1, "id": "c1", "function": {"name": name, "arguments": "{\"query\":\"two\"}"}}),
            ],
        ),
    ];
    for (server, fragments) in turns {
        println!("{server}");
        let lighton = finds_policy();
        let deltas = fragments
            .into_iter()
            .map(|fragment| json!({"tool_calls": [fragment]}));
        let model = Server::new()
            .then(streamed(deltas.collect(), "tool_calls"))
            .then(says(Way::Streamed, "Five years."));
        let edge = Edge::start(&lighton, &model).await;

        edge.hear(Way::Streamed, &question(json!({}))).await.good();

        assert_eq!(queries(&lighton), ["one", "two"]);
    }
}

#[tokio::test]
async fn parallel_calls_that_the_client_forbade_are_cut_to_one() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(calls(way, [search("c1", "one"), search("c2", "two")]))
            .then(says(way, "Five years."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge
            .hear(way, &question(json!({"parallel_tool_calls": false})))
            .await;

        heard.good();
        assert_eq!(queries(&lighton), ["one"]);
        let [first, second] = &model.requests()[..] else {
            panic!("two turns")
        };
        assert_eq!(first.json()["parallel_tool_calls"], false);
        assert_eq!(
            second.json()["messages"][1]["tool_calls"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_not_run() {
    for way in Way::BOTH {
        for arguments in ["{\"query\":\"reten", ""] {
            let lighton = finds_policy();
            let cut = call("c1", "lighton_search", arguments);
            let mut indexed = cut.clone();
            indexed["index"] = json!(0);
            let model = Server::new().then(match way {
                Way::Whole => whole(message(json!([cut])), "length"),
                Way::Streamed => streamed(vec![json!({"tool_calls": [indexed]})], "length"),
            });
            let edge = Edge::start(&lighton, &model).await;

            let heard = edge.hear(way, &question(json!({}))).await;

            let said = heard.good();
            assert_eq!(
                (said.content.as_str(), &said.finish),
                ("", &json!("length"))
            );
            assert!(
                said.rag["warnings"][0]
                    .as_str()
                    .unwrap()
                    .contains("max_tokens")
            );
            assert_eq!(lighton.requests().len(), 0);
        }
    }
}

#[tokio::test]
async fn prose_that_is_called_a_call_is_the_answer() {
    let prose = "Five years.";
    let turns = [
        (
            Way::Whole,
            whole(
                json!({"role": "assistant", "content": prose, "tool_calls": []}),
                "tool_calls",
            ),
        ),
        (
            Way::Streamed,
            streamed(
                vec![json!({"role": "assistant", "content": prose, "tool_calls": []})],
                "tool_calls",
            ),
        ),
        (
            Way::Streamed,
            streamed(
                vec![
                    json!({"role": "", "content": prose}),
                    json!({"role": "", "content": ""}),
                ],
                "stop",
            ),
        ),
        (
            Way::Streamed,
            streamed(vec![json!({"content": prose, "reasoning": null})], "stop"),
        ),
    ];
    for (way, turn) in turns {
        let lighton = finds_policy();
        let model = Server::new().then(turn);
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        let said = heard.good();
        assert_eq!(
            (said.content.as_str(), &said.finish),
            (prose, &json!("stop"))
        );
    }
}

#[tokio::test]
async fn a_finish_nobody_knows_reaches_the_client_as_it_is() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new().then(match way {
            Way::Whole => whole(json!({"role": "assistant", "content": "Five"}), "COMPLETE"),
            Way::Streamed => streamed(
                vec![json!({"role": "assistant", "content": "Five"})],
                "COMPLETE",
            ),
        });
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        assert_eq!(heard.good().finish, "COMPLETE");
    }
}
