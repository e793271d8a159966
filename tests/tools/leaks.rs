//! Section 3.5 of what servers send: calls that leak into the text, thoughts in odd places, answers that are nothing but thoughts.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, Way, finds_policy, queries, question},
    support::server::Server,
    turns::{says, searches, streamed, whole},
};

/// A turn that says `text`, one character a chunk when it is streamed.
fn writes(way: Way, text: &str, finish: &str) -> crate::support::reply::Reply {
    match way {
        Way::Whole => whole(json!({"role": "assistant", "content": text}), finish),
        Way::Streamed => {
            let mut deltas = vec![json!({"role": "assistant", "content": ""})];
            deltas.extend(text.chars().map(|c| json!({"content": c})));
            streamed(deltas, finish)
        }
    }
}

const MARKUP: [&str; 8] = [
    "<tool_call>\n{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"retention\"}}\n</tool_call>",
    "<tool_call>\n<function=lighton_search>\n<parameter=query>\nretention\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>lighton_search\n<arg_key>query</arg_key>\n<arg_value>retention</arg_value>\n</tool_call>",
    "<minimax:tool_call><invoke name=\"lighton_search\"><parameter name=\"query\">retention</parameter></invoke></minimax:tool_call>",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.lighton_search:0<|tool_call_argument_begin|>{\"query\": \"retention\"}<|tool_call_end|><|tool_calls_section_end|>",
    "[TOOL_CALLS][{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"retention\"}}]",
    "[TOOL_CALLS]lighton_search[ARGS]{\"query\": \"retention\"}",
    "{\"name\": \"lighton_search\", \"parameters\": {\"query\": \"retention\"}}",
];

#[tokio::test]
async fn a_call_that_leaks_into_the_text_is_run_and_not_shown() {
    for way in Way::BOTH {
        for markup in MARKUP {
            println!("{way:?} {markup}");
            let lighton = finds_policy();
            let before = if markup.starts_with('{') {
                ""
            } else {
                "Let me look. "
            };
            let model = Server::new()
                .then(writes(way, &format!("{before}{markup}"), "stop"))
                .then(says(way, "Five years [1]."));
            let edge = Edge::start(&lighton, &model).await;

            let heard = edge.hear(way, &question(json!({}))).await;

            let said = heard.good();
            assert_eq!(said.content, format!("{before}Five years [1]."));
            assert_eq!(said.rag["queries"], json!(["retention"]));
            assert_eq!(queries(&lighton), ["retention"]);
            let messages = model.requests()[1].json()["messages"].clone();
            assert_eq!(messages[1]["content"], before);
            assert_eq!(
                messages[1]["tool_calls"][0]["function"]["name"],
                "lighton_search"
            );
        }
    }
}

#[tokio::test]
async fn leaked_markup_that_was_cut_is_neither_run_nor_shown() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let text = "Let me look. <tool_call>{\"name\": \"lighton_search\", \"argu";
        let model = Server::new().then(writes(way, text, "length"));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        let said = heard.good();
        assert_eq!(
            (said.content.as_str(), &said.finish),
            ("Let me look. ", &json!("length"))
        );
        assert_eq!(lighton.requests().len(), 0);
    }
}

#[tokio::test]
async fn text_that_only_looks_like_markup_is_text() {
    for way in Way::BOTH {
        for text in [
            "a <b> [c] <tool",
            "{\"name\": \"Ada\", \"age\": 36}",
            "Write <tool_call> first.",
            "<think>so</think>Five.",
        ] {
            let lighton = finds_policy();
            let model = Server::new().then(writes(way, text, "stop"));
            let edge = Edge::start(&lighton, &model).await;

            let heard = edge.hear(way, &question(json!({}))).await;

            assert_eq!(heard.good().content, text);
        }
    }
}

