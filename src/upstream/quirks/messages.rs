//! The quirks that concern a conversation.

use std::collections::HashMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::Outcome;
use crate::openai::{Json, Message, Object};

/// What stands between a tool's result and the user where a provider wants the assistant to have spoken.
const FILLER: &str = "Understood.";

/// The fields that hold an assistant's thinking.
const REASONING: [&str; 3] = ["reasoning", "reasoning_content", "reasoning_details"];

/// The alphabet of Mistral's ids.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// One system message, and first: the templates of Qwen 3.5 and Gemma refuse a second one or one that stands later.
pub(super) fn merge_system(messages: &mut Vec<Message>) -> Outcome {
    let systems = messages
        .iter()
        .filter(|message| message.is_system())
        .count();
    let leads = messages.first().is_some_and(Message::is_system);
    if systems == 0 || (systems == 1 && leads) {
        return Outcome::Kept;
    }
    let (mut system, rest): (Vec<Message>, Vec<Message>) =
        messages.drain(..).partition(Message::is_system);
    let others = system.split_off(1);
    if let Some(first) = system.first_mut() {
        for other in others {
            first.append_text(&other.text());
        }
    }
    messages.extend(system);
    messages.extend(rest);
    Outcome::Changed
}

/// No system message at all: its text goes to the head of the first message of the user (the first Gemma and Mistral templates).
pub(super) fn system_as_user(messages: &mut Vec<Message>) -> Outcome {
    if !messages.iter().any(Message::is_system) {
        return Outcome::Kept;
    }
    let (system, rest): (Vec<Message>, Vec<Message>) =
        messages.drain(..).partition(Message::is_system);
    messages.extend(rest);
    let texts: Vec<String> = system.iter().map(Message::text).collect();
    let text = texts.join("\n\n");
    match messages.iter_mut().find(|message| message.role == "user") {
        Some(user) => user.prepend_text(&text),
        None => messages.insert(0, Message::new("user", &text)),
    }
    Outcome::Changed
}

/// `developer` is `system` under its newer name: many templates refuse it, SGLang drops it in silence.
pub(super) fn developer_as_system(messages: &mut [Message]) -> Outcome {
    change_each(
        messages,
        |message| message.role == "developer",
        |object| {
            object.set("role", Json::of("system"));
        },
    )
}

/// An assistant's content that is `null` or missing becomes empty: Ollama, LM Studio and some templates refuse or fail on it.
pub(super) fn empty_content(messages: &mut [Message]) -> Outcome {
    change_each(messages, is_assistant_without_content, |object| {
        object.set("content", Json::of(""));
    })
}

fn is_assistant_without_content(message: &Message) -> bool {
    message.role == "assistant"
        && Object::parse(&message.json)
            .is_some_and(|object| object.value("content").is_none_or(Json::is_null))
}

/// An assistant's empty content beside tool calls becomes `null`: Bedrock and other strict backends refuse an empty text.
pub(super) fn null_content(messages: &mut [Message]) -> Outcome {
    let is_empty = |message: &Message| {
        message.role == "assistant"
            && Object::parse(&message.json).is_some_and(|object| {
                object.value("tool_calls").is_some()
                    && object.read_value::<String>("content").as_deref() == Some("")
            })
    };
    change_each(messages, is_empty, |object| {
        object.set("content", Json::of(&None::<()>));
    })
}

/// Thinking that is sent back is refused by Mistral and strict gateways ("Extra inputs are not permitted").
pub(super) fn strip_reasoning(messages: &mut [Message]) -> Outcome {
    let thinks = |message: &Message| {
        message.role == "assistant"
            && Object::parse(&message.json)
                .is_some_and(|object| REASONING.iter().any(|key| object.value(key).is_some()))
    };
    change_each(messages, thinks, |object| {
        for key in REASONING {
            object.remove(key);
        }
    })
}

