//! One message of a conversation: what the gateway reads of it and what it may change.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};

use super::json::{Json, Object};

/// A message as the client wrote it, with its role read.
#[derive(Debug, Clone)]
pub struct Message {
    /// The message itself.
    pub json: Json,
    /// Its `role`; empty where it has none.
    pub role: String,
}

/// Every field that decides what a message says: one that stands twice is a fault, because the upstream may take the other.
#[derive(Deserialize)]
struct View<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default, rename = "tool_calls")]
    _tool_calls: IgnoredAny,
    #[serde(default, rename = "tool_call_id")]
    _tool_call_id: IgnoredAny,
    #[serde(default, rename = "function_call")]
    _function_call: IgnoredAny,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// The same of a part of a content.
#[derive(Deserialize)]
struct PartKeys {
    #[serde(default, rename = "type")]
    _kind: IgnoredAny,
    #[serde(default, rename = "text")]
    _text: IgnoredAny,
    #[serde(default, rename = "image_url")]
    _image: IgnoredAny,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It is no object with a role.
    Shape,
    /// The field at this path within it stands twice.
    Twice(String),
}

impl Message {
    /// Reads a message; `None` when it is no object.
    pub fn read(json: Json) -> Option<Self> {
        Self::check(json).ok()
    }

    /// Reads a message, or tells what is wrong with it.
    pub fn check(json: Json) -> Result<Self, Flaw> {
        // An array would be taken for the fields in their order.
        if !json.bytes().starts_with(b"{") {
            return Err(Flaw::Shape);
        }
        let view: View<'_> = json.read().map_err(|_| flaw(&json))?;
        let content = view.content.map_or("", RawValue::get);
        if content.starts_with('[') {
            check_parts(content)?;
        }
        let role = view.role.map(Cow::into_owned).unwrap_or_default();
        Ok(Self { json, role })
    }

    /// A message of the gateway's own.
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            json: Json::of(&json!({"role": role, "content": content})),
            role: role.to_owned(),
        }
    }

    /// Whether it is the one system message of the conversation, by either of its names.
    pub fn is_system(&self) -> bool {
        self.role == "system" || self.role == "developer"
    }

    /// The text of the content: a string itself, or the text parts of a list, each on a line of its own.
    pub fn text(&self) -> String {
        let Some(object) = Object::parse(&self.json) else {
            return String::new();
        };
        let Some(content) = object.value("content") else {
            return String::new();
        };
        if let Ok(text) = content.read::<String>() {
            return text;
        }
        let parts = content.items().unwrap_or_default();
        let texts: Vec<String> = parts.iter().filter_map(part_text).collect();
        texts.join("\n")
    }

    /// Replaces the text of the content by what `change` makes of it, part by part; `None` from `change` leaves a part as it is.
    ///
    /// An empty result stays empty: the part is kept, because the rules of upstreams about missing content differ.
    pub fn change_text(&mut self, mut change: impl FnMut(&str) -> Option<String>) {
        let Some(mut object) = Object::parse(&self.json) else {
            return;
        };
        let Some(content) = object.value("content").cloned() else {
            return;
        };
        if let Ok(text) = content.read::<Cow<'_, str>>() {
            let Some(changed) = change(&text) else { return };
            object.set("content", Json::of(&changed));
        } else {
            let Some(mut parts) = content.items() else {
                return;
            };
            let mut touched = false;
            for part in &mut parts {
                let Some(text) = part_text(part) else {
                    continue;
                };
                let (Some(changed), Some(mut inner)) = (change(&text), Object::parse(part)) else {
                    continue;
                };
                inner.set("text", Json::of(&changed));
                *part = inner.to_json();
                touched = true;
            }
            if !touched {
                return;
            }
            object.set("content", Json::array(&parts));
        }
        self.json = object.to_json();
    }

    /// Puts `text` after the content's own text, a blank line between.
    pub fn append_text(&mut self, text: &str) {
        self.add_text(text, Side::After);
    }

    /// Puts `text` before the content's own text, a blank line between.
    pub fn prepend_text(&mut self, text: &str) {
        self.add_text(text, Side::Before);
    }

    fn add_text(&mut self, text: &str, side: Side) {
        let Some(mut object) = Object::parse(&self.json) else {
            return;
        };
        let content = object.value("content").cloned();
        let joined = match content.as_ref().and_then(Json::items) {
            Some(mut parts) => {
                let own = Json::of(&json!({"type": "text", "text": text}));
                match side {
                    Side::Before => parts.insert(0, own),
                    Side::After => parts.push(own),
                }
                Json::array(&parts)
            }
            None => {
                let own = content
                    .and_then(|content| content.read::<String>().ok())
                    .unwrap_or_default();
                Json::of(&match (own.is_empty(), side) {
                    (true, _) => text.to_owned(),
                    (false, Side::Before) => format!("{text}\n\n{own}"),
                    (false, Side::After) => format!("{own}\n\n{text}"),
                })
            }
        };
        object.set("content", joined);
        self.json = object.to_json();
    }

    /// Takes out the annotations that carry our `source` key: strict upstreams refuse them when a client sends them back.
    pub fn remove_own_annotations(&mut self) {
        let Some(mut object) = Object::parse(&self.json) else {
            return;
        };
        let Some(annotations) = object.value("annotations").and_then(Json::items) else {
            return;
        };
        let kept: Vec<Json> = annotations
            .iter()
            .filter(|annotation| !is_own(annotation))
            .cloned()
            .collect();
        if kept.len() == annotations.len() {
            return;
        }
        if kept.is_empty() {
            object.remove("annotations");
        } else {
            object.set("annotations", Json::array(&kept));
        }
        self.json = object.to_json();
    }
}

