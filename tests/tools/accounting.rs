//! What an answer tells of its turns and searches: usage, sources, events, times, headers.

use serde_json::{Value, json};

use crate::{
    edge::{Edge, SEARCH, Way, finds_policy, passage, question},
    support::{
        lighton::{FakeLightOn, found, refusal},
        reply::Reply,
        server::Server,
    },
    turns::{calls, says, search, searches, streamed, usage, usage_of},
};

#[tokio::test]
async fn usage_is_the_sum_of_the_turns_and_in_a_stream_told_when_asked_for() {
    for (way, options, told) in [
        (Way::Whole, Value::Null, true),
        (Way::Streamed, Value::Null, false),
        (Way::Streamed, json!({"include_usage": false}), false),
        (Way::Streamed, json!({"include_usage": true}), true),
    ] {
        let lighton = finds_policy();
        let model = Server::new()
            .then(searches(way, "one"))
            .then(searches(way, "two"))
            .then(says(way, "Five years [1]."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge
            .hear(way, &question(json!({"stream_options": options})))
            .await;

        let expected = if told { usage_of(3) } else { Value::Null };
        assert_eq!(heard.good().usage, expected, "{options}");
        for request in model.requests().iter().filter(|_| way == Way::Streamed) {
            assert_eq!(request.json()["stream_options"]["include_usage"], true);
        }
    }
}

#[tokio::test]
async fn usage_that_grows_in_every_chunk_is_taken_out_and_its_last_state_counts() {
    let growing = |delta: Value, tokens: u64| {
        let mut chunk = crate::turns::chunk(delta);
        chunk["usage"] =
            json!({"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens});
        chunk
    };
    let mut call = search("c1", "one");
    call["index"] = json!(0);
    for asked in [true, false] {
        let lighton = finds_policy();
        let model = Server::new()
            .then(crate::support::reply::sse([
                growing(json!({"tool_calls": [call]}), 2),
                crate::turns::ending("tool_calls"),
            ]))
            .then(crate::support::reply::sse([
                growing(json!({"role": "assistant", "content": "Five "}), 1),
                growing(json!({"role": "assistant", "content": "years."}), 2),
                crate::turns::ending("stop"),
            ]));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge
            .hear(
                Way::Streamed,
                &question(json!({"stream_options": {"include_usage": asked}})),
            )
            .await;

        let sum = json!({"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24});
        assert_eq!(heard.good().usage, if asked { sum } else { Value::Null });
    }
}

#[tokio::test]
async fn sources_queries_and_annotations_are_of_all_searches() {
    for way in Way::BOTH {
        let lighton = FakeLightOn::new()
            .finds([passage("a", "Alpha.")])
            .finds([passage("b", "Beta."), passage("a", "Alpha.")]);
        let model = Server::new()
            .then(searches(way, "one"))
            .then(searches(way, "two"))
            .then(says(way, "é [1] and [2], not [7]."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        let said = heard.good();
        assert_eq!(said.rag["mode"], "tool");
        assert_eq!(said.rag["queries"], json!(["one", "two"]));
        assert_eq!(said.rag["sources"][1]["filename"], "b.pdf");
        assert_eq!(said.rag["sources"][1]["index"], 2);
        assert_eq!(
            said.rag["warnings"],
            json!(["the answer cites [7], but there is no such source"])
        );
        let places: Vec<(Value, Value, Value)> = said
            .annotations
            .as_array()
            .unwrap()
            .iter()
            .map(|annotation| {
                let citation = &annotation["url_citation"];
                (
                    citation["start_index"].clone(),
                    citation["end_index"].clone(),
                    citation["source"].clone(),
                )
            })
            .collect();
        assert_eq!(
            places,
            [
                (json!(2), json!(5), json!(1)),
                (json!(10), json!(13), json!(2))
            ]
        );
    }
}

#[tokio::test]
async fn events_tell_of_the_searches_as_they_run() {
    let lighton = finds_policy();
    let model = Server::new()
        .then(calls(
            Way::Streamed,
            [search("c1", "one"), search("c2", "one")],
        ))
        .then(says(Way::Streamed, "Five years [1]."));
    let edge = Edge::start(&lighton, &model).await;

    let heard = edge
        .hear(Way::Streamed, &question(json!({"rag": {"events": true}})))
        .await;

    assert_eq!(heard.good().content, "Five years [1].");
    let events: Vec<&Value> = heard
        .chunks
        .iter()
        .map(|chunk| &chunk["rag"]["event"])
        .filter(|event| !event.is_null())
        .collect();
    let [started, completed] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*started, json!({"type": "search.started", "query": "one"}));
    assert_eq!(
        (&completed["type"], &completed["results"]),
        (&json!("search.completed"), &json!(1))
    );
    assert!(completed["duration_ms"].is_u64());
    for chunk in heard
        .chunks
        .iter()
        .filter(|chunk| !chunk["rag"]["event"].is_null())
    {
        assert_eq!(chunk["choices"][0]["delta"], json!({}));
    }
}

#[tokio::test]
async fn times_of_all_turns_and_searches_are_summed() {
    let lighton = finds_policy();
    let model = Server::new()
        .then(searches(Way::Whole, "one"))
        .then(says(Way::Whole, "Five."))
        .then(searches(Way::Streamed, "two"))
        .then(says(Way::Streamed, "Five."));
    let edge = Edge::start(&lighton, &model).await;

    let whole = edge.hear(Way::Whole, &question(json!({}))).await;
    let streamed = edge.hear(Way::Streamed, &question(json!({}))).await;

    for heard in [&whole, &streamed] {
        let timing = heard.header("server-timing");
        assert!(
            timing.starts_with("search;dur=") && timing.contains(", upstream;dur="),
            "{timing}"
        );
        assert_eq!(heard.header("x-groundwire-mode"), "tool");
        assert_eq!(heard.header("x-groundwire-upstream"), "model");
    }
    let timings = &streamed.said.rag["timings"];
    assert!(
        timings["search_ms"].is_number() && timings["upstream_ms"].is_number(),
        "{timings}"
    );
}

#[tokio::test]
async fn a_search_that_fails_is_an_error_or_told_to_the_model() {
    for way in Way::BOTH {
        let down = || FakeLightOn::new().always(SEARCH, refusal(500, "internal_error", "boom"));
        let settings =
            |policy: &str| format!("[rag]\non_search_error = \"{policy}\"\n[retry]\nattempts = 1");

        let (lighton, model) = (down(), Server::new().then(searches(way, "one")));
        let edge = Edge::with(&lighton, &model, &settings("fail")).await;
        let heard = edge.hear(way, &question(json!({}))).await;
        assert_eq!((heard.status, heard.code()), (502, "search_unavailable"));

        let (lighton, model) = (
            down(),
            Server::new()
                .then(searches(way, "one"))
                .then(says(way, "I cannot look.")),
        );
        let edge = Edge::with(&lighton, &model, &settings("answer")).await;
        let heard = edge.hear(way, &question(json!({}))).await;
        assert_eq!(heard.good().content, "I cannot look.");
        assert!(
            heard.said.rag["warnings"][0]
                .as_str()
                .unwrap()
                .contains("search failed")
        );
        let told = model.requests()[1].json()["messages"][2]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(told.starts_with("The search failed."), "{told}");
    }
}

#[tokio::test]
async fn the_text_of_every_turn_is_part_of_the_answer() {
    for way in Way::BOTH {
        let mut call = search("c1", "one");
        let first = match way {
            Way::Whole => crate::turns::whole(
                json!({"role": "assistant", "content": "Let me look. ", "tool_calls": [call]}),
                "tool_calls",
            ),
            Way::Streamed => {
                call["index"] = json!(0);
                streamed(
                    vec![
                        json!({"role": "assistant", "content": "Let me "}),
                        json!({"content": "look. "}),
                        json!({"tool_calls": [call]}),
                    ],
                    "tool_calls",
                )
            }
        };
        let lighton = FakeLightOn::new().then(found([passage("a", "Alpha.")]));
        let model = Server::new().then(first).then(says(way, "Alpha [1]."));
        let edge = Edge::start(&lighton, &model).await;

        let heard = edge.hear(way, &question(json!({}))).await;

        let said = heard.good();
        assert_eq!(said.content, "Let me look. Alpha [1].");
        assert_eq!(said.annotations[0]["url_citation"]["start_index"], 19);
    }
}

#[tokio::test]
async fn a_turn_without_usage_is_counted_as_far_as_it_is_known() {
    let body = |message: Value, finish: &str, usage: Value| {
        Reply::json(
            json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m-2026", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}),
        )
    };
    let lighton = finds_policy();
    let model = Server::new()
        .then(body(
            json!({"role": "assistant", "tool_calls": [search("c1", "one")]}),
            "tool_calls",
            usage(),
        ))
        .then(body(
            json!({"role": "assistant", "content": "Five."}),
            "stop",
            Value::Null,
        ));
    let edge = Edge::start(&lighton, &model).await;

    assert_eq!(
        edge.hear(Way::Whole, &question(json!({})))
            .await
            .good()
            .usage,
        usage()
    );
}