/// Mistral wants the assistant to speak between a tool's result and the user, and each side to speak once in turn.
pub(super) fn mistral_order(messages: &mut Vec<Message>) -> Outcome {
    let mut outcome = Outcome::Kept;
    let mut ordered: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        let before = ordered.last().map(|message| message.role.as_str());
        match (before, message.role.as_str()) {
            (Some("tool"), "user") => {
                outcome = Outcome::Changed;
                ordered.push(Message::new("assistant", FILLER));
                ordered.push(message);
            }
            (Some("user"), "user") => {
                outcome = Outcome::Changed;
                if let Some(last) = ordered.last_mut() {
                    join(last, &message);
                }
            }
            _ => ordered.push(message),
        }
    }
    *messages = ordered;
    outcome
}

/// Puts what `other` says behind what `message` says: texts with a blank line between, lists of parts as one list.
fn join(message: &mut Message, other: &Message) {
    let parts = |message: &Message| {
        let object = Object::parse(&message.json)?;
        object.value("content")?.items()
    };
    match (parts(message), parts(other)) {
        (None, None) => message.append_text(&other.text()),
        (mine, theirs) => {
            let as_parts = |parts: Option<Vec<Json>>, message: &Message| {
                parts.unwrap_or_else(|| {
                    vec![Json::of(&json!({"type": "text", "text": message.text()}))]
                })
            };
            let mut all = as_parts(mine, message);
            all.extend(as_parts(theirs, other));
            if let Some(mut object) = Object::parse(&message.json) {
                object.set("content", Json::array(&all));
                message.json = object.to_json();
            }
        }
    }
}

/// Mistral takes ids of nine letters and digits only. Others get one of their own, the same wherever they stand.
pub(super) fn mistral_tool_ids(messages: &mut Vec<Message>) -> Outcome {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut renamed = move |id: String| known.entry(id).or_insert_with_key(|id| short(id)).clone();
    let mut outcome = Outcome::Kept;
    for message in messages {
        let Some(mut object) = Object::parse(&message.json) else {
            continue;
        };
        let mut touched = false;
        if let Some(id) = object
            .read_value::<String>("tool_call_id")
            .filter(|id| !fits(id))
        {
            object.set("tool_call_id", Json::of(&renamed(id)));
            touched = true;
        }
        if let Some(mut calls) = object.value("tool_calls").and_then(Json::items) {
            let mut any = false;
            for call in &mut calls {
                let Some(mut inner) = Object::parse(call) else {
                    continue;
                };
                let Some(id) = inner.read_value::<String>("id").filter(|id| !fits(id)) else {
                    continue;
                };
                inner.set("id", Json::of(&renamed(id)));
                *call = inner.to_json();
                any = true;
            }
            if any {
                object.set("tool_calls", Json::array(&calls));
                touched = true;
            }
        }
        if touched {
            message.json = object.to_json();
            outcome = Outcome::Changed;
        }
    }
    outcome
}

