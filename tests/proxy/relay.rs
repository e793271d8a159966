//! Mode `off`: whole events and whole bodies pass byte for byte.

use serde_json::json;

use crate::{
    question,
    support::{
        answer::{Answer, Streamed},
        gateway::Gateway,
        lighton::FakeLightOn,
        reply::Reply,
        server::Server,
        upstream::{chunk, finish, refuses, usage},
    },
};

const OFF: &str = "rag.mode = \"off\"\n[retry]\nattempts = 1\n";

/// What a client gets of a stream with these bytes, mode off.
async fn relayed(bytes: impl Into<Vec<u8>>) -> Streamed {
    relayed_reply(Reply::stream("text/event-stream").piece(bytes)).await
}

async fn relayed_reply(reply: Reply) -> Streamed {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;
    gateway.stream(&question(json!({"stream": true}))).await
}

#[tokio::test]
async fn a_whole_body_passes_byte_for_byte() {
    for body in [
        "\n { \"choices\" : [ ] ,\t\"x\": 1.10e+2, \"big\": 123456789012345678901234567890, \"é\": \"\\u00e9\" } \n",
        r#"{"error":null,"choices":[{"finish_reason":"stop","message":{"content":null,"annotations":[{"type":"url_citation"}]}}]}"#,
    ] {
        let lighton = FakeLightOn::new();
        let upstream = Server::new().then(Reply::body("application/json; charset=utf-8", body));
        let gateway = Gateway::start(&lighton, &upstream, OFF).await;

        let answer = gateway.ask(&question(json!({}))).await;

        assert_eq!((answer.status, answer.text()), (200, body));
    }
}

#[tokio::test]
async fn a_request_passes_byte_for_byte_but_for_the_model_and_rag() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new()
        .then(Reply::json(json!({})))
        .then(Reply::json(json!({})));
    let text = "[models.handbook]\nupstream = \"model\"\nmodel = \"org/m\"\n";
    let gateway = Gateway::start(&lighton, &upstream, text).await;

    let bare = "{\n  \"model\" : \"m\",\n  \"messages\":[ {\"role\":\"user\", \"content\":\"h\\u0069 [1]\"} ], \"n\" :1, \"t\": 1e-7\n}\n";
    gateway
        .post(bare)
        .header("x-rag-mode", "off")
        .send()
        .await
        .unwrap();
    let full = "{ \"rag\": {\"mode\": \"off\"},\n \"messages\":[ {\"role\":\"user\"} ], \"model\" :\"handbook\" ,\"seed\": 18446744073709551616 }";
    gateway.post(full).send().await.unwrap();

    let sent: Vec<String> = upstream
        .requests()
        .into_iter()
        .map(|request| String::from_utf8(request.body).unwrap())
        .collect();
    assert_eq!(sent[0], bare);
    assert_eq!(
        sent[1],
        "{\n \"messages\":[ {\"role\":\"user\"} ], \"model\" :\"org/m\" ,\"seed\": 18446744073709551616 }"
    );
}

