//! Sections 3.1 and 3.2 of what servers send: finishes that lie, and calls in pieces. Each row is a turn that searches, and then an answer.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, Way, finds_policy, queries, question},
    rows::{Row, finishes, fragments, message, whole_messages},
    support::server::Server,
    turns::{call, calls, says, search, streamed, whole},
};

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