#[tokio::test]
async fn thoughts_of_every_turn_reach_the_client_under_their_own_name() {
    for way in Way::BOTH {
        for field in ["reasoning", "reasoning_content"] {
            let call = crate::turns::search("c1", "retention");
            let mut indexed = call.clone();
            indexed["index"] = json!(0);
            let (first, second) = match way {
                Way::Whole => (
                    whole(
                        json!({"role": "assistant", "content": null, field: "I must look. ", "tool_calls": [call]}),
                        "tool_calls",
                    ),
                    whole(
                        json!({"role": "assistant", "content": "Five.", field: "Found it."}),
                        "stop",
                    ),
                ),
                Way::Streamed => (
                    streamed(
                        vec![
                            json!({"role": "assistant", "content": null, field: ""}),
                            json!({"content": null, field: "I must look. "}),
                            json!({"tool_calls": [indexed]}),
                        ],
                        "tool_calls",
                    ),
                    streamed(
                        vec![
                            json!({"role": "assistant", field: "Found it."}),
                            json!({"content": "Five.", field: null}),
                        ],
                        "stop",
                    ),
                ),
            };
            let lighton = finds_policy();
            let model = Server::new().then(first).then(second);
            let edge = Edge::start(&lighton, &model).await;

            let heard = edge.hear(way, &question(json!({}))).await;

            let said = heard.good();
            assert_eq!(
                (said.reasoning.as_str(), said.content.as_str()),
                ("I must look. Found it.", "Five.")
            );
            assert!(heard.raw.contains(&format!("\"{field}\"")), "{}", heard.raw);
            let sent = model.requests()[1].json()["messages"][1].clone();
            assert_eq!(
                sent.get(field),
                None,
                "strict servers refuse thoughts in the history: {sent}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_ran_out_while_thinking_says_so() {
    for way in Way::BOTH {
        let model = Server::new()
            .then(searches(way, "retention"))
            .then(match way {
                Way::Whole => whole(
                    json!({"role": "assistant", "content": null, "reasoning": "Hm"}),
                    "length",
                ),
                Way::Streamed => streamed(
                    vec![json!({"role": "assistant", "reasoning": "Hm"})],
                    "length",
                ),
            });
        let lighton = finds_policy();
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({"max_tokens": 5}))).await;

        let said = heard.good();
        assert_eq!(
            (said.finish.as_str(), said.content.as_str()),
            (Some("length"), "")
        );
        assert!(
            said.rag["warnings"][0]
                .as_str()
                .unwrap()
                .contains("max_tokens")
        );
        assert!(
            model
                .requests()
                .iter()
                .all(|request| request.json()["max_tokens"] == 5)
        );
    }
}

#[tokio::test]
async fn what_is_said_otherwise_than_in_text_reaches_the_client() {
    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Five."}]);
    let rows: [(Way, crate::support::reply::Reply, &str); 4] = [
        (
            Way::Whole,
            whole(
                json!({"role": "assistant", "content": null, "refusal": "I will not."}),
                "stop",
            ),
            "I will not.",
        ),
        (
            Way::Streamed,
            streamed(
                vec![
                    json!({"role": "assistant", "content": null, "refusal": null}),
                    json!({"refusal": "I will not."}),
                ],
                "stop",
            ),
            "I will not.",
        ),
        (
            Way::Whole,
            whole(json!({"role": "assistant", "content": parts}), "stop"),
            "thinking",
        ),
        (
            Way::Streamed,
            streamed(
                vec![
                    json!({"role": "assistant", "content": [parts[0]]}),
                    json!({"content": [parts[1]]}),
                ],
                "stop",
            ),
            "thinking",
        ),
    ];
    for (way, turn, expected) in rows {
        let lighton = finds_policy();
        let model = Server::new().then(turn);
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        heard.good();
        assert!(heard.raw.contains(expected), "{}", heard.raw);
    }
}

#[tokio::test]
async fn an_ordinary_chunk_passes_byte_for_byte() {
    let mut odd: Value = crate::turns::chunk(json!({"role": "assistant", "content": "Five."}));
    odd["system_fingerprint"] = json!("fp_1");
    odd["obfuscation"] = json!("Qup1");
    odd["choices"][0]["token_ids"] = json!([1, 2]);
    let mut last = crate::turns::ending("stop");
    last["choices"][0]["stop_reason"] = json!(128_009);
    let lighton = finds_policy();
    let model = Server::new().then(crate::support::reply::sse([odd.clone(), last]));
    let edge = Edge::start(&lighton, &model).await;

    let heard = edge.hear(Way::Streamed, &question(json!({}))).await;

    heard.good();
    assert!(
        heard.raw.starts_with(&format!("data: {odd}\n\n")),
        "{}",
        heard.raw
    );
    assert_eq!(heard.chunks[1]["choices"][0]["stop_reason"], 128_009);
}