#[tokio::test]
async fn only_listed_headers_cross_in_either_direction() {
    let lighton = FakeLightOn::new();
    let reply = Reply::json(json!({}))
        .header("x-request-id", "up")
        .header("openai-processing-ms", 3)
        .header("x-internal", "v")
        .header("retry-after", 1);
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;
    let request = gateway
        .chat(&question(json!({})))
        .header("x-request-id", "mine-1")
        .header("cookie", "a=b")
        .header("traceparent", "00-1-2-3")
        .header("x-rag-mode", "off");

    let answer = Answer::of(request).await;

    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    assert_eq!(answer.header("x-upstream-request-id"), Some("up"));
    assert_eq!(answer.header("openai-processing-ms"), Some("3"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-internal"), None);
    let sent = upstream.request();
    assert_eq!(sent.header("traceparent"), Some("00-1-2-3"));
    assert_eq!(sent.header("accept-encoding"), Some("identity"));
    for name in ["cookie", "x-rag-mode", "api-key", "x-forwarded-for"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn an_insane_request_id_is_replaced() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new();
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;
    for id in ["", "a b", "<script>", &"x".repeat(200)] {
        let answer = Answer::of(
            gateway
                .request(reqwest::Method::GET, "/healthz")
                .header("x-request-id", id),
        )
        .await;
        let given = answer.header("x-request-id").unwrap();
        assert!(given.starts_with("req_") && given.len() > 20, "{given}");
    }
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte() {
    let first = chunk("Fünf 🗄️");
    let last = finish("stop");
    for bytes in [
        format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n"),
        format!("data:{first}\r\n\r\ndata:{last}\r\n\r\ndata:[DONE]\r\n\r\n"),
        format!("data: {first}\r\rdata: {last}\r\rdata: [DONE]\r\r"),
        format!(": OPENROUTER PROCESSING\n\n:\n\n: a\n: b\ndata: {first}\n: c\n\n: ping\r\n\r\ndata: {last}\n\n: bye\ndata: [DONE]\n\n"),
        "data: {\"choices\":\ndata:  [ {\"index\":0,\ndata:\"delta\":{\"content\":\"a\"},  \"finish_reason\" : \"stop\"}]}\n\ndata:  [DONE] \n\n".to_owned(),
        format!("data: {first}\n\ndata: {last}\n\ndata: {}\n\ndata: [DONE]\n\n", usage()),
        // What is no JSON after the first event is the client's to judge, as without a gateway.
        format!("data: {first}\n\ndata: {{\"a\":1}}{{\"b\":2}}\n\ndata: {last}\n\ndata: [DONE]\n\n"),
        // No [DONE] is added, no chunk, no rag.
        format!("data: {first}\n\ndata: {last}\n\n"),
        format!("data: {first}\n\ndata: [DONE]\n\n"),
    ] {
        assert_eq!(relayed(bytes.clone()).await.text(), bytes);
    }
}

#[tokio::test]
async fn the_cuts_of_the_network_do_not_matter() {
    let bytes = format!(
        "data: {}\r\n\r\n: ping\r\n\r\ndata: {}\r\n\r\ndata: [DONE]\r\n\r\n",
        chunk("Fünf 🗄️"),
        finish("stop")
    );
    let mut reply = Reply::stream("text/event-stream");
    for byte in bytes.bytes() {
        reply = reply.piece([byte]);
    }
    assert_eq!(relayed_reply(reply).await.text(), bytes);
}

#[tokio::test]
async fn a_stream_is_known_whatever_its_content_type_says() {
    let bytes = format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        chunk("a"),
        finish("stop")
    );
    for kind in [
        "application/json",
        "text/plain",
        "text/event-stream;charset=UTF-8",
    ] {
        assert_eq!(
            relayed_reply(Reply::stream(kind).piece(bytes.clone()))
                .await
                .text(),
            bytes,
            "{kind}"
        );
    }
    let marked = [b"\xEF\xBB\xBF", bytes.as_bytes()].concat();
    assert_eq!(
        relayed(marked).await.text(),
        bytes,
        "a byte-order mark makes clients lose the first event"
    );
}

#[tokio::test]
async fn what_breaks_clients_is_left_out_and_nothing_else() {
    let (first, last) = (chunk("a"), finish("stop"));
    for (bytes, expected) in [
        (
            format!("id: 1\nevent: message\nretry: 3000\ndata: {first}\n\n"),
            format!("data: {first}\n\n"),
        ),
        (
            format!("data: {first}\nid: 2\n\n"),
            format!("data: {first}\n\n"),
        ),
        (
            format!("data:\n\ndata: {first}\n\ndata: \n\nevent: ping\n\nretry: 5\n\nid\n\n"),
            format!("data: {first}\n\n"),
        ),
        (
            format!(": a\nid: 3\ndata: {first}\n\n"),
            format!(": a\ndata: {first}\n\n"),
        ),
    ] {
        let end = format!("data: {last}\n\ndata: [DONE]\n\n");
        let answer = relayed(format!("{bytes}{end}")).await;
        assert_eq!(answer.text(), format!("{expected}{end}"), "{bytes:?}");
    }
}

#[tokio::test]
async fn the_last_event_of_a_stream_need_not_have_its_blank_line() {
    let (first, last) = (chunk("a"), finish("stop"));
    for end in ["", "\n"] {
        let answer = relayed(format!(
            "data: {first}\n\ndata: {last}\n\ndata: [DONE]{end}"
        ))
        .await;
        assert_eq!(
            answer.text(),
            format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n")
        );
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_the_closing_error() {
    for event in [
        json!({"error": {"message": "out of memory", "type": "upstream_error", "param": null, "code": "oom"}}),
        json!({"id": "x", "error": {"message": "out of memory", "type": "upstream_error", "param": null, "code": "oom"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
        json!({"object": "error", "message": "out of memory", "type": "upstream_error", "code": "oom"}),
    ] {
        let first = chunk("a");
        let answer = relayed(format!(
            "data: {first}\n\ndata: {event}\n\ndata: [DONE]\n\n"
        ))
        .await;
        let error = answer.closing_error("upstream_error", "oom");
        assert_eq!(error["message"], "out of memory");
        assert_eq!(answer.chunks()[0], first);
        assert_eq!(answer.chunks()[1]["id"], first["id"]);
    }
}

#[tokio::test]
async fn an_error_answer_is_normalised() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new()
        .then(refuses(400, "too long"))
        .then(Reply::json(json!({"detail": "too long"})).with_status(422));
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;

    let own = gateway.ask(&question(json!({"stream": true}))).await;
    let other = gateway.ask(&question(json!({}))).await;

    let error = own.error(400, "invalid_request_error", "context_length_exceeded");
    assert_eq!(
        (&error["message"], &error["param"]),
        (&json!("too long"), &json!("messages"))
    );
    other.error(422, "invalid_request_error", "upstream_error");
}

#[tokio::test]
async fn the_head_names_the_road() {
    let lighton = FakeLightOn::new();
    let upstream = Server::new().then(
        Reply::stream("text/event-stream")
            .header("x-request-id", "up")
            .piece(format!("data: {}\n\n", finish("stop"))),
    );
    let gateway = Gateway::start(&lighton, &upstream, OFF).await;

    let answer = gateway.stream(&question(json!({"stream": true}))).await;

    for (name, value) in [
        ("x-groundwire-mode", "off"),
        ("x-groundwire-upstream", "model"),
        ("x-groundwire-model", "m"),
        ("x-upstream-request-id", "up"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    assert!(
        answer
            .header("server-timing")
            .unwrap()
            .starts_with("upstream;dur=")
    );
}
