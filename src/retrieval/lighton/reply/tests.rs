use proptest::{prelude::*, strategy::Union};
use serde::{Deserialize, Deserializer};

use super::*;

#[test]
fn only_an_object_with_a_list_of_results_is_an_answer() {
    for body in [
        "",
        "null",
        "[]",
        "[[], []]",
        "{}",
        r#"{"results": 1}"#,
        r#"{"results": []"#,
        r#"{"results": [], "\ud800": 1}"#,
        "<html>",
    ] {
        assert_eq!(read(body.as_bytes()), None, "{body}");
    }
    assert_eq!(read(b"{\"results\": [\"\xff\"]}"), None);
    assert_eq!(read(br#"{"results": []}"#), Some(SearchReply::default()));
    assert_eq!(
        read(b"\xef\xbb\xbf{\"results\": []}"),
        Some(SearchReply::default())
    );
}

#[test]
fn of_two_lists_the_later_one_counts() {
    let reply = |body: &str| read(body.as_bytes()).map(|reply| reply.dropped);
    assert_eq!(reply(r#"{"results": [1], "results": [1, 2]}"#), Some(2));
    assert_eq!(reply(r#"{"results": 1, "r\u0065sults": []}"#), Some(0));
    assert_eq!(reply(r#"{"results": [], "results": 1}"#), None);
}

#[test]
fn a_number_beyond_every_float_or_a_deep_nest_costs_its_result_only() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = format!(
        r#"{{"results": [{{"chunk_id": "c", "score": 1e999}}, {deep}, {{"unknown": {deep}, "chunk_id": "c", "score": 1,
            "source": {{"file_id": 1, "filename": "a", "title": {deep}}}}}]}}"#
    );
    let reply = read(body.as_bytes()).unwrap();
    assert_eq!((reply.passages.len(), reply.dropped), (1, 2));
}

/// The same by types: what is read field by field above is read here as a whole.
#[derive(Deserialize)]
struct Plain {
    chunk_id: String,
    #[serde(default, deserialize_with = "lenient")]
    content: Option<String>,
    #[serde(default)]
    score: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    scores: Option<PlainScores>,
    #[serde(deserialize_with = "lenient")]
    source: Option<PlainSource>,
    #[serde(default, deserialize_with = "lenient")]
    workspace: Option<PlainWorkspace>,
    #[serde(default, deserialize_with = "lenient")]
    image: Option<PlainImage>,
    #[serde(default)]
    bboxes: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PlainScores {
    #[serde(deserialize_with = "lenient")]
    text: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    vision: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    keyword: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    multivector: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    relevance: Option<f64>,
}

#[derive(Deserialize)]
struct PlainSource {
    file_id: i64,
    filename: String,
    #[serde(default, deserialize_with = "lenient")]
    title: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    mime_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    size_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    page_start: Option<u32>,
    #[serde(default, deserialize_with = "lenient")]
    page_end: Option<u32>,
    #[serde(default, deserialize_with = "lenient")]
    total_pages: Option<u32>,
    #[serde(default, deserialize_with = "lenient")]
    tags: Option<Vec<Box<RawValue>>>,
    #[serde(default, deserialize_with = "lenient")]
    content_types: Option<Vec<Value>>,
    #[serde(default)]
    external_metadata: Option<Value>,
}

#[derive(Deserialize)]
struct PlainTag {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct PlainWorkspace {
    id: i64,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct PlainImage {
    b64_content: String,
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).ok())
}

fn plain(json: &str) -> Option<Passage> {
    let result: Plain = serde_json::from_str(json).ok()?;
    let mut scores = result.scores.unwrap_or_default();
    let score = match &result.score {
        Some(Value::Object(score)) => {
            let part = |name| score.get(name).and_then(Value::as_f64);
            scores.relevance = scores.relevance.or(part("reranking"));
            part("reranking").or(part("retrieval"))
        }
        score => score.as_ref().and_then(Value::as_f64),
    };
    let source = result.source?;
    let page = |page: Option<u32>| page.filter(|page| *page > 0);
    let tag = |json: &str| {
        let PlainTag { id, name } = serde_json::from_str(json).ok()?;
        Some(Tag { id, name })
    };
    let tags = source.tags.iter().flatten();
    Some(Passage {
        chunk_id: Some(result.chunk_id).filter(|id| !id.is_empty())?,
        content: result.content.unwrap_or_default(),
        score: score.or(scores.relevance)?,
        scores: Scores {
            text: scores.text,
            vision: scores.vision,
            keyword: scores.keyword,
            multivector: scores.multivector,
            relevance: scores.relevance,
        },
        source: Source {
            file_id: source.file_id,
            filename: source.filename,
            title: source.title,
            mime_type: source.mime_type,
            size_bytes: source.size_bytes,
            page_start: page(source.page_start),
            page_end: page(source.page_end),
            total_pages: page(source.total_pages),
            tags: tags.filter_map(|raw| tag(raw.get())).collect(),
            content_types: source.content_types.unwrap_or_default(),
            external_metadata: source.external_metadata,
        },
        workspace: result.workspace.map(|workspace| Workspace {
            id: WorkspaceId(workspace.id),
            name: workspace.name.unwrap_or_default(),
        }),
        image: result
            .image
            .map(|image| image.b64_content)
            .filter(|image| !image.is_empty()),
        bboxes: result.bboxes,
    })
}

/// One of these texts.
fn any_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(texts).prop_map(str::to_owned).boxed()
}

fn odd() -> BoxedStrategy<String> {
    any_of(&[
        "null",
        "true",
        "[]",
        "{}",
        "0",
        "-1",
        "4.5",
        "-0",
        "1E2",
        "1e999",
        "18446744073709551616",
        r#""""#,
        r#""a""#,
        r#""\ud800""#,
        r#"[1e999, {"a": [{}]}, "]}\""]"#,
        r#"{"a": 1, "a": "\\"}"#,
    ])
}

fn text() -> BoxedStrategy<String> {
    let text = r#"([a-z ]{1,20}|é|日本|"|\\|\n|[{}\[\]:,]){0,4}"#;
    text.prop_map(|text| Value::from(text).to_string()).boxed()
}

fn whole() -> BoxedStrategy<String> {
    any::<u32>().prop_map(|number| number.to_string()).boxed()
}

fn number() -> BoxedStrategy<String> {
    any::<f64>()
        .prop_map(|number| Value::from(number).to_string())
        .boxed()
}

/// An object with some of these fields, now and then an odd one, and seldom one that stands twice.
fn object(fields: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let twice = Union::new(fields.iter().map(|(name, value)| {
        let name = *name;
        value
            .clone()
            .prop_map(move |value| format!("{name:?}: {value}"))
    }));
    let field = |(name, value): (&'static str, BoxedStrategy<String>)| {
        let written = prop_oneof![
            9 => Just(format!("{name:?}")),
            1 => Just(format!("\"\\u{:04x}{}\"", u32::from(name.as_bytes()[0]), &name[1..])),
        ];
        let value = prop_oneof![12 => value, 1 => odd()];
        let field = (written, value).prop_map(|(name, value)| format!("{name} :{value}"));
        prop_oneof![12 => field.prop_map(Some), 1 => Just(None)]
    };
    let fields: Vec<_> = fields.into_iter().map(field).collect();
    let more = prop_oneof![12 => Just(None), 1 => twice.prop_map(Some)];
    (fields, more)
        .prop_map(|(fields, more)| {
            let fields: Vec<String> = fields.into_iter().chain([more]).flatten().collect();
            format!("{{{}}}", fields.join(" , "))
        })
        .boxed()
}

fn list(item: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop::collection::vec(prop_oneof![9 => item, 1 => odd()], 0..3)
        .prop_map(|items| format!("[{}]", items.join(",")))
        .boxed()
}

fn result() -> BoxedStrategy<String> {
    let older = object(vec![("retrieval", number()), ("reranking", number())]);
    let scores = ["text", "vision", "keyword", "multivector", "relevance"];
    let tag = object(vec![("id", whole()), ("name", text())]);
    let source = object(vec![
        ("file_id", whole()),
        ("filename", text()),
        ("title", text()),
        ("mime_type", text()),
        ("size_bytes", whole()),
        ("page_start", whole()),
        ("page_end", whole()),
        ("total_pages", whole()),
        ("tags", list(tag)),
        ("content_types", list(text())),
        ("external_metadata", any_of(&["null", r#"{"id": 1}"#])),
    ]);
    let workspace = object(vec![("id", whole()), ("name", text())]);
    let result = object(vec![
        ("chunk_id", text()),
        ("content", text()),
        ("score", prop_oneof![number(), older].boxed()),
        (
            "scores",
            object(scores.map(|name| (name, number())).to_vec()),
        ),
        ("source", source),
        ("workspace", workspace),
        ("image", object(vec![("b64_content", text())])),
        ("bboxes", list(number())),
        ("unknown", odd()),
    ]);
    prop_oneof![20 => result, 1 => odd()].boxed()
}

proptest! {
    #[test]
    fn results_are_read_as_by_types(results in prop::collection::vec(result(), 0..4)) {
        let body = format!("{{\"results\": [{}], \"warnings\": []}}", results.join(" ,\n"));
        let reply = read(body.as_bytes()).unwrap();
        let expected: Vec<Passage> = results.iter().filter_map(|result| plain(result)).collect();
        prop_assert_eq!(reply.dropped, results.len() - expected.len());
        prop_assert_eq!(reply.passages, expected);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_text_in_place_of_a_result_is_read_without_a_panic(text in "[\\[\\]{}\",:0-9a-z. -]{0,60}") {
        let _ = read(format!("{{\"results\": [{text}]}}").as_bytes());
        let _ = read(format!("{{\"results\": [{{\"score\": {text}}}], \"warnings\": {text}}}").as_bytes());
    }
}