enum Side {
    Before,
    After,
}

/// Why a message cannot be read.
fn flaw(json: &Json) -> Flaw {
    let object = Object::parse(json);
    let twice = object.as_ref().and_then(Object::duplicate_key);
    twice.map_or(Flaw::Shape, |key| Flaw::Twice(key.to_owned()))
}

/// Checks that no part of a content says twice what it is or what it says.
fn check_parts(content: &str) -> Result<(), Flaw> {
    let parts: Vec<&RawValue> = serde_json::from_str(content).map_err(|_| Flaw::Shape)?;
    // What is no object is the upstream's to refuse.
    let objects = parts.iter().map(|part| part.get()).enumerate();
    for (index, part) in objects.filter(|(_, part)| part.starts_with('{')) {
        if serde_json::from_str::<PartKeys>(part).is_ok() {
            continue;
        }
        let object = Object::read(Bytes::copy_from_slice(part.as_bytes())).ok();
        let twice = object.as_ref().and_then(Object::duplicate_key);
        let key = twice.unwrap_or("type");
        return Err(Flaw::Twice(format!("content[{index}].{key}")));
    }
    Ok(())
}

fn part_text(part: &Json) -> Option<String> {
    // As above: a list is no part.
    if !part.bytes().starts_with(b"{") {
        return None;
    }
    let view: Part<'_> = part.read().ok()?;
    match view.kind.as_deref() {
        Some("text" | "input_text") | None => view.text.map(Cow::into_owned),
        Some(_) => None,
    }
}

fn is_own(annotation: &Json) -> bool {
    #[derive(Deserialize)]
    struct Annotation<'a> {
        #[serde(borrow)]
        url_citation: Citation<'a>,
    }
    #[derive(Deserialize)]
    struct Citation<'a> {
        #[serde(borrow, default)]
        source: Option<&'a RawValue>,
    }
    annotation
        .read::<Annotation<'_>>()
        .is_ok_and(|annotation| annotation.url_citation.source.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Message {
        Message::read(Json::parse(text.into()).unwrap()).unwrap()
    }

    fn json(message: &Message) -> &str {
        std::str::from_utf8(message.json.bytes()).unwrap()
    }

    #[test]
    fn text_is_added_to_a_string_and_to_a_list_of_parts() {
        let mut plain = message(r#"{"role":"system","content":"Be brief.","name":"a"}"#);
        plain.append_text("More.");
        assert_eq!(
            json(&plain),
            r#"{"role":"system","content":"Be brief.\n\nMore.","name":"a"}"#
        );

        let mut parts = message(
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}"#,
        );
        parts.prepend_text("More.");
        assert_eq!(
            json(&parts),
            r#"{"role":"user","content":[{"type":"text","text":"More."},{"type":"image_url","image_url":{"url":"data:"}}]}"#
        );

        let mut empty = message(r#"{"role":"system","content":null}"#);
        empty.append_text("More.");
        assert_eq!(json(&empty), r#"{"role":"system","content":"More."}"#);
    }

    #[test]
    fn only_annotations_of_the_gateway_are_taken_out() {
        let mut both = message(
            r#"{"role":"assistant","content":"a","annotations":[{"type":"url_citation","url_citation":{"source":1}},{"type":"url_citation","url_citation":{"url":"u"}}]}"#,
        );
        both.remove_own_annotations();
        assert_eq!(
            json(&both),
            r#"{"role":"assistant","content":"a","annotations":[{"type":"url_citation","url_citation":{"url":"u"}}]}"#
        );

        let mut own = message(
            r#"{"role":"assistant","annotations":[{"url_citation":{"source":1}}],"content":"a"}"#,
        );
        own.remove_own_annotations();
        assert_eq!(json(&own), r#"{"role":"assistant","content":"a"}"#);
    }

    #[test]
    fn a_list_of_parts_reads_as_its_texts() {
        let parts = message(
            r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"},["text","no part"],{"type":"text","text":"b"}]}"#,
        );
        assert_eq!(parts.text(), "a\nb");
    }
}
