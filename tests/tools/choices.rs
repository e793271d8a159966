//! What a client may ask of tools, and what becomes of it.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, Way, finds_policy, question, weather},
    support::{lighton::FakeLightOn, server::Server},
    turns::{call, calls, chunk, ending, says, search, searches},
};

#[tokio::test]
async fn a_forced_choice_holds_for_the_first_turn_only() {
    let named = json!({"type": "function", "function": {"name": "get_weather"}});
    for way in Way::BOTH {
        for choice in [json!("required"), named.clone()] {
            let lighton = finds_policy();
            let model = Server::new()
                .then(searches(way, "one"))
                .then(says(way, "Five years."));
            let edge = Edge::start(&lighton, &model).await;

            edge.hear(
                way,
                &question(json!({"tools": [weather()], "tool_choice": choice})),
            )
            .await
            .good();

            let choices: Vec<Value> = model
                .requests()
                .iter()
                .map(|request| request.json()["tool_choice"].clone())
                .collect();
            assert_eq!(choices, [choice.clone(), json!("auto")]);
        }
    }
}

#[tokio::test]
async fn the_search_by_its_name_can_be_forced_and_is_not_named_when_it_is_gone() {
    let lighton = finds_policy();
    let model = Server::new().then(says(Way::Whole, "Five."));
    let edge = Edge::with(&lighton, &model, "[rag]\nmax_rounds = 1").await;
    let choice = json!({"type": "function", "function": {"name": "lighton_search"}});

    edge.hear(
        Way::Whole,
        &question(json!({"tools": [weather()], "tool_choice": choice})),
    )
    .await
    .good();

    let sent = model.request().json();
    assert_eq!(
        (
            sent["tool_choice"].clone(),
            sent["tools"].as_array().unwrap().len()
        ),
        (json!("auto"), 1)
    );
}

#[tokio::test]
async fn no_tool_is_offered_to_a_client_that_wants_none_called() {
    for way in Way::BOTH {
        let lighton = FakeLightOn::new();
        let model = Server::new().then(says(way, "Hi.")).then(says(way, "Hi."));
        let edge = Edge::start(&lighton, &model).await;

        edge.hear(way, &question(json!({"tool_choice": "none"})))
            .await
            .good();
        edge.hear(
            way,
            &question(json!({"tools": [weather()], "tool_choice": "none"})),
        )
        .await
        .good();

        let [without, with] = &model.requests()[..] else {
            panic!("two requests")
        };
        assert_eq!(
            (
                without.json().get("tools"),
                without.json().get("tool_choice")
            ),
            (None, None)
        );
        assert_eq!(
            (
                with.json()["tools"].clone(),
                with.json()["tool_choice"].clone()
            ),
            (json!([weather()]), json!("none"))
        );
    }
}

#[tokio::test]
async fn what_cannot_be_answered_with_the_search_is_refused_before_anybody_is_asked() {
    let mut own = weather();
    own["function"]["name"] = json!("lighton_search");
    for way in Way::BOTH {
        for (more, param) in [
            (json!({"n": 2}), "n"),
            (json!({"tools": [weather(), own]}), "tools[1].function.name"),
            (json!({"functions": [{"name": "f"}]}), "functions"),
        ] {
            let (lighton, model) = (FakeLightOn::new(), Server::new());
            let edge = Edge::start(&lighton, &model).await;

            let heard = edge.hear(way, &question(more)).await;

            assert_eq!((heard.status, heard.code()), (400, "invalid_value"));
            assert_eq!(heard.said.error["param"], param);
        }
    }
}

#[tokio::test]
async fn formats_and_limits_go_with_every_turn() {
    let more = json!({
        "response_format": {"type": "json_object"}, "logprobs": true, "top_logprobs": 2, "max_tokens": 77, "seed": 12345678901234567890_u64,
        "stream_options": {"include_obfuscation": false}, "parallel_tool_calls": true,
    });
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(searches(way, "one"))
            .then(says(way, "{\"years\": 5}"));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(more.clone())).await;

        let said = heard.good();
        assert_eq!(said.content, "{\"years\": 5}");
        assert_eq!(said.annotations, Value::Null, "JSON is not cited");
        for request in model.requests() {
            let sent = request.json();
            for (key, value) in more
                .as_object()
                .unwrap()
                .iter()
                .filter(|(key, _)| *key != "stream_options")
            {
                assert_eq!(&sent[key], value);
            }
            assert_eq!(sent["stream_options"]["include_obfuscation"], false);
        }
    }
}

