//! Mode `inject`: what the answer gains, whole and streamed.

use serde_json::{Value, json};
use url::Url;

use crate::{
    QUESTION, passage, question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::{Reply, sse},
        server::Server,
        upstream::{MODEL, chunk, chunk_of, completion, finish, says, speaks, usage},
    },
};

/// The whole answer to a question when search found `results` and the upstream replies `reply`.
async fn whole(settings: &str, results: Vec<Value>, reply: Reply, more: Value) -> Value {
    let lighton = FakeLightOn::new().finds(results);
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&lighton, &upstream, settings).await;
    gateway.ask(&question(more)).await.json()
}

/// The chunks of the same, streamed.
async fn streamed(results: Vec<Value>, reply: Reply, more: Value) -> Vec<Value> {
    let lighton = FakeLightOn::new().finds(results);
    let upstream = Server::new().then(reply);
    let gateway = Gateway::start(&lighton, &upstream, "").await;
    let mut body = question(more);
    body["stream"] = json!(true);
    let answer = gateway.stream(&body).await;
    assert!(answer.is_done(), "{}", answer.text());
    answer.chunks()
}

/// What `[start, end)` of `content` holds, counted in Unicode scalar values.
fn part(content: &str, citation: &Value) -> String {
    let at = |key: &str| usize::try_from(citation[key].as_u64().unwrap()).unwrap();
    let (start, end) = (at("start_index"), at("end_index"));
    content.chars().skip(start).take(end - start).collect()
}

fn annotations(annotations: &Value) -> Vec<&Value> {
    let items = annotations.as_array().unwrap().iter();
    items
        .map(|annotation| {
            assert_eq!(annotation["type"], "url_citation");
            assert_eq!(annotation.as_object().unwrap().len(), 2);
            &annotation["url_citation"]
        })
        .collect()
}

#[tokio::test]
async fn the_answer_is_the_upstreams_with_rag_beside_it() {
    let mut reply = completion("Five years [1].");
    reply["choices"][0]["message"]["reasoning_content"] = json!("hm [9]");
    reply["system_fingerprint"] = json!("fp");
    let lighton = FakeLightOn::new().finds([result("Five years.")]);
    let upstream = Server::new().then(
        Reply::json(reply.clone())
            .header("x-request-id", "up-1")
            .header("x-ratelimit-remaining-requests", 9)
            .header("set-cookie", "a=b")
            .header("server", "vllm"),
    );
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await;

    let mut body = answer.json();
    let rag = body.as_object_mut().unwrap().remove("rag").unwrap();
    let given = body["choices"][0]["message"].as_object_mut().unwrap();
    assert!(given.remove("annotations").is_some());
    assert_eq!(body, reply);
    let tokens = rag["usage"]["passage_tokens"].as_u64().unwrap();
    assert!((1..40).contains(&tokens), "{tokens}");
    assert_eq!(
        rag,
        json!({
            "mode": "inject",
            "queries": [QUESTION],
            "sources": [{
                "index": 1, "label": "[1]", "filename": "policy.pdf", "page_start": 3, "page_end": 4, "title": "Data policy",
                "file_id": 512, "chunk_id": "550e8400-e29b-41d4-a716-446655440000", "workspace_id": 42, "score": 0.95,
                "content": "Five years.",
            }],
            "dropped": [],
            "usage": {"searches": 1, "cached": 0, "passage_tokens": tokens},
            "warnings": [],
        })
    );
    assert_eq!(answer.header("x-groundwire-mode"), Some("inject"));
    assert_eq!(answer.header("x-groundwire-upstream"), Some("model"));
    assert_eq!(answer.header("x-groundwire-model"), Some("m"));
    assert_eq!(answer.header("x-upstream-request-id"), Some("up-1"));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("9"));
    assert_eq!(answer.header("set-cookie"), None);
    assert_ne!(answer.header("server"), Some("vllm"));
    let timing = answer.header("server-timing").unwrap();
    let durations: Vec<f64> = timing
        .split(", ")
        .map(|entry| entry.split_once(";dur=").unwrap().1.parse().unwrap())
        .collect();
    assert!(
        timing.starts_with("search;dur=")
            && timing.contains(", upstream;dur=")
            && durations.len() == 2,
        "{timing}"
    );
}