fn fits(id: &str) -> bool {
    id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Nine letters and digits out of the digest of an id: 53 bits, so that two calls of one conversation never meet.
fn short(id: &str) -> String {
    let digest = Sha256::digest(id.as_bytes());
    let letters = digest.iter().take(9).map(|byte| {
        let place = usize::from(*byte) % ALPHABET.len();
        char::from(ALPHABET.get(place).copied().unwrap_or(b'0'))
    });
    letters.collect()
}

fn change_each(
    messages: &mut [Message],
    concerns: impl Fn(&Message) -> bool,
    change: impl Fn(&mut Object),
) -> Outcome {
    let mut outcome = Outcome::Kept;
    for message in messages.iter_mut().filter(|message| concerns(message)) {
        let Some(mut object) = Object::parse(&message.json) else {
            continue;
        };
        change(&mut object);
        let json = object.to_json();
        if let Some(changed) = Message::read(json) {
            *message = changed;
            outcome = Outcome::Changed;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::changed;
    use crate::config::Quirk;

    fn messages(quirk: Quirk, messages: &Value) -> Value {
        let body = serde_json::json!({ "messages": messages }).to_string();
        let changed: Value = serde_json::from_str(&changed(quirk, &body)).unwrap();
        changed["messages"].clone()
    }

    macro_rules! assert_changes {
        ($quirk:expr, $before:tt => $after:tt) => {
            assert_eq!(
                messages($quirk, &serde_json::json!($before)),
                serde_json::json!($after)
            )
        };
    }

    #[test]
    fn several_system_messages_become_the_first_one() {
        assert_changes!(Quirk::MergeSystem,
            [{"role": "user", "content": "q"}, {"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]
            => [{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "q"}]);
        assert_changes!(Quirk::MergeSystem,
            [{"role": "system", "content": [{"type": "text", "text": "a"}]}, {"role": "system", "content": "b"}]
            => [{"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
    }

    #[test]
    fn a_model_without_system_messages_reads_them_from_the_user() {
        assert_changes!(Quirk::SystemAsUser,
            [{"role": "system", "content": "a"}, {"role": "user", "content": "q"}, {"role": "system", "content": "b"}]
            => [{"role": "user", "content": "a\n\nb\n\nq"}]);
        assert_changes!(Quirk::SystemAsUser,
            [{"role": "system", "content": "a"}] => [{"role": "user", "content": "a"}]);
    }

    #[test]
    fn a_developer_is_the_system() {
        assert_changes!(Quirk::DeveloperAsSystem,
            [{"role": "developer", "content": "a", "name": "n"}, {"role": "user", "content": "q"}]
            => [{"role": "system", "content": "a", "name": "n"}, {"role": "user", "content": "q"}]);
    }

    #[test]
    fn content_is_empty_or_null_as_the_upstream_wants() {
        assert_changes!(Quirk::EmptyAssistantContent,
            [{"role": "assistant", "content": null}, {"role": "assistant"}, {"role": "tool", "content": null}]
            => [{"role": "assistant", "content": ""}, {"role": "assistant", "content": ""}, {"role": "tool", "content": null}]);
        assert_changes!(Quirk::NullAssistantContent,
            [{"role": "assistant", "content": "", "tool_calls": [{}]}, {"role": "assistant", "content": ""}]
            => [{"role": "assistant", "content": null, "tool_calls": [{}]}, {"role": "assistant", "content": ""}]);
    }

    #[test]
    fn thinking_is_not_sent_back() {
        assert_changes!(Quirk::StripReasoning,
            [{"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "r"}, {"role": "user", "reasoning": "mine"}]
            => [{"role": "assistant", "content": "a"}, {"role": "user", "reasoning": "mine"}]);
    }

    #[test]
    fn mistral_hears_each_side_in_turn() {
        assert_changes!(Quirk::MistralOrder,
            [{"role": "tool", "content": "r"}, {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
             {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
            => [{"role": "tool", "content": "r"}, {"role": "assistant", "content": "Understood."},
                {"role": "user", "content": [{"type": "text", "text": "a\n\nb"}, {"type": "image_url", "image_url": {"url": "u"}}]}]);
    }

    #[test]
    fn an_id_that_mistral_refuses_gets_one_it_takes_wherever_it_stands() {
        let changed = messages(
            Quirk::MistralToolIds,
            &serde_json::json!([
                {"role": "assistant", "tool_calls": [{"id": "functions.search:0", "type": "function"}, {"id": "wuvyeH6fR"}]},
                {"role": "tool", "tool_call_id": "functions.search:0"},
                {"role": "tool", "tool_call_id": "wuvyeH6fR"},
            ]),
        );
        let id = changed[0]["tool_calls"][0]["id"].as_str().unwrap();
        assert!(
            id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
            "{id}"
        );
        assert_eq!(changed[1]["tool_call_id"], id);
        assert_eq!(changed[0]["tool_calls"][1]["id"], "wuvyeH6fR");
        assert_eq!(changed[2]["tool_call_id"], "wuvyeH6fR");
    }
}
