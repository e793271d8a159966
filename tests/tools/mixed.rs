//! Turns that call the client's tools and the search: the client gets its own calls, the rest is put back when it returns.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, QUESTION, Way, finds_policy, key, passage, question, weather},
    heard::Heard,
    support::{lighton::FakeLightOn, reply::Reply, server::Server},
    turns::{call, calls, says, search, searches},
};

/// Arguments that no parser would print again as they stand here.
const ODD: &str = "{ \"city\" : \"Lyon\\u00e9\", \"days\":1.50 }";

fn own() -> Value {
    call("call_w", "get_weather", ODD)
}

/// A turn that searches before and after it calls the client's tool.
fn mixed(way: Way) -> Reply {
    calls(way, [search("c1", "one"), own(), search("c2", "two")])
}

fn first_request() -> Value {
    question(json!({"tools": [weather()]}))
}

/// The client's return: `assistant` as it writes it, and its tool's result.
fn return_with(assistant: Value, result: &str) -> Value {
    question(json!({"tools": [weather()], "messages": [
        {"role": "user", "content": QUESTION},
        assistant,
        {"role": "tool", "tool_call_id": "call_w", "content": result},
    ]}))
}

fn as_heard(heard: &Heard) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": heard.said.calls})
}

fn two_passages() -> FakeLightOn {
    FakeLightOn::new()
        .finds([passage("a", "Alpha.")])
        .finds([passage("b", "Beta.")])
}

