//! Citations: markers in the answer become annotations, whole and streamed.

use serde_json::{Value, json};
use url::Url;

use crate::{
    grounded::{streamed, whole},
    passage, question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, result},
        reply::sse,
        server::Server,
        upstream::{chunk, chunk_of, says, speaks},
    },
};

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
