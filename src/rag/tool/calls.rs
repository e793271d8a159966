//! Tool calls gathered from what upstreams send: whole, or in fragments that each server numbers in its own way.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::openai::{Json, Object};

/// More calls in one turn are not gathered: no conversation needs them, and a model that repeats itself writes thousands.
const CALLS_LIMIT: usize = 64;

/// Longer arguments are not gathered, in bytes.
const ARGUMENTS_LIMIT: usize = 1 << 20;

/// A call as the model wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// The model's own id, verbatim; made here only where it gave none.
    pub(super) id: String,
    pub(super) name: String,
    /// The arguments, verbatim.
    pub(super) arguments: String,
    index: Option<u64>,
    overlong: bool,
}

#[derive(Deserialize)]
struct Fragment<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    /// Some servers put the call's id here.
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// The calls of one turn, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    calls: Vec<Call>,
    latest: Option<usize>,
}

impl Gathered {
    /// Adds a `tool_calls` value: the fragments of a delta, or the calls of a whole message.
    pub(super) fn add(&mut self, tool_calls: &str) {
        let fragments: Vec<Fragment<'_>> = serde_json::from_str(tool_calls).unwrap_or_default();
        for fragment in fragments {
            self.add_fragment(fragment);
        }
    }

    /// The calls, each with an id and with arguments that are at least `{}`.
    pub(super) fn finish(self) -> Vec<Call> {
        let named = self.calls.into_iter().filter(|call| !call.name.is_empty());
        named
            .map(|mut call| {
                if call.id.is_empty() {
                    call.id = new_id();
                }
                if call.arguments.trim().is_empty() {
                    call.arguments = "{}".to_owned();
                }
                call
            })
            .collect()
    }

    fn add_fragment(&mut self, fragment: Fragment<'_>) {
        let index = fragment
            .index
            .and_then(|index| index.get().trim_matches('"').parse().ok());
        let function = fragment.function.unwrap_or(Function {
            id: None,
            name: None,
            arguments: None,
        });
        let id = fragment
            .id
            .filter(|id| !id.is_empty())
            .or(function.id)
            .unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let arguments = function.arguments.map(written).unwrap_or_default();
        let Some(at) = self.place(&id, index, &name, &arguments) else {
            return;
        };
        self.latest = Some(at);
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        if call.id.is_empty() {
            call.id = id.into_owned();
        }
        // Some servers repeat the name in each fragment: it is never appended.
        if call.name.is_empty() {
            call.name = name.into_owned();
        }
        call.index = call.index.or(index);
        if call.arguments.len() + arguments.len() > ARGUMENTS_LIMIT {
            call.overlong = true;
        } else if !call.overlong {
            call.arguments.push_str(&arguments);
        }
    }

    /// The call that a fragment continues: by its id, else by its index, else the latest one; a new one where it begins another.
    fn place(
        &mut self,
        id: &str,
        index: Option<u64>,
        name: &str,
        arguments: &str,
    ) -> Option<usize> {
        let by_id = (!id.is_empty())
            .then(|| self.calls.iter().position(|call| call.id == id))
            .flatten();
        if by_id.is_some() {
            return by_id;
        }
        let by_index = index.and_then(|index| {
            self.calls
                .iter()
                .rposition(|call| call.index == Some(index))
        });
        let continued = if index.is_some() {
            by_index
        } else {
            self.latest
        };
        if let Some(known) = continued.and_then(|at| self.calls.get(at)) {
            // A new id without a name is a server that makes up an id for every fragment.
            let other_id = !id.is_empty() && !known.id.is_empty() && !name.is_empty();
            let complete = |text: &str| {
                serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
            };
            let begins_anew = !name.is_empty()
                && !known.name.is_empty()
                && arguments.starts_with('{')
                && complete(&known.arguments);
            if !other_id && !begins_anew {
                return continued;
            }
        }
        if self.calls.len() >= CALLS_LIMIT {
            return None;
        }
        self.calls.push(Call::default());
        Some(self.calls.len() - 1)
    }
}

