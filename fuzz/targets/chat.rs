//! The chat request: what is read of any body and any `X-Rag-*` headers, and what is made of it for the model.

use bytes::Bytes;
use groundwire::{
    access::Scope,
    config::{InjectAs, SkipRule, WorkspaceId},
    openai::{ChatRequest, CompletionRequest, EmbeddingRequest, Json, Message},
    rag::{
        passages::{Selection, Style},
        prompt::Grounding,
        query,
        settings::RagOptions,
        skip, tool,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// What stands between the headers, one a line, and the body.
const END_OF_HEADERS: &[u8] = b"\n\n";

/// Another name of the model, which has to be written with care.
const OTHER: &str = "the other \"one\"";

/// Checks headers and body.
pub(crate) fn check(bytes: &[u8]) {
    let (headers, body) = cut(bytes);
    let body = Bytes::copy_from_slice(body);
    let _ = EmbeddingRequest::parse(body.clone()).map(|request| request.body("other"));
    if let Ok(mut request) = CompletionRequest::parse(body.clone()) {
        request.prepend("grounding");
        is_json(&request.body("other"));
    }
    let Ok(request) = ChatRequest::parse(body.clone()) else {
        return;
    };
    assert_eq!(request.body(&request.model), body, "it was not to change");
    changes_the_model_alone(&request, &body);
    reads_what_others_read(&request, &body);
    let rag = request.clone().remove("rag");
    if let Ok(options) = RagOptions::read(rag.as_ref(), &headers) {
        options_keep_their_bounds(&options);
    }
    grounds(request);
}

fn cut(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let at = bytes
        .windows(END_OF_HEADERS.len())
        .position(|window| window == END_OF_HEADERS);
    let Some(at) = at.filter(|_| bytes.starts_with(b"x-rag")) else {
        return (headers, bytes);
    };
    let (head, body) = bytes.split_at(at);
    for line in head.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, body.split_at(END_OF_HEADERS.len()).1)
}

fn is_json(body: &Bytes) {
    let parsed = Json::parse(body.clone());
    assert!(
        parsed.is_ok(),
        "not JSON: {}",
        String::from_utf8_lossy(body)
    );
}

fn value(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

fn changes_the_model_alone(request: &ChatRequest, body: &[u8]) {
    // Numbers that a double cannot hold and deep nesting are JSON, but not to this yardstick.
    let Some(mut expected) = value(body) else {
        return;
    };
    if let Some(expected) = expected.as_object_mut() {
        expected.insert("model".to_owned(), Value::from(OTHER));
    }
    assert_eq!(value(&request.body(OTHER)), Some(expected.clone()));
    let mut request = request.clone();
    request.remove("rag");
    expected
        .as_object_mut()
        .map(|fields| fields.shift_remove("rag"));
    assert_eq!(
        value(&request.body(OTHER)),
        Some(expected),
        "`rag` is taken out, and nothing else"
    );
}

/// Search asks what the model reads: a reader who takes the last of two fields finds the same roles and texts.
fn reads_what_others_read(request: &ChatRequest, body: &[u8]) {
    let Some(body) = value(body) else {
        return;
    };
    let text_of = |message: &Value| match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let is_text = |part: &&Value| {
                let kind = part.get("type").unwrap_or(&Value::Null);
                part.is_object() && (kind.is_null() || kind == "text" || kind == "input_text")
            };
            let texts = parts
                .iter()
                .filter(is_text)
                .filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    };
    let read = request
        .messages
        .iter()
        .map(|message| (message.role.clone(), message.text()));
    let messages = body.get("messages").and_then(Value::as_array);
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    let others = messages.iter().map(|message| {
        let role = message["role"].as_str().unwrap_or_default().to_owned();
        (role, text_of(message))
    });
    assert!(read.eq(others), "two readers of {body}");
}

fn options_keep_their_bounds(options: &RagOptions) {
    assert!(
        options
            .max_results
            .is_none_or(|number| (1..=100).contains(&number))
    );
    assert!(
        options
            .min_relevance
            .is_none_or(|number| (0.0..=1.0).contains(&number))
    );
    assert!(
        options
            .query
            .as_ref()
            .is_none_or(|query| !query.trim().is_empty())
    );
    let scope = Scope::Only([WorkspaceId(1), WorkspaceId(2)].into());
    let Some(asked) = &options.workspace_id else {
        return;
    };
    assert!(
        !asked.is_empty(),
        "an empty list could be taken for every workspace"
    );
    assert!(options.file_id.is_empty(), "files exclude workspaces");
    match scope.narrowed(asked) {
        Ok(Scope::Only(ids)) => assert!(ids.iter().all(|id| scope.holds(Some(*id)))),
        Ok(Scope::Every) => panic!("the scope was widened"),
        Err(outside) => assert!(outside.ids.iter().all(|id| !scope.holds(Some(*id)))),
    }
}

fn grounds(mut request: ChatRequest) {
    let _ = (
        skip::matching(&[SkipRule::ChatUiTasks], &request.messages),
        tool::check(&request),
    );
    let _ = (
        query::last_user(&request.messages),
        query::conversation(&request.messages),
    );
    let _ = (
        request.tool_choice(),
        request.wants_json(),
        request.completion_limit(),
    );
    request.remove_own_annotations();
    let before = request.messages.clone();
    for (style, inject_as) in [
        (Style::Plain, InjectAs::System),
        (Style::Numbered, InjectAs::User),
    ] {
        let mut grounded = request.clone();
        let grounding = Grounding {
            selection: &Selection::default(),
            style,
            inject_as,
            template: None,
            question: "a question",
        };
        grounding.put_into(grounded.messages_mut());
        is_json(&grounded.body("other"));
        keeps_the_conversation(&before, &grounded.messages, style);
    }
}

/// At most one system message and one user message are added, and what the others say is as it was.
fn keeps_the_conversation(before: &[Message], after: &[Message], style: Style) {
    let added = after.len() - before.len();
    assert!(added <= 2, "{added} messages were added");
    let plain = style == Style::Plain;
    let untouched = |message: &&Message| {
        !message.is_system() && message.role != "user" && (plain || message.role != "assistant")
    };
    let rest = |messages: &[Message]| -> Vec<Bytes> {
        let kept = messages.iter().filter(untouched);
        kept.map(|message| message.json.bytes().clone()).collect()
    };
    assert_eq!(rest(before), rest(after));
}
