//! Tool calls that a model wrote as text because its server's parser did not take them.
//!
//! | models | what they write |
//! |---|---|
//! | Hermes, Qwen | `<tool_call>{"name": .., "arguments": {..}}</tool_call>` |
//! | Llama | `{"name": .., "parameters": {..}}` |
//! | Mistral | `[TOOL_CALLS][{..}]`, `[TOOL_CALLS]name[ARGS]{..}` |
//! | Kimi | `<\|tool_call_begin\|>functions.name:0<\|tool_call_argument_begin\|>{..}` |
//! | Qwen Coder | `<function=name><parameter=key>value</parameter></function>` |
//! | MiniMax | `<invoke name="name"><parameter name="key">value</parameter></invoke>` |
//! | GLM | `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>` |

use serde_json::{Map, Value, json};

use super::calls::Call;

/// More calls are not read out of one text.
const CALLS_LIMIT: usize = 64;

/// Reads the calls of leaked markup, in order.
pub(super) fn calls(text: &str) -> Vec<Call> {
    let tagged = tagged_calls(text);
    if tagged.is_empty() {
        json_calls(text)
    } else {
        tagged
    }
}

/// Calls whose arguments are JSON.
fn json_calls(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let before = rest.get(..open).unwrap_or_default();
        let Some(tail) = rest.get(open..) else { break };
        let mut values = serde_json::Deserializer::from_str(tail).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            break;
        };
        calls.extend(json_call(&value, before));
        rest = tail.get(values.byte_offset()..).unwrap_or_default();
        if calls.len() >= CALLS_LIMIT {
            break;
        }
    }
    calls
}

fn json_call(value: &Value, before: &str) -> Option<Call> {
    let value = value
        .get("function")
        .filter(|inner| inner.is_object())
        .unwrap_or(value);
    let named = value.get("name").and_then(Value::as_str);
    let (name, arguments) = match named {
        Some(name) => {
            let arguments = value.get("arguments").or_else(|| value.get("parameters"));
            (name, arguments.cloned().unwrap_or(json!({})))
        }
        None => (name_before(before)?, value.clone()),
    };
    let arguments = match arguments {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (!name.is_empty()).then(|| Call::leaked(name, arguments))
}

/// The name that stands before the arguments: Kimi's id (`functions.name:0`) or Mistral's name.
fn name_before(before: &str) -> Option<&str> {
    if let Some((_, id)) = before.rsplit_once("<|tool_call_begin|>") {
        let id = id.split("<|tool_call_argument_begin|>").next()?.trim();
        let id = id.strip_prefix("functions.").unwrap_or(id);
        return id.split(':').next();
    }
    let (_, name) = before.rsplit_once("[TOOL_CALLS]")?;
    name.split('[').next().map(str::trim)
}

/// How a tagged call is written: around its name, around a parameter's name, and what ends the parameter and the call.
struct Tags {
    call: (&'static str, &'static str),
    key: (&'static str, &'static str),
    value: (&'static str, &'static str),
    end: &'static str,
}

const TAGS: [Tags; 3] = [
    Tags {
        call: ("<function=", ">"),
        key: ("<parameter=", ">"),
        value: ("", "</parameter>"),
        end: "</function>",
    },
    Tags {
        call: ("<invoke name=\"", "\">"),
        key: ("<parameter name=\"", "\">"),
        value: ("", "</parameter>"),
        end: "</invoke>",
    },
    Tags {
        call: ("<tool_call>", "<arg_key>"),
        key: ("<arg_key>", "</arg_key>"),
        value: ("<arg_value>", "</arg_value>"),
        end: "</tool_call>",
    },
];

/// Calls whose arguments are tags.
fn tagged_calls(text: &str) -> Vec<Call> {
    TAGS.iter()
        .map(|tags| tags.calls(text))
        .find(|calls| !calls.is_empty())
        .unwrap_or_default()
}

impl Tags {
    fn calls(&self, text: &str) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut rest = text;
        while let Some((_, from)) = rest.split_once(self.call.0) {
            // A call without its end was cut, and is not run.
            let Some((inner, after)) = from.split_once(self.end) else {
                break;
            };
            calls.extend(self.call(inner));
            rest = after;
            if calls.len() >= CALLS_LIMIT {
                break;
            }
        }
        calls
    }

    fn call(&self, inner: &str) -> Option<Call> {
        let end_of_name = inner.find(self.call.1)?;
        let (name, mut rest) = inner.split_at(end_of_name);
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains('{') {
            return None;
        }
        let mut arguments = Map::new();
        while let Some((_, from)) = rest.split_once(self.key.0) {
            let (key, from) = from.split_once(self.key.1)?;
            let (_, from) = from.split_once(self.value.0)?;
            let (value, after) = from.split_once(self.value.1)?;
            arguments.insert(key.trim().to_owned(), json!(value.trim_matches('\n')));
            rest = after;
        }
        Some(Call::leaked(name, Value::Object(arguments).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_written_as_text_are_read() {
        for text in [
            "<tool_call>\n{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"a b\"}}\n</tool_call>",
            "{\"name\": \"lighton_search\", \"parameters\": {\"query\": \"a b\"}}",
            "{\"type\": \"function\", \"function\": {\"name\": \"lighton_search\", \"arguments\": \"{\\\"query\\\":\\\"a b\\\"}\"}}",
            "[TOOL_CALLS][{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"a b\"}}]",
            "[TOOL_CALLS]lighton_search[ARGS]{\"query\": \"a b\"}",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.lighton_search:0<|tool_call_argument_begin|>{\"query\": \"a b\"}<|tool_call_end|>",
            "<tool_call>\n<function=lighton_search>\n<parameter=query>\na b\n</parameter>\n</function>\n</tool_call>",
            "<minimax:tool_call>\n<invoke name=\"lighton_search\">\n<parameter name=\"query\">a b</parameter>\n</invoke>\n</minimax:tool_call>",
            "<tool_call>lighton_search\n<arg_key>query</arg_key>\n<arg_value>a b</arg_value>\n</tool_call>",
        ] {
            let calls = calls(text);
            assert_eq!(calls.len(), 1, "{text}");
            assert_eq!(
                (calls[0].name.as_str(), calls[0].arguments.as_str()),
                ("lighton_search", "{\"query\":\"a b\"}"),
                "{text}"
            );
        }
    }

    #[test]
    fn several_calls_are_read_in_order() {
        for text in [
            "<tool_call>{\"name\":\"a\"}</tool_call>\n<tool_call>{\"name\":\"b\"}</tool_call>",
            "[TOOL_CALLS][{\"name\":\"a\"},{\"name\":\"b\"}]",
            "<function=a></function><function=b></function>",
        ] {
            let names: Vec<String> = calls(text).into_iter().map(|call| call.name).collect();
            assert_eq!(names, ["a", "b"], "{text}");
        }
    }

    #[test]
    fn what_was_cut_is_no_call() {
        for text in [
            "<tool_call>{\"name\": ",
            "<function=a><parameter=q>x",
            "<tool_call>a<arg_key>q",
        ] {
            assert_eq!(calls(text), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in r#"(<tool_call>|</tool_call>|<function=|</function>|<parameter=|\{"name":"a"\}|\[TOOL_CALLS\]|[a>{}"\[\]]){0,12}"#) {
            calls(&text);
        }
    }
}