impl Call {
    /// Whether the arguments came to their end: a call that was cut is not run.
    pub(super) fn is_whole(&self) -> bool {
        serde_json::from_str::<Value>(&self.arguments).is_ok()
    }

    /// The call as it goes to the client or back to the model.
    pub(super) fn to_value(&self) -> Value {
        json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}})
    }

    /// The call as a whole in a chunk's delta, at `index`.
    pub(super) fn to_delta(&self, index: usize) -> Value {
        json!({
            "index": index, "id": self.id, "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        })
    }
}

/// The calls of a whole message, `tool_calls` or the older `function_call`.
pub(super) fn of_message(message: &Object) -> Vec<Call> {
    let mut gathered = Gathered::default();
    if let Some(calls) = message
        .value("tool_calls")
        .and_then(|calls| std::str::from_utf8(calls.bytes()).ok())
    {
        gathered.add(&whole_calls(calls));
    }
    gathered.finish()
}

/// Gives each call of a whole message an index of its own: there none continues another.
fn whole_calls(calls: &str) -> String {
    let Ok(Value::Array(mut calls)) = serde_json::from_str::<Value>(calls) else {
        return "[]".to_owned();
    };
    for (index, call) in calls.iter_mut().enumerate() {
        if let Some(call) = call.as_object_mut() {
            call.insert("index".to_owned(), json!(index));
        }
    }
    Value::Array(calls).to_string()
}

/// Arguments as text: a string's content, or an object's JSON where a server sends one.
fn written(raw: &RawValue) -> String {
    match raw.get() {
        "null" => String::new(),
        text if text.starts_with('"') => serde_json::from_str(text).unwrap_or_default(),
        text => text.to_owned(),
    }
}

/// Nine letters and digits, the only form that Mistral's templates take.
pub(super) fn new_id() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(9)
        .collect()
}

/// Calls that a model wrote as text because no parser took them: Hermes and Qwen's `<tool_call>{..}</tool_call>`, Mistral's `[TOOL_CALLS][..]`,
/// Kimi's `<|tool_call_begin|>name:0<|tool_call_argument_begin|>{..}`.
pub(super) fn of_leaked_text(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let before = rest.get(..open).unwrap_or_default();
        let Some(tail) = rest.get(open..) else { break };
        let mut values = serde_json::Deserializer::from_str(tail).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            break;
        };
        if let Some(call) = leaked_call(&value, before) {
            calls.push(call);
        }
        rest = tail.get(values.byte_offset()..).unwrap_or_default();
        if calls.len() >= CALLS_LIMIT {
            break;
        }
    }
    calls
}

