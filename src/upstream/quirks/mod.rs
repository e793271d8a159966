//! What one provider takes otherwise than another, as named changes of a request.
//!
//! Each is a pure function on a request's body, switched on by a preset or by `quirks` in the configuration, and leaves every byte as it
//! was where there is nothing to change. No other code changes what a client wrote to please a provider. Where each is known from stands
//! beside it (sections 2.5, 3.2, 3.3, 3.4 and 3.7 of the provider study).

mod messages;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Error, Place, Upstream};
use crate::{
    config::Quirk,
    openai::{ErrorBody, Json, Message, Object},
};

/// The largest body that OVHcloud takes, in bytes: "2 MB" (its capabilities guide).
const OVH_BODY_BYTES: usize = 2_000_000;

/// Changes `body` as the quirks of `upstream` say; an error where the upstream cannot take it at all.
pub(super) fn apply(upstream: &Upstream, body: Bytes) -> Result<Bytes, Error> {
    let quirks = &upstream.settings.quirks;
    if quirks.is_empty() {
        return Ok(body);
    }
    let mut body = body;
    if let Ok(mut object) = Object::read(body.clone()) {
        for quirk in quirks {
            change(*quirk, &mut object);
        }
        body = object.to_json().bytes().clone();
    }
    if quirks.contains(&Quirk::BodyLimit2Mb) && body.len() > OVH_BODY_BYTES {
        return Err(too_large(upstream));
    }
    Ok(body)
}

fn change(quirk: Quirk, object: &mut Object) {
    match quirk {
        Quirk::DropEmptyTools => drop_empty_tools(object),
        Quirk::NoStreamOptions => {
            object.remove("stream_options");
        }
        Quirk::UseMaxTokens => rename(object, "max_completion_tokens", "max_tokens"),
        Quirk::UseMaxCompletionTokens => rename(object, "max_tokens", "max_completion_tokens"),
        Quirk::StopAsList => stop_as_list(object),
        Quirk::BodyLimit2Mb => {}
        Quirk::MergeSystem => in_messages(object, messages::merge_system),
        Quirk::SystemAsUser => in_messages(object, messages::system_as_user),
        Quirk::DeveloperAsSystem => in_messages(object, |all| messages::developer_as_system(all)),
        Quirk::EmptyAssistantContent => in_messages(object, |all| messages::empty_content(all)),
        Quirk::NullAssistantContent => in_messages(object, |all| messages::null_content(all)),
        Quirk::StripReasoning => in_messages(object, |all| messages::strip_reasoning(all)),
        Quirk::MistralOrder => in_messages(object, messages::mistral_order),
        Quirk::MistralToolIds => in_messages(object, |all| messages::mistral_tool_ids(all)),
    }
}

/// Whether a function on messages changed any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// They are as they were, and so stay their bytes.
    Kept,
    /// They are written anew.
    Changed,
}

fn in_messages(object: &mut Object, change: impl FnOnce(&mut Vec<Message>) -> Outcome) {
    let Some(items) = object.value("messages").and_then(Json::items) else {
        return;
    };
    let read: Option<Vec<Message>> = items.into_iter().map(Message::read).collect();
    let Some(mut messages) = read else { return };
    if change(&mut messages) == Outcome::Changed {
        let texts = messages.iter().map(|message| &message.json);
        object.set("messages", Json::array(texts));
    }
}

/// `tools: []` is 400 with OpenAI, vLLM, DeepSeek, Mistral and others; so is a `tool_choice` without tools.
fn drop_empty_tools(object: &mut Object) {
    let empty = object.value("tools").is_some_and(|tools| {
        tools.is_null() || tools.items().is_some_and(|tools| tools.is_empty())
    });
    if empty {
        object.remove("tools");
    }
    if object.value("tools").is_none() {
        object.remove("tool_choice");
        object.remove("parallel_tool_calls");
    }
}

/// Mistral and old vLLM refuse `max_completion_tokens`, Ollama ignores it; OpenAI's reasoning models refuse `max_tokens`. Where both are
/// there, the one that the upstream knows stays.
fn rename(object: &mut Object, from: &str, to: &str) {
    let Some(value) = object.remove(from) else {
        return;
    };
    if object.value(to).is_none_or(Json::is_null) && !value.is_null() {
        object.set(to, value);
    }
}

/// TGI takes `stop` as a list only.
fn stop_as_list(object: &mut Object) {
    if let Some(stop) = object.read_value::<String>("stop") {
        object.set("stop", Json::of(&[stop]));
    }
}

fn too_large(upstream: &Upstream) -> Error {
    let message = "the request is larger than the 2 MB that this model provider takes; send fewer or smaller images, or a shorter conversation";
    Error::Status {
        upstream: upstream.name().to_owned(),
        status: StatusCode::PAYLOAD_TOO_LARGE,
        place: Place::Status,
        body: Box::new(ErrorBody {
            message: message.to_owned(),
            kind: "invalid_request_error".to_owned(),
            param: None,
            code: Some("request_too_large".to_owned()),
        }),
        headers: Box::new(HeaderMap::new()),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a quirk makes of a body.
    pub(super) fn changed(quirk: Quirk, body: &str) -> String {
        let mut object = Object::read(Bytes::from(body.to_owned())).unwrap();
        change(quirk, &mut object);
        String::from_utf8(object.to_json().bytes().to_vec()).unwrap()
    }

    #[test]
    fn each_quirk_changes_its_field_and_nothing_else() {
        for (quirk, body, expected) in [
            (
                Quirk::DropEmptyTools,
                r#"{"a":1e0,"tools":[],"tool_choice":"auto"}"#,
                r#"{"a":1e0}"#,
            ),
            (
                Quirk::DropEmptyTools,
                r#"{"tools":[{}],"tool_choice":"auto"}"#,
                r#"{"tools":[{}],"tool_choice":"auto"}"#,
            ),
            (
                Quirk::NoStreamOptions,
                r#"{"stream":true, "stream_options":{"include_usage":true}}"#,
                r#"{"stream":true}"#,
            ),
            (
                Quirk::UseMaxTokens,
                r#"{"max_completion_tokens":9,"a":1}"#,
                r#"{"a":1,"max_tokens":9}"#,
            ),
            (
                Quirk::UseMaxTokens,
                r#"{"max_completion_tokens":9,"max_tokens":5}"#,
                r#"{"max_tokens":5}"#,
            ),
            (
                Quirk::UseMaxCompletionTokens,
                r#"{"max_tokens":9}"#,
                r#"{"max_completion_tokens":9}"#,
            ),
            (Quirk::StopAsList, r#"{"stop":"x"}"#, r#"{"stop":["x"]}"#),
            (
                Quirk::StopAsList,
                r#"{"stop":[ "x" ]}"#,
                r#"{"stop":[ "x" ]}"#,
            ),
        ] {
            assert_eq!(changed(quirk, body), expected, "{quirk:?}");
        }
    }

    #[test]
    fn a_quirk_that_has_nothing_to_do_leaves_every_byte() {
        let body = r#" { "model":"m", "max_tokens" : 5e0,"messages": [ {"role":"system","content":"s"}, {"role":"user","content":"\u0061"},
            {"role":"assistant","content":"b"} , {"role":"user","content":[ ] } ] } "#;
        for quirk in Quirk::WORDS
            .iter()
            .filter_map(|word| Quirk::from_word(word))
        {
            if !matches!(quirk, Quirk::UseMaxCompletionTokens | Quirk::SystemAsUser) {
                assert_eq!(changed(quirk, body), body, "{quirk:?}");
            }
        }
    }
}
