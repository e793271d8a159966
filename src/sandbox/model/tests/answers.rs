//! Answers, whole and streamed.

use std::collections::HashSet;

use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn a_whole_answer_cites_its_passages_and_counts_its_tokens() {
    let service = Service::start().await;

    let body = service
        .chat(&ask("sandbox-extractive", "How long are backups kept?"))
        .await;

    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "sandbox-extractive");
    let content = body["choices"][0]["message"]["content"]
        .as_str()
        .expect("content");
    assert!(
        content.contains("Backups are kept for 35 days. [2]"),
        "{content}"
    );
    assert_eq!(
        body["usage"]["completion_tokens"],
        content.split_whitespace().count()
    );
    let prompt = CONTEXT.split_whitespace().count() + 5;
    assert_eq!(body["usage"]["prompt_tokens"], prompt);
    assert_eq!(
        body["usage"]["total_tokens"],
        prompt + content.split_whitespace().count()
    );
}

#[tokio::test]
async fn streamed_and_whole_answers_are_the_same_under_any_limit() {
    let service = Service::start().await;
    let tools = json!({"tools": [search_tool()], "messages": [{"role": "user", "content": "How long are backups kept?"}]});
    for model in Model::ALL {
        let plain = ask(model.id(), "How long are backups kept?");
        for request in [plain.clone(), with(plain, &tools)] {
            for limit in [
                json!({}),
                json!({"max_tokens": 1}),
                json!({"max_completion_tokens": 7}),
                json!({"max_tokens": 60}),
                json!({"stop": ["kept"]}),
                json!({"n": 2}),
            ] {
                let request = with(request.clone(), &limit);
                let (whole, streamed) = (
                    service.chat(&request).await,
                    service.stream("/v1/chat/completions", &request).await,
                );

                for index in 0..whole["choices"].as_array().expect("choices").len() {
                    assert_eq!(
                        gathered(&streamed, index as u64),
                        whole_choice(&whole, index),
                        "{request}"
                    );
                }
                let most = limit["max_tokens"]
                    .as_u64()
                    .or_else(|| limit["max_completion_tokens"].as_u64())
                    .unwrap_or(u64::MAX);
                assert!(
                    whole["usage"]["completion_tokens"]
                        .as_u64()
                        .expect("a number")
                        <= most,
                    "{whole}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_stream_names_the_role_first_sends_each_word_alone_and_tells_usage_only_when_asked() {
    let service = Service::start().await;
    let request = ask("sandbox-extractive", "How long are backups kept?");

    let plain = service.stream("/v1/chat/completions", &request).await;
    let told = service
        .stream(
            "/v1/chat/completions",
            &with(request, &json!({"stream_options": {"include_usage": true}})),
        )
        .await;

    assert_eq!(
        plain[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert!(plain.iter().all(|chunk| {
        chunk.get("usage").is_none()
            && chunk["choices"]
                .as_array()
                .is_some_and(|choices| choices.len() == 1)
    }));
    assert!(plain.iter().all(|chunk| {
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace()
            .count()
            <= 1
    }));
    assert!(plain.len() > 6);
    let (last, others) = told.split_last().expect("chunks");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], others.len() - 2);
    assert!(
        others
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some())
    );
    assert_eq!(
        told.iter()
            .map(|chunk| (&chunk["id"], &chunk["created"], &chunk["object"]))
            .map(|part| format!("{part:?}"))
            .collect::<HashSet<_>>()
            .len(),
        1
    );
}

#[tokio::test]
async fn events_leave_whole_and_one_by_one() {
    let events = [&b"data: 1\n\n"[..], b"data: 2\n\n"].map(Bytes::from_static);
    let mut body = stream::respond(events.to_vec()).into_body();

    for event in events {
        let mut frame = std::pin::pin!(body.frame());
        // The server writes out what it has whenever the body has nothing more at once.
        assert!(futures_util::poll!(&mut frame).is_pending());
        let sent = frame
            .await
            .expect("an event")
            .expect("no failure")
            .into_data();
        assert_eq!(sent.expect("data"), event);
    }
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_reasoner_spends_tokens_on_its_thoughts_and_may_run_out() {
    let service = Service::start().await;
    let request = ask("sandbox-reasoner", "How long are backups kept?");

    let whole = service.chat(&request).await;
    let short = service
        .chat(&with(request, &json!({"max_tokens": 3})))
        .await;

    let thoughts = whole["choices"][0]["message"]["reasoning"]
        .as_str()
        .expect("reasoning");
    assert_eq!(
        whole["usage"]["completion_tokens_details"]["reasoning_tokens"],
        thoughts.split_whitespace().count()
    );
    assert!(
        whole["choices"][0]["message"]["content"]
            .as_str()
            .is_some_and(|content| content.contains("35 days"))
    );
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(
        short["usage"]["completion_tokens_details"]["reasoning_tokens"],
        3
    );
}

#[tokio::test]
async fn the_loop_of_the_guides_comes_to_an_answer() {
    let service = Service::start().await;
    let mut messages = vec![json!({"role": "user", "content": "How long are backups kept?"})];

    let first = service
        .chat(
            &json!({"model": "sandbox-extractive", "tools": [search_tool()], "messages": messages}),
        )
        .await;
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    let message = first["choices"][0]["message"].clone();
    assert_eq!(message["content"], Value::Null);
    let call = &message["tool_calls"][0];
    assert_eq!(
        parse(call["function"]["arguments"].as_str().expect("a text")),
        json!({"query": "How long are backups kept?"})
    );
    messages.extend([message.clone(), json!({"role": "tool", "tool_call_id": call["id"], "content": "[data.md, p.1]\nBackups are kept for 35 days."})]);
    let second = service
        .chat(
            &json!({"model": "sandbox-extractive", "tools": [search_tool()], "messages": messages}),
        )
        .await;

    assert_eq!(
        second["choices"][0]["message"]["content"],
        "Backups are kept for 35 days."
    );
    assert_eq!(second["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn calls_of_parallel_answers_have_ids_of_their_own() {
    let service = Service::start().await;
    let request = json!({"model": "sandbox-parallel-search", "n": 3, "tools": [search_tool()], "messages": [{"role": "user", "content": "How long are backups kept?"}]});

    let body = service.chat(&request).await;

    let calls: Vec<&Value> = body["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .flat_map(|choice| choice["message"]["tool_calls"].as_array().expect("calls"))
        .collect();
    assert!(calls.len() >= 6);
    assert_eq!(
        calls
            .iter()
            .map(|call| call["id"].as_str())
            .collect::<HashSet<_>>()
            .len(),
        calls.len()
    );
}

#[tokio::test]
async fn a_legacy_completion_answers_each_prompt_whole_and_streamed() {
    let service = Service::start().await;
    let prompt = format!("{CONTEXT}\n\nHow long are backups kept?");
    let request =
        json!({"model": "sandbox-extractive", "prompt": [prompt, "Hello"], "max_tokens": 6});

    let response = service.post("/v1/completions", &request).await;
    let whole = parse(&response.text().await.expect("a body"));
    let streamed = service.stream("/v1/completions", &request).await;

    assert_eq!(whole["object"], "text_completion");
    assert!(
        whole["choices"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("kept for")),
        "{whole}"
    );
    assert_eq!(whole["choices"][1]["finish_reason"], "length");
    for index in 0..2 {
        let text: String = streamed
            .iter()
            .flat_map(|chunk| chunk["choices"].as_array().expect("choices"))
            .filter(|choice| choice["index"] == index)
            .filter_map(|choice| choice["text"].as_str())
            .collect();
        assert_eq!(whole["choices"][index]["text"], text);
    }
    let numbers = service
        .post(
            "/v1/completions",
            &json!({"model": "sandbox-extractive", "prompt": [1, 2, 3], "echo": true}),
        )
        .await;
    assert_eq!(
        parse(&numbers.text().await.expect("a body"))["usage"]["prompt_tokens"],
        3
    );
}