#[tokio::test]
async fn sources_tell_as_much_as_the_operator_wants() {
    for (mode, text, count) in [
        ("full", true, 1),
        ("reference", false, 1),
        ("none", false, 0),
    ] {
        let settings = format!("rag.sources = \"{mode}\"");
        let answer = whole(&settings, vec![result("Five years.")], says("x"), json!({})).await;
        let sources = answer["rag"]["sources"].as_array().unwrap();
        assert_eq!(sources.len(), count, "{mode}");
        assert_eq!(
            sources.iter().any(|source| source.get("content").is_some()),
            text,
            "{mode}"
        );
        assert!(
            sources
                .iter()
                .all(|source| source["filename"] == "policy.pdf"),
            "{mode}"
        );
    }
}

#[tokio::test]
async fn each_marker_becomes_an_annotation_counted_in_scalar_values() {
    let content = "Données : cinq ans 🗄️[1][2]. `x[1]` [a](b) Ça, puis [1, 2].";
    let found = vec![result("Five years."), passage("old", "Then deleted.")];

    let answer = whole("", found, says(content), json!({})).await;

    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], content);
    let cited = annotations(&message["annotations"]);
    let told: Vec<(String, u64, &str)> = cited
        .iter()
        .map(|citation| {
            (
                part(content, citation),
                citation["source"].as_u64().unwrap(),
                citation["title"].as_str().unwrap(),
            )
        })
        .collect();
    let (one, two) = ("policy.pdf, p.3", "old.pdf, p.3");
    let expected = [
        ("[1]", 1, one),
        ("[2]", 2, two),
        ("[1, 2]", 1, one),
        ("[1, 2]", 2, two),
    ];
    assert_eq!(
        told,
        expected.map(|(text, source, title)| (text.to_owned(), source, title))
    );
    let first = cited[0].as_object().unwrap();
    let keys: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "start_index",
            "end_index",
            "title",
            "url",
            "file_id",
            "filename",
            "page",
            "source"
        ]
    );
    assert_eq!(
        (&first["file_id"], &first["filename"], &first["page"]),
        (&json!("512"), &json!("policy.pdf"), &json!(3))
    );
}

#[tokio::test]
async fn a_streamed_answer_is_annotated_once_on_its_finish() {
    let found = vec![result("Five years."), passage("old", "Then deleted.")];
    // The markers are cut in two, as a model's tokens cut them.
    let reply = sse([
        chunk_of(
            json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}),
        ),
        chunk_of(json!({"index": 0, "delta": {"reasoning": "see [2]"}, "finish_reason": null})),
        chunk("Ça dure cinq ans 🗄️["),
        chunk("1"),
        chunk("]."),
        chunk_of(json!({"index": 0, "delta": {"content": " Puis [7]."}, "finish_reason": "stop"})),
    ]);

    let chunks = streamed(found, reply, json!({})).await;

    let (last, before) = chunks.split_last().unwrap();
    assert!(
        before
            .iter()
            .all(|chunk| chunk["choices"][0]["delta"].get("annotations").is_none())
    );
    let content = "Ça dure cinq ans 🗄️[1]. Puis [7].";
    let delta = &last["choices"][0]["delta"];
    assert_eq!(delta["content"], " Puis [7].");
    let cited = annotations(&delta["annotations"]);
    assert_eq!(cited.len(), 1);
    assert_eq!(
        (part(content, cited[0]), &cited[0]["source"]),
        ("[1]".to_owned(), &json!(1))
    );
    let warnings = last["rag"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].as_str().unwrap().contains("[7]"));
}

#[tokio::test]
async fn each_choice_has_annotations_of_its_own() {
    let of = |index: u32, content: &str, reason: Option<&str>| {
        chunk_of(json!({"index": index, "delta": {"content": content}, "finish_reason": reason}))
    };
    let reply = sse([
        of(0, "a [1]", None),
        of(1, "bcd [2]", None),
        of(1, "", Some("stop")),
        of(0, " [2]", Some("stop")),
    ]);
    let found = vec![result("Five years."), passage("old", "Then deleted.")];

    let chunks = streamed(found, reply, json!({"n": 2})).await;

    let told = |chunk: &Value| {
        let choice = &chunk["choices"][0];
        let cited = annotations(&choice["delta"]["annotations"]);
        cited
            .iter()
            .map(|citation| {
                (
                    citation["start_index"].as_u64().unwrap(),
                    citation["source"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&chunks[2]), [(4, 2)]);
    assert_eq!(told(&chunks[3]), [(2, 1), (6, 2)]);
}

#[tokio::test]
async fn a_marker_that_names_no_source_is_told_and_not_annotated() {
    let answer = whole(
        "",
        vec![result("Five years.")],
        says("Five [2], really [2] [1]."),
        json!({}),
    )
    .await;

    let cited = annotations(&answer["choices"][0]["message"]["annotations"]);
    assert_eq!(cited.len(), 1);
    let warnings = answer["rag"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].as_str().unwrap().contains("[2]"),
        "{}",
        warnings[0]
    );
}

#[tokio::test]
async fn without_citations_nothing_is_annotated() {
    let more = json!({"rag": {"citations": false}});
    let answer = whole(
        "",
        vec![result("Five years.")],
        says("Five [1]."),
        more.clone(),
    )
    .await;
    assert_eq!(
        answer["choices"][0]["message"],
        json!({"role": "assistant", "content": "Five [1]."})
    );

    let chunks = streamed(vec![result("Five years.")], speaks(["Five [1]."]), more).await;
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["choices"][0]["delta"].get("annotations").is_none())
    );
}

