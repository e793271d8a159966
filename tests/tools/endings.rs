//! Section 3.4 of what servers do when they are to answer at last; and the bounds that bring them there.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, Way, finds_policy, question, weather},
    support::{reply::Reply, server::Server},
    turns::{call, calls, says, search, searches, streamed, whole},
};

fn names(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().into_iter().flatten();
    tools
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect()
}

fn nothing(way: Way) -> Reply {
    match way {
        Way::Whole => whole(json!({"role": "assistant", "content": ""}), "stop"),
        Way::Streamed => streamed(vec![json!({"role": "assistant", "content": ""})], "stop"),
    }
}

fn refused() -> Reply {
    let message = "Tool choice is none, but model called a tool";
    Reply::json(json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "tool_use_failed"}})).with_status(400)
}

#[tokio::test]
async fn the_last_round_is_asked_without_the_search() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(calls(way, [search("c1", "one")]))
            .then(calls(way, [search("c2", "two")]))
            .then(says(way, "Five years [1]."));
        let edge = Edge::with(&lighton, &model, "[rag]\nmax_rounds = 3").await;

        let heard = edge
            .hear(way, &question(json!({"tools": [], "tool_choice": "auto"})))
            .await;

        heard.good();
        let requests: Vec<Value> = model
            .requests()
            .iter()
            .map(|request| request.json())
            .collect();
        assert_eq!(names(&requests[1]), ["lighton_search"]);
        for key in ["tools", "tool_choice", "parallel_tool_calls"] {
            assert_eq!(
                requests[2].get(key),
                None,
                "a choice without tools is refused by some"
            );
        }
        assert_eq!(requests[2]["messages"].as_array().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn a_last_turn_that_does_not_answer_is_asked_in_plain_text() {
    for way in Way::BOTH {
        for (what, last) in [
            ("calls", calls(way, [search("c2", "again")])),
            ("another's call", calls(way, [call("c2", "open_url", "{}")])),
            ("nothing", nothing(way)),
            ("a refusal", refused()),
        ] {
            println!("{what} {way:?}");
            let lighton = finds_policy();
            let model = Server::new()
                .then(searches(way, "one"))
                .then(last)
                .then(says(way, "Five years [1]."));
            let edge = Edge::with(&lighton, &model, "[rag]\nmax_rounds = 2").await;

            let heard = edge.hear(way, &question(json!({}))).await;

            let said = heard.good();
            assert_eq!(said.content, "Five years [1].");
            assert_eq!(said.annotations.as_array().unwrap().len(), 1);
            assert_eq!(lighton.requests().len(), 1);
            let plain = model.requests()[2].json();
            assert_eq!(plain.get("tools"), None);
            let [only] = &plain["messages"].as_array().unwrap()[..] else {
                panic!("{plain}")
            };
            let text = only["content"].as_str().unwrap();
            assert!(
                text.contains("[1] [a.pdf, p.3]\nKept for five years."),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_model_that_never_answers_is_a_clear_error() {
    for way in Way::BOTH {
        for silent in [true, false] {
            let last = |id| {
                if silent {
                    nothing(way)
                } else {
                    calls(way, [search(id, "again")])
                }
            };
            let lighton = finds_policy();
            let model = Server::new()
                .then(searches(way, "one"))
                .then(last("c2"))
                .then(last("c3"));
            let edge = Edge::with(&lighton, &model, "[rag]\nmax_rounds = 2").await;

            let heard = edge.hear(way, &question(json!({}))).await;

            assert_eq!(
                (heard.status, heard.code()),
                (502, "upstream_invalid_response")
            );
            assert_eq!(heard.header("x-should-retry"), "false");
            let message = heard.said.error["message"].as_str().unwrap();
            assert!(
                message.contains("kept calling tools or said nothing"),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a_model_that_says_nothing_at_once_is_asked_again_without_the_search() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new().then(nothing(way)).then(says(way, "Hi."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        assert_eq!(heard.good().content, "Hi.");
        assert_eq!(model.requests()[1].json().get("tools"), None);
    }
}

#[tokio::test]
async fn searches_are_bounded_and_the_model_is_told() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(calls(
                way,
                [
                    search("c1", "one"),
                    search("c2", "two"),
                    search("c3", "three"),
                ],
            ))
            .then(says(way, "Five years [1]."));
        let edge = Edge::with(&lighton, &model, "[rag]\nmax_searches = 2").await;

        let heard = edge.hear(way, &question(json!({}))).await;

        assert_eq!(heard.good().rag["usage"]["searches"], 2);
        let last = model.requests()[1].json();
        assert_eq!(last.get("tools"), None, "no search is left to offer");
        let told = last["messages"][4]["content"].as_str().unwrap();
        assert!(told.starts_with("No more searches"), "{told}");
        assert_eq!(lighton.requests().len(), 2);
    }
}

#[tokio::test]
async fn the_same_words_are_searched_for_once() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new()
            .then(calls(
                way,
                [
                    search("c1", "Data  retention"),
                    search("c2", "data retention "),
                ],
            ))
            .then(calls(way, [search("c3", "DATA RETENTION")]))
            .then(says(way, "Five years [1]."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        assert_eq!(heard.good().rag["usage"]["searches"], 1);
        let last = model.requests()[2].json();
        for at in [3, 5] {
            let told = last["messages"][at]["content"].as_str().unwrap();
            assert!(told.starts_with("Already searched"), "{told}");
        }
    }
}

#[tokio::test]
async fn in_the_last_round_the_clients_own_tools_stay() {
    for way in Way::BOTH {
        let lighton = finds_policy();
        let model = Server::new().then(searches(way, "one")).then(calls(
            way,
            [
                search("c2", "two"),
                call("c3", "get_weather", "{\"city\":\"Lyon\"}"),
            ],
        ));
        let edge = Edge::with(&lighton, &model, "[rag]\nmax_rounds = 2").await;

        let heard = edge
            .hear(way, &question(json!({"tools": [weather()]})))
            .await;

        let said = heard.good();
        assert_eq!(
            said.calls,
            [call("c3", "get_weather", "{\"city\":\"Lyon\"}")]
        );
        assert_eq!(said.finish, "tool_calls");
        assert_eq!(names(&model.requests()[1].json()), ["get_weather"]);
        assert_eq!(lighton.requests().len(), 1);
    }
}

#[tokio::test]
async fn all_ends_at_the_total_deadline() {
    for way in Way::BOTH {
        let lighton = crate::support::lighton::FakeLightOn::new().then(Reply::silence());
        let model = Server::new().then(searches(way, "one"));
        let settings =
            "[timeouts]\ntotal = \"300ms\"\n[search]\ntimeout = \"30s\"\n[retry]\nattempts = 1";
        let edge = Edge::with(&lighton, &model, settings).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        assert_eq!((heard.status, heard.code()), (504, "search_timeout"));
        lighton.closed().await;
    }
}