fn leaked_call(value: &Value, before: &str) -> Option<Call> {
    let named = value.get("name").and_then(Value::as_str);
    let kimi = before
        .rsplit("<|tool_call_begin|>")
        .next()
        .and_then(|text| text.split("<|tool_call_argument_begin|>").next());
    let (name, arguments) = match (named, kimi) {
        (Some(name), _) => (
            name.to_owned(),
            value
                .get("arguments")
                .or_else(|| value.get("parameters"))
                .cloned()
                .unwrap_or(json!({})),
        ),
        (None, Some(id)) if before.contains("<|tool_call_begin|>") => {
            let name = id
                .trim()
                .trim_start_matches("functions.")
                .split(':')
                .next()
                .unwrap_or_default();
            (name.to_owned(), value.clone())
        }
        _ => return None,
    };
    let arguments = match arguments {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (!name.is_empty()).then(|| Call {
        id: new_id(),
        name,
        arguments,
        ..Call::default()
    })
}

/// The assistant's message of a turn as it goes back to the model: its text, as the upstream sent it, and all its calls.
pub(super) fn message(content: Option<&str>, calls: &[Call]) -> Json {
    let calls: Vec<Value> = calls.iter().map(Call::to_value).collect();
    Json::of(&json!({"role": "assistant", "content": content, "tool_calls": calls}))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id, name and arguments of a call.
    type Told = (String, String, String);

    fn gather(deltas: &[&str]) -> Vec<Told> {
        let mut gathered = Gathered::default();
        for delta in deltas {
            gathered.add(delta);
        }
        gathered
            .finish()
            .into_iter()
            .map(|call| (call.id, call.name, call.arguments))
            .collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> Told {
        (id.into(), name.into(), arguments.into())
    }

    #[test]
    fn fragments_are_gathered_however_a_server_numbers_them() {
        let two = [call("a", "f", "{\"x\":1}"), call("b", "g", "{\"y\":2}")];
        let cases: [(&str, &[&str], &[Told]); 9] = [
            (
                "OpenAI",
                &[
                    r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#,
                    r#"[{"index":0,"function":{"arguments":"{\"x\""}}]"#,
                    r#"[{"index":0,"function":{"arguments":":1}"}}]"#,
                    r#"[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
                ],
                &two,
            ),
            (
                "interleaved",
                &[
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]"#,
                    r#"[{"index":1,"function":{"arguments":"\"y\":2}"}},{"index":0,"function":{"arguments":":1}"}}]"#,
                ],
                &two,
            ),
            (
                "index always 0",
                &[
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
                    r#"[{"index":0,"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
                ],
                &two,
            ),
            (
                "no index, later fragments without id",
                &[
                    r#"[{"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                    r#"[{"function":{"arguments":":1}"}}]"#,
                    r#"[{"id":"b","function":{"name":"g","arguments":"{\"y\":2}"}}]"#,
                ],
                &two,
            ),
            (
                "empty ids and names later on",
                &[
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
                    r#"[{"index":0,"id":"","function":{"name":"","arguments":"{\"x\":1}"}}]"#,
                ],
                &two[..1],
            ),
            (
                "another id in every fragment",
                &[
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                    r#"[{"index":0,"id":"zz","function":{"arguments":":1}"}}]"#,
                ],
                &two[..1],
            ),
            (
                "the name in every fragment",
                &[
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":":1}"}}]"#,
                ],
                &two[..1],
            ),
            (
                "arguments as an object",
                &[r#"[{"id":"a","function":{"name":"f","arguments":{"x":1}}}]"#],
                &two[..1],
            ),
            (
                "the id inside the function, null arguments, the name later",
                &[
                    r#"[{"index":3,"function":{"id":"a","arguments":null}}]"#,
                    r#"[{"index":3,"function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
                ],
                &two[..1],
            ),
        ];
        for (server, deltas, expected) in cases {
            assert_eq!(gather(deltas), expected, "{server}");
        }
    }

    #[test]
    fn json_that_only_looks_complete_is_not_taken_for_the_end() {
        let deltas = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
            r#"[{"index":0,"function":{"arguments":" "}}]"#,
        ];
        assert_eq!(gather(&deltas), [call("a", "f", "{\"x\":1} ")]);
    }

    #[test]
    fn calls_without_id_or_arguments_get_them() {
        let gathered =
            gather(&[r#"[{"index":0,"id":null,"function":{"name":"f","arguments":""}}]"#]);
        let [(id, name, arguments)] = gathered.as_slice() else {
            panic!("one call")
        };
        assert_eq!(
            (id.len(), name.as_str(), arguments.as_str()),
            (9, "f", "{}")
        );
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_thousand_calls_are_bounded() {
        let many: Vec<Value> = (0..1000).map(|i| json!({"index": i, "id": format!("c{i}"), "function": {"name": "f", "arguments": "{}"}})).collect();
        assert_eq!(
            gather(&[&Value::Array(many).to_string()]).len(),
            CALLS_LIMIT
        );
    }

    #[test]
    fn calls_written_as_text_are_read() {
        for text in [
            "<tool_call>\n{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"a\"}}\n</tool_call>",
            "[TOOL_CALLS][{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"a\"}}]",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.lighton_search:0<|tool_call_argument_begin|>{\"query\": \"a\"}<|tool_call_end|>",
        ] {
            let calls = of_leaked_text(text);
            assert_eq!(calls.len(), 1, "{text}");
            assert_eq!(
                (calls[0].name.as_str(), calls[0].arguments.as_str()),
                ("lighton_search", "{\"query\":\"a\"}"),
                "{text}"
            );
        }
        assert_eq!(of_leaked_text("<tool_call>{\"name\": "), []);
    }
}