#[tokio::test]
async fn a_document_with_an_address_of_its_own_is_cited_by_it() {
    let mut known = result("Five years.");
    known["source"]["external_metadata"] = json!({"external_url": "https://drive.example/policy"});
    let mut hostile = passage("old", "Then deleted.");
    hostile["source"]["external_metadata"] = json!({"external_url": "javascript:alert(1)"});

    let settings = "public_url = \"https://gateway.example/\"";
    let answer = whole(settings, vec![known, hostile], says("[1] [2]"), json!({})).await;

    let cited = annotations(&answer["choices"][0]["message"]["annotations"]);
    assert_eq!(cited[0]["url"], "https://drive.example/policy");
    let link = Url::parse(cited[1]["url"].as_str().unwrap()).unwrap();
    assert_eq!(
        (link.scheme(), link.host_str(), link.path(), link.fragment()),
        (
            "https",
            Some("gateway.example"),
            "/sources/512",
            Some("page=3")
        )
    );
    let keys: Vec<String> = link
        .query_pairs()
        .map(|(key, _)| key.into_owned())
        .collect();
    assert_eq!(keys, ["expires", "signature"]);
}

#[tokio::test]
async fn without_a_public_url_links_name_the_requests_own_host() {
    let lighton = FakeLightOn::new().finds([result("x")]).finds([result("x")]);
    let upstream = Server::new().then(says("[1]")).then(says("[1]"));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let plain = gateway.ask(&question(json!({}))).await.json();
    let named = gateway
        .chat(&question(json!({})))
        .header("host", "rag.example:8443")
        .header("x-forwarded-proto", "https");
    let named = crate::support::answer::Answer::of(named).await.json();

    let url = |answer: &Value| {
        let cited = &answer["choices"][0]["message"]["annotations"][0]["url_citation"];
        cited["url"].as_str().unwrap().to_owned()
    };
    assert!(
        url(&plain).starts_with(&gateway.url("/sources/512?")),
        "{}",
        url(&plain)
    );
    assert!(
        url(&named).starts_with("https://rag.example:8443/sources/512?"),
        "{}",
        url(&named)
    );
}

#[tokio::test]
async fn rag_rides_on_the_first_chunk_with_a_choice_and_on_the_finish() {
    // Azure's preamble: a chunk without a choice, and no identity to adopt.
    let preamble = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": []});
    let reply = sse([
        preamble.clone(),
        chunk("Five"),
        chunk(" years"),
        finish("stop"),
    ]);

    let chunks = streamed(vec![result("Five years.")], reply, json!({})).await;

    assert_eq!(chunks.len(), 4, "no chunk is added");
    assert_eq!(chunks[0], preamble);
    let rag = &chunks[1]["rag"];
    assert_eq!(rag["sources"][0]["content"], "Five years.");
    let keys: Vec<&String> = rag.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["mode", "queries", "sources", "dropped", "usage", "warnings"]
    );
    assert_eq!(chunks[2], chunk(" years"));
    let late: Vec<&String> = chunks[3]["rag"].as_object().unwrap().keys().collect();
    assert_eq!(late, ["timings"]);
    assert!(chunks[3]["rag"]["timings"]["search_ms"].is_number());
    assert!(
        chunks[1..]
            .iter()
            .all(|chunk| chunk["id"] == "chatcmpl-up" && chunk["model"] == MODEL)
    );
}