#[tokio::test]
async fn log_probabilities_of_every_turn_are_the_answers() {
    let with = |mut body: Value, key: &str, token: &str| {
        body["choices"][0]["logprobs"] =
            json!({"content": [{"token": token, "logprob": -0.5}], "refusal": null});
        assert!(body["choices"][0].get(key).is_some());
        body
    };
    let mut look = search("c1", "one");
    let (first, second) = (
        json!({"role": "assistant", "content": "Hm. ", "tool_calls": [look]}),
        json!({"role": "assistant", "content": "Five."}),
    );
    let completion = |message: Value, finish: &str| json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]});
    look["index"] = json!(0);
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = match way {
            Way::Whole => Server::new()
                .then(crate::support::reply::Reply::json(with(
                    completion(first.clone(), "tool_calls"),
                    "message",
                    "Hm. ",
                )))
                .then(crate::support::reply::Reply::json(with(
                    completion(second.clone(), "stop"),
                    "message",
                    "Five.",
                ))),
            Way::Streamed => Server::new()
                .then(crate::support::reply::sse([
                    with(
                        chunk(json!({"role": "assistant", "content": "Hm. "})),
                        "delta",
                        "Hm. ",
                    ),
                    chunk(json!({"tool_calls": [look]})),
                    ending("tool_calls"),
                ]))
                .then(crate::support::reply::sse([
                    with(chunk(json!({"content": "Five."})), "delta", "Five."),
                    ending("stop"),
                ])),
        };
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({"logprobs": true}))).await;

        heard.good();
        let tokens: Vec<&str> = match way {
            Way::Whole => {
                let body: Value = serde_json::from_str(&heard.raw).unwrap();
                assert_eq!(
                    body["choices"][0]["logprobs"]["content"]
                        .as_array()
                        .unwrap()
                        .len(),
                    2
                );
                vec!["Hm. ", "Five."]
            }
            Way::Streamed => heard
                .chunks
                .iter()
                .filter(|chunk| !chunk["choices"][0]["logprobs"].is_null())
                .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
                .collect(),
        };
        assert_eq!(tokens, ["Hm. ", "Five."]);
    }
}

#[tokio::test]
async fn a_custom_tool_of_the_clients_is_called_in_its_own_shape() {
    let tool = json!({"type": "custom", "custom": {"name": "shell"}});
    let calls_it =
        json!({"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}});
    for way in Way::BOTH {
        let lighton = FakeLightOn::new();
        let model = Server::new().then(calls(way, [calls_it.clone()]));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({"tools": [tool]}))).await;

        assert_eq!(heard.good().calls, std::slice::from_ref(&calls_it));
    }
}

#[tokio::test]
async fn a_client_with_a_tool_of_a_near_name_keeps_it() {
    let mut own = weather();
    own["function"]["name"] = json!("search");
    for way in Way::BOTH {
        let lighton = FakeLightOn::new();
        let model = Server::new().then(calls(way, [call("c1", "search", "{\"q\": 1}")]));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({"tools": [own]}))).await;

        assert_eq!(heard.good().calls, [call("c1", "search", "{\"q\": 1}")]);
    }
}

#[tokio::test]
async fn a_client_may_ask_for_what_it_wants_of_search() {
    let lighton = finds_policy();
    let with_number = call(
        "c2",
        "lighton_search",
        "{\"query\": \"two\", \"max_results\": 7}",
    );
    let model = Server::new()
        .then(calls(
            Way::Whole,
            [search("c1", "one"), with_number.clone()],
        ))
        .then(says(Way::Whole, "Five."))
        .then(calls(Way::Whole, [search("c1", "one"), with_number]))
        .then(says(Way::Whole, "Five."));
    let edge = Edge::start(&lighton, &model).await;

    edge.hear(Way::Whole, &question(json!({}))).await.good();
    edge.hear(Way::Whole, &question(json!({"rag": {"max_results": 3}})))
        .await
        .good();

    let mut asked: Vec<u64> = lighton
        .requests()
        .iter()
        .map(|request| request.json()["max_results"].as_u64().unwrap())
        .collect();
    asked[..2].sort_unstable();
    asked[2..].sort_unstable();
    assert_eq!(asked, [5, 7, 3, 3]);
}

#[tokio::test]
async fn a_message_without_a_role_still_opens_the_stream() {
    let lighton = FakeLightOn::new();
    let model = Server::new().then(crate::support::reply::sse([
        chunk(json!({"content": "Hi."})),
        ending("stop"),
    ]));
    let edge = Edge::start(&lighton, &model).await;

    let heard = edge.hear(Way::Streamed, &question(json!({}))).await;

    assert_eq!(heard.good().content, "Hi.");
}