/// What the model is sent when everything was put back: both passages in either order, since searches of a turn race.
fn assert_put_back(sent: &Value) {
    let messages = sent["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 5, "{sent:#}");
    assert_eq!(
        messages[1],
        json!({"role": "assistant", "content": null, "tool_calls": [search("c1", "one"), own(), search("c2", "two")]})
    );
    for (at, id, number) in [(2, "c1", 1), (3, "c2", 2)] {
        assert_eq!(
            (&messages[at]["role"], &messages[at]["tool_call_id"]),
            (&json!("tool"), &json!(id))
        );
        let content = messages[at]["content"].as_str().unwrap();
        assert!(content.starts_with(&format!("[{number}] [")), "{content}");
    }
    assert_eq!(
        messages[4],
        json!({"role": "tool", "tool_call_id": "call_w", "content": "Sunny."})
    );
}

#[tokio::test]
async fn the_clients_call_comes_byte_for_byte_and_the_search_is_put_back() {
    for way in Way::BOTH {
        let lighton = two_passages();
        let model = Server::new()
            .then(mixed(way))
            .then(says(way, "Sunny, and Beta [2]."));
        let edge = Edge::start(&lighton, &model).await;

        let first = edge.hear(way, &first_request()).await;
        let second = edge
            .hear(way, &return_with(as_heard(&first), "Sunny."))
            .await;

        let said = first.good();
        assert_eq!(said.calls, [own()]);
        assert_eq!(said.finish, "tool_calls");
        assert_eq!(said.rag["queries"], json!(["one", "two"]));
        assert_put_back(&model.requests()[1].json());
        let said = second.good();
        assert_eq!(said.content, "Sunny, and Beta [2].");
        assert_eq!(said.rag["sources"].as_array().unwrap().len(), 2);
        assert_eq!(
            said.rag["queries"],
            json!([]),
            "this request searched for nothing"
        );
        assert_eq!(said.annotations[0]["url_citation"]["source"], 2);
    }
}

#[tokio::test]
async fn turns_before_the_clients_call_are_put_back_too_and_numbers_go_on() {
    for way in Way::BOTH {
        let lighton = FakeLightOn::new()
            .finds([passage("a", "Alpha.")])
            .finds([passage("b", "Beta."), passage("a", "Alpha.")]);
        let model = Server::new()
            .then(searches(way, "one"))
            .then(calls(way, [own()]))
            .then(calls(way, [search("c9", "two")]))
            .then(says(way, "Beta [2]."));
        let edge = Edge::start(&lighton, &model).await;

        let first = edge.hear(way, &first_request()).await;
        let second = edge
            .hear(way, &return_with(as_heard(&first), "Sunny."))
            .await;

        assert_eq!(first.good().calls, [own()]);
        let said = second.good();
        assert_eq!(said.rag["queries"], json!(["two"]));
        let chunks: Vec<&Value> = said.rag["sources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|source| &source["chunk_id"])
            .collect();
        assert_eq!(chunks, ["a", "b"]);
        let sent = model.requests()[3].json();
        assert_eq!(
            sent["messages"],
            json!([
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": null, "tool_calls": [search("call_s", "one")]},
                {"role": "tool", "tool_call_id": "call_s", "content": "[1] [a.pdf, p.3]\nAlpha."},
                {"role": "assistant", "content": null, "tool_calls": [own()]},
                {"role": "tool", "tool_call_id": "call_w", "content": "Sunny."},
                {"role": "assistant", "content": null, "tool_calls": [search("c9", "two")]},
                {"role": "tool", "tool_call_id": "c9", "content": "[2] [b.pdf, p.3]\nBeta.\n\nAlready given above: [1]."},
            ])
        );
    }
}

#[tokio::test]
async fn a_client_that_writes_the_message_anew_finds_it_all_the_same() {
    let function = |arguments: &str| json!({"arguments": arguments, "name": "get_weather"});
    let anew = [
        (
            "no content",
            json!({"role": "assistant", "tool_calls": [own()]}),
        ),
        (
            "empty content",
            json!({"role": "assistant", "content": "", "tool_calls": [own()]}),
        ),
        (
            "openai-python",
            json!({"content": null, "refusal": null, "role": "assistant", "annotations": [], "audio": null, "function_call": null, "tool_calls": [{"id": "call_w", "function": function(ODD), "type": "function", "index": 0}]}),
        ),
        (
            "LangChain parses the arguments and writes them again",
            json!({"role": "assistant", "content": null, "tool_calls": [{"type": "function", "id": "call_w", "function": function("{\"days\": 1.5, \"city\": \"Lyon\u{e9}\"}")}]}),
        ),
        (
            "a list of no parts",
            json!({"role": "assistant", "content": [], "tool_calls": [own()]}),
        ),
    ];
    for (client, assistant) in anew {
        println!("{client}");
        let lighton = two_passages();
        let model = Server::new()
            .then(mixed(Way::Whole))
            .then(says(Way::Whole, "Sunny."));
        let edge = Edge::start(&lighton, &model).await;

        edge.hear(Way::Whole, &first_request()).await.good();
        edge.hear(Way::Whole, &return_with(assistant, "Sunny."))
            .await
            .good();

        assert_put_back(&model.requests()[1].json());
    }
}

#[tokio::test]
async fn a_conversation_whose_searches_are_gone_works_without_them() {
    for way in Way::BOTH {
        let lighton = two_passages();
        let model = Server::new().then(mixed(way)).then(says(way, "Sunny."));
        let edge = Edge::start(&lighton, &model).await;
        edge.hear(way, &first_request()).await.good();
        let assistant = json!({"role": "assistant", "content": null, "tool_calls": [own()]});
        let mut elsewhere = return_with(assistant, "Sunny.");
        elsewhere["messages"][0]["content"] = json!("Another conversation with the same ids");

        let heard = edge.hear(way, &elsewhere).await;

        assert_eq!(heard.good().content, "Sunny.");
        assert_eq!(heard.said.rag["sources"], json!([]));
        assert_eq!(
            model.requests()[1].json()["messages"],
            elsewhere["messages"]
        );
    }
}

#[tokio::test]
async fn two_keys_with_the_same_words_and_ids_never_meet() {
    for way in Way::BOTH {
        let lighton = two_passages();
        let model = Server::new()
            .then(mixed(way))
            .then(says(way, "Sunny."))
            .then(says(way, "Sunny."));
        let settings = key("acme", "key-a", "\"*\"") + &key("umbra", "key-b", "\"*\"");
        let edge = Edge::with(&lighton, &model, &settings).await;
        let first = edge.hear_as("key-a", way, &first_request()).await;
        let returned = return_with(as_heard(&first), "Sunny.");

        let other = edge.hear_as("key-b", way, &returned).await;
        let same = edge.hear_as("key-a", way, &returned).await;

        assert_eq!(other.good().rag["sources"], json!([]));
        assert_eq!(model.requests()[1].json()["messages"], returned["messages"]);
        assert_eq!(same.good().rag["sources"].as_array().unwrap().len(), 2);
        assert_put_back(&model.requests()[2].json());
    }
}

#[tokio::test]
async fn a_narrower_scope_sees_nothing_of_what_the_wider_one_found() {
    for way in Way::BOTH {
        let lighton = two_passages();
        let model = Server::new().then(mixed(way)).then(says(way, "Sunny."));
        let edge = Edge::with(&lighton, &model, &key("acme", "key-a", "[41, 42]")).await;
        let first = edge.hear_as("key-a", way, &first_request()).await;
        let mut returned = return_with(as_heard(&first), "Sunny.");
        returned["rag"] = json!({"workspace_id": 41});

        let heard = edge.hear_as("key-a", way, &returned).await;

        assert_eq!(first.good().rag["sources"].as_array().unwrap().len(), 2);
        assert_eq!(heard.good().rag["sources"], json!([]));
        let sent = model.requests()[1].json().to_string();
        assert!(
            !sent.contains("Alpha.") && !sent.contains("Beta."),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn the_clients_calls_alone_are_numbered_from_zero_and_nothing_is_kept() {
    let other = call("call_x", "get_weather", "{\"city\":\"Paris\"}");
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(calls(way, [own(), other.clone()]))
            .then(says(way, "Sunny."));
        let edge = Edge::start(&lighton, &model).await;

        let first = edge.hear(way, &first_request()).await;
        let returned = return_with(as_heard(&first), "Sunny.");
        edge.hear(way, &returned).await.good();

        assert_eq!(first.good().calls, [own(), other.clone()]);
        assert_eq!(
            model.requests()[1].json()["messages"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(lighton.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_tool_nobody_offered_beside_the_clients_is_answered_here() {
    for way in Way::BOTH {
        let lighton = FakeLightOn::new();
        let stray = call("c5", "open_url", "not json");
        let model = Server::new()
            .then(calls(way, [stray, own()]))
            .then(says(way, "Sunny."));
        let edge = Edge::start(&lighton, &model).await;

        let first = edge.hear(way, &first_request()).await;
        edge.hear(way, &return_with(as_heard(&first), "Sunny."))
            .await
            .good();

        assert_eq!(first.good().calls, [own()]);
        let sent = model.requests()[1].json();
        assert_eq!(
            sent["messages"][1]["tool_calls"][0],
            call("c5", "open_url", "{}")
        );
        let told = sent["messages"][2]["content"].as_str().unwrap();
        assert!(told.contains("no tool called `open_url`"), "{told}");
        assert_eq!(sent["messages"][3]["tool_call_id"], "call_w");
    }
}
