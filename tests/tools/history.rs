//! Section 3.3 of what servers refuse: what the model is sent back is what the strictest of them takes.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, QUESTION, Way, finds_policy, passage, question},
    support::{
        lighton::{FakeLightOn, found},
        server::Server,
    },
    turns::{calls, says, search, searches, streamed, whole},
};

#[tokio::test]
async fn the_second_turn_adds_the_call_and_its_result_and_nothing_else() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(searches(way, "retention"))
            .then(says(way, "Five years [1]."));
        let edge = Edge::start(&lighton, &model).await;
        let body = question(
            json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}], "temperature": 0.5}),
        );

        edge.hear(way, &body).await.good();

        let [first, second] = &model.requests()[..] else {
            panic!("two turns")
        };
        let (first, second) = (first.json(), second.json());
        assert_eq!(first["messages"], body["messages"]);
        assert_eq!(
            second["messages"],
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": null, "tool_calls": [search("call_s", "retention")]},
                {"role": "tool", "tool_call_id": "call_s", "content": "[1] [a.pdf, p.3]\nKept for five years."},
            ])
        );
        for sent in [&first, &second] {
            assert_eq!(sent["temperature"], 0.5);
            assert_eq!(sent["tools"].as_array().unwrap().len(), 1);
            assert_eq!(sent.get("rag"), None);
            assert_eq!(sent.get("tool_choice"), None);
        }
    }
}

#[tokio::test]
async fn the_tool_is_the_one_of_the_guides() {
    let lighton = finds_policy();
    let model = Server::new()
        .then(says(Way::Whole, "Hi."))
        .then(says(Way::Whole, "Hi."));
    let edge = Edge::start(&lighton, &model).await;

    edge.hear(Way::Whole, &question(json!({"rag": {"citations": false}})))
        .await
        .good();
    edge.hear(Way::Whole, &question(json!({}))).await.good();

    let tool = |at: usize| model.requests()[at].json()["tools"][0].clone();
    assert_eq!(
        tool(0),
        json!({"type": "function", "function": {
            "name": "lighton_search",
            "description": "Search the company knowledge base for passages relevant to a query. Returns ranked excerpts with their source filename and page numbers.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "Natural-language search query."},
                    "max_results": {"type": "integer", "description": "Number of passages to return (1–50, default 5).", "default": 5},
                },
                "required": ["query"],
            },
        }})
    );
    let cited = tool(1)["function"]["description"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(cited.contains("number") && cited.contains("[1]"), "{cited}");
}

#[tokio::test]
async fn the_content_of_a_turn_goes_back_as_the_server_sent_it() {
    for (content, expected) in [
        (Value::Null, Value::Null),
        (json!(""), json!("")),
        (json!("Let me look."), json!("Let me look.")),
    ] {
        for way in Way::BOTH {
            let call = search("c1", "retention");
            let mut indexed = call.clone();
            indexed["index"] = json!(0);
            let turn = match way {
                Way::Whole => whole(
                    json!({"role": "assistant", "content": content, "tool_calls": [call]}),
                    "tool_calls",
                ),
                Way::Streamed => streamed(
                    vec![
                        json!({"role": "assistant", "content": content}),
                        json!({"tool_calls": [indexed]}),
                    ],
                    "tool_calls",
                ),
            };
            let lighton = finds_policy();
            let model = Server::new().then(turn).then(says(way, "Five."));
            let edge = Edge::start(&lighton, &model).await;

            edge.hear(way, &question(json!({}))).await.good();

            assert_eq!(
                model.requests()[1].json()["messages"][1]["content"],
                expected,
                "{way:?}"
            );
        }
    }
}

#[tokio::test]
async fn passages_are_numbered_once_and_named_when_they_come_again() {
    for (citations, first, second) in [
        (
            true,
            "[1] [a.pdf, p.3]\nAlpha.\n\n[2] [b.pdf, p.3]\nBeta.",
            "[3] [c.pdf, p.3]\nGamma.\n\nAlready given above: [2].",
        ),
        (
            false,
            "[a.pdf, p.3]\nAlpha.\n\n[b.pdf, p.3]\nBeta.",
            "[c.pdf, p.3]\nGamma.\n\nAlready given above: [b.pdf, p.3].",
        ),
    ] {
        for way in Way::BOTH {
            let (alpha, beta, gamma) = (
                passage("a", "Alpha."),
                passage("b", "Beta."),
                passage("c", "Gamma."),
            );
            let lighton = FakeLightOn::new()
                .finds([alpha, beta.clone()])
                .finds([beta.clone(), gamma])
                .finds([beta])
                .finds([]);
            let model = Server::new()
                .then(calls(way, [search("c1", "one")]))
                .then(calls(way, [search("c2", "two")]))
                .then(calls(way, [search("c3", "three")]))
                .then(calls(way, [search("c4", "four")]))
                .then(says(way, "Done [3]."));
            let edge = Edge::start(&lighton, &model).await;

            let heard = edge
                .hear(way, &question(json!({"rag": {"citations": citations}})))
                .await;

            let said = heard.good();
            let chunks: Vec<&Value> = said.rag["sources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|source| &source["chunk_id"])
                .collect();
            assert_eq!(chunks, ["a", "b", "c"]);
            assert_eq!(said.rag["queries"], json!(["one", "two", "three", "four"]));
            let last = model.requests()[4].json();
            let results: Vec<&str> = last["messages"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|message| message["role"] == "tool")
                .map(|message| message["content"].as_str().unwrap())
                .collect();
            let again = second.split_once("\n\n").unwrap().1;
            assert_eq!(results, [first, second, again, "No results found."]);
        }
    }
}

#[tokio::test]
async fn a_turn_goes_back_with_what_stood_beside_its_calls() {
    let mut signed = search("c1", "retention");
    signed["extra_content"] = json!({"google": {"thought_signature": "s1gn"}});
    let lighton = FakeLightOn::new().then(found([]));
    let model = Server::new()
        .then(calls(Way::Streamed, [signed.clone()]))
        .then(says(Way::Streamed, "Nothing."));
    let edge = Edge::start(&lighton, &model).await;

    edge.hear(Way::Streamed, &question(json!({}))).await.good();

    assert_eq!(
        model.requests()[1].json()["messages"][1]["tool_calls"][0],
        signed
    );
}