#[tokio::test]
async fn an_answer_of_one_chunk_carries_all_of_rag() {
    let reply = sse([chunk_of(
        json!({"index": 0, "delta": {"content": "Five [1] [3]"}, "finish_reason": "stop"}),
    )]);

    let chunks = streamed(vec![result("Five years.")], reply, json!({})).await;

    assert_eq!(chunks.len(), 1);
    let rag = &chunks[0]["rag"];
    assert_eq!(rag["sources"][0]["index"], 1);
    assert!(rag["warnings"][0].as_str().unwrap().contains("[3]"));
    assert!(rag["timings"]["upstream_ms"].is_number());
}

#[tokio::test]
async fn the_usage_chunk_passes_exactly_when_it_was_asked_for() {
    for (more, passes) in [
        (json!({"stream_options": {"include_usage": true}}), true),
        (json!({"stream_options": {"include_usage": false}}), false),
        (json!({}), false),
    ] {
        let reply = sse([chunk("Five"), finish("stop"), usage()]);
        let chunks = streamed(vec![result("x")], reply, more.clone()).await;
        assert_eq!(chunks.last() == Some(&usage()), passes, "{more}");
        assert_eq!(chunks.len(), if passes { 3 } else { 2 }, "{more}");
    }
}

#[tokio::test]
async fn the_gateway_asks_for_no_usage_of_its_own() {
    let lighton = FakeLightOn::new().finds([]);
    let upstream = Server::new().then(speaks(["x"]));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    gateway.stream(&question(json!({"stream": true}))).await;

    assert_eq!(upstream.request().json().get("stream_options"), None);
}

#[tokio::test]
async fn an_answer_that_ran_out_of_tokens_while_thinking_is_explained() {
    let mut reply = completion("");
    reply["choices"][0]["message"] =
        json!({"role": "assistant", "content": null, "reasoning": "hm"});
    reply["choices"][0]["finish_reason"] = json!("length");
    let answer = whole("", vec![result("x")], Reply::json(reply), json!({})).await;
    assert!(
        answer["rag"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("max_tokens")
    );
    assert_eq!(answer["choices"][0]["message"]["reasoning"], "hm");

    let thinks = || {
        chunk_of(json!({"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": null}))
    };
    let chunks = streamed(
        vec![result("x")],
        sse([thinks(), finish("length")]),
        json!({}),
    )
    .await;
    assert_eq!(chunks[0]["choices"], thinks()["choices"]);
    assert!(
        chunks[1]["rag"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("max_tokens")
    );

    let chunks = streamed(
        vec![result("x")],
        sse([thinks(), chunk("Five"), finish("length")]),
        json!({}),
    )
    .await;
    assert_eq!(chunks[2]["rag"].get("warnings"), None);
}

#[tokio::test]
async fn events_tell_of_the_search_in_chunks_with_a_choice() {
    let reply = sse([chunk("Five"), finish("stop")]);

    let chunks = streamed(
        vec![result("Five years.")],
        reply,
        json!({"rag": {"events": true}}),
    )
    .await;

    let events: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["rag"].get("event"))
        .collect();
    assert_eq!(
        events[0],
        &json!({"type": "search.started", "query": QUESTION})
    );
    assert_eq!(
        (&events[1]["type"], &events[1]["results"]),
        (&json!("search.completed"), &json!(1))
    );
    assert!(events[1]["duration_ms"].is_u64());
    assert_eq!(events.len(), 2);
    for chunk in &chunks[..2] {
        assert_eq!(chunk["choices"][0]["delta"], json!({}));
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
    assert_eq!(chunks[2]["rag"]["sources"][0]["index"], 1);
    for key in ["id", "created", "model", "object"] {
        assert!(
            chunks.iter().all(|chunk| chunk[key] == chunks[0][key]),
            "one {key} for the whole stream"
        );
    }
    let late = &chunks[3]["rag"];
    assert_eq!(
        (&late["upstream"], &late["model"]),
        (&json!("model"), &json!("m"))
    );
}

#[tokio::test]
async fn warnings_of_search_reach_the_client() {
    let reply = Reply::json(
        json!({"results": [], "warnings": [{"code": "reranking_unavailable", "reason": "timeout"}]}),
    );
    let lighton = FakeLightOn::new().then(reply);
    let upstream = Server::new().then(says("x"));
    let gateway = Gateway::start(&lighton, &upstream, "").await;

    let answer = gateway.ask(&question(json!({}))).await.json();

    assert_eq!(
        answer["rag"]["warnings"],
        json!(["reranking_unavailable: timeout"])
    );
}
