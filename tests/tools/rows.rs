//! What servers make of one call to the search, row by row of sections 3.1 and 3.2.

use serde_json::{Value, json};

use crate::{
    edge::Way,
    support::reply::{Reply, sse},
    turns::{call, chunk, ending, search, streamed, whole},
};

/// One way to call the search for `retention`, and the id that must come back with its result; `None`: any id of nine characters.
pub(crate) struct Row {
    pub(crate) server: &'static str,
    pub(crate) way: Way,
    pub(crate) turn: Reply,
    pub(crate) id: Option<&'static str>,
}

fn row(server: &'static str, way: Way, turn: Reply, id: &'static str) -> Row {
    Row {
        server,
        way,
        turn,
        id: Some(id),
    }
}

pub(crate) fn message(calls: Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

const ARGUMENTS: &str = r#"{"query":"retention"}"#;

pub(crate) fn finishes() -> Vec<Row> {
    let whole_call = || search("c1", "retention");
    let mut indexed = whole_call();
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
        let turn = whole(message(json!([whole_call()])), finish.clone());
        rows.push(row(server, Way::Whole, turn, "c1"));
        let turn = streamed(vec![delta()], finish);
        rows.push(row(server, Way::Streamed, turn, "c1"));
    }
    let twice = [chunk(delta()), ending("tool_calls"), ending("stop")];
    rows.push(row("SGLang: two finishes", Way::Streamed, sse(twice), "c1"));
    let cut = r#"{"query":"retention"#;
    let turn = whole(
        message(json!([call("c1", "lighton_search", cut)])),
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

pub(crate) fn fragments() -> Vec<Row> {
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

pub(crate) fn whole_messages() -> Vec<Row> {
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
