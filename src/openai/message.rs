//! One message of a conversation: what the gateway reads of it and what it may change.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    escape,
    json::{Json, Object},
};
use crate::walk::{self, Walk};

/// A message as the client wrote it, with its role read.
#[derive(Debug, Clone)]
pub struct Message {
    /// The message itself.
    pub json: Json,
    /// Its `role`; empty where it has none.
    pub role: String,
}

/// Every field that decides what a message says: one that stands twice is a fault, because the upstream may take the other.
const FIELDS: [&str; 5] = [
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "function_call",
];

/// The same of a part of a content.
const PART_FIELDS: [&str; 3] = ["type", "text", "image_url"];

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
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
        let fields = walk::fields(json.bytes(), FIELDS);
        let [role, content, ..] = fields.ok_or_else(|| flaw(&json))?;
        let role: Option<String> = role
            .map_or(Ok(None), serde_json::from_slice)
            .map_err(|_| flaw(&json))?;
        if let Some(content) = content {
            check_parts(content)?;
        }
        let role = role.unwrap_or_default();
        Ok(Self { json, role })
    }

    /// A message of the gateway's own.
    pub fn new(role: &str, content: &str) -> Self {
        let mut json = Vec::with_capacity(content.len() + content.len() / 16 + 40);
        json.extend_from_slice(b"{\"role\":");
        escape::write(role, &mut json);
        json.extend_from_slice(b",\"content\":");
        escape::write(content, &mut json);
        json.push(b'}');
        Self {
            json: Json::written(json),
            role: role.to_owned(),
        }
    }

    /// Whether it is the one system message of the conversation, by either of its names.
    pub fn is_system(&self) -> bool {
        self.role == "system" || self.role == "developer"
    }

    /// The text of the content: a string itself, or the text parts of a list, each on a line of its own.
    pub fn text(&self) -> String {
        let Some(content) = self.content() else {
            return String::new();
        };
        if let Ok(text) = serde_json::from_slice(content) {
            return text;
        }
        let mut texts = Vec::new();
        each_part(content, |part| texts.extend(part_text(part)));
        texts.join("\n")
    }

    /// Gives each text of the content as it is written, the inside of a JSON string.
    pub fn each_written(&self, mut give: impl FnMut(&str)) {
        let Some(content) = self.content() else {
            return;
        };
        if let Some(text) = walk::inside(content) {
            give(text);
        }
        each_part(content, |part| {
            let fields = walk::fields(part, ["type", "text"]);
            if let Some([kind, Some(text)]) = fields
                && kind.is_none_or(is_text)
                && let Some(text) = walk::inside(text)
            {
                give(text);
            }
        });
    }

    fn content(&self) -> Option<&[u8]> {
        let [content] = walk::fields(self.json.bytes(), ["content"])?;
        content
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
            object.set("content", Json::string(&changed));
        } else {
            let Some(mut parts) = content.items() else {
                return;
            };
            let mut touched = false;
            for part in &mut parts {
                let Some(text) = part_text(part.bytes()) else {
                    continue;
                };
                let (Some(changed), Some(mut inner)) = (change(&text), Object::parse(part)) else {
                    continue;
                };
                inner.set("text", Json::string(&changed));
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
                let own = content.as_ref().and_then(|own| walk::inside(own.bytes()));
                Json::written(joined(own.unwrap_or_default(), text, side))
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

/// A JSON string of `text` and of `own`, which is the inside of one and stays as it was written.
fn joined(own: &str, text: &str, side: Side) -> Vec<u8> {
    let mut out = Vec::with_capacity(own.len() + text.len() + text.len() / 16 + 8);
    let between = if own.is_empty() { "" } else { "\\n\\n" };
    out.push(b'"');
    match side {
        Side::Before => {
            escape::write_inside(text, &mut out);
            out.extend_from_slice(between.as_bytes());
            out.extend_from_slice(own.as_bytes());
        }
        Side::After => {
            out.extend_from_slice(own.as_bytes());
            out.extend_from_slice(between.as_bytes());
            escape::write_inside(text, &mut out);
        }
    }
    out.push(b'"');
    out
}

/// Gives each part of a content that is a list.
fn each_part<'a>(content: &'a [u8], mut give: impl FnMut(&'a [u8])) {
    let Some(mut walk) = Walk::array(content) else {
        return;
    };
    while let Some(part) = walk.item() {
        give(content.get(part).unwrap_or_default());
    }
}

/// Checks that no part of a content says twice what it is or what it says.
fn check_parts(content: &[u8]) -> Result<(), Flaw> {
    let mut flaw = None;
    let mut index = 0_usize;
    each_part(content, |part| {
        // What is no object is the upstream's to refuse.
        if flaw.is_none() && part.starts_with(b"{") && walk::fields(part, PART_FIELDS).is_none() {
            let object = Object::read(Bytes::copy_from_slice(part)).ok();
            let twice = object.as_ref().and_then(Object::duplicate_key);
            let key = twice.unwrap_or("type");
            flaw = Some(Flaw::Twice(format!("content[{index}].{key}")));
        }
        index += 1;
    });
    flaw.map_or(Ok(()), Err)
}

fn part_text(part: &[u8]) -> Option<String> {
    // As above: a list is no part.
    if !part.starts_with(b"{") {
        return None;
    }
    let view: Part<'_> = serde_json::from_slice(part).ok()?;
    match view.kind.as_deref() {
        Some("text" | "input_text") | None => view.text.map(Cow::into_owned),
        Some(_) => None,
    }
}

/// Whether this `type` of a part says that it is text.
fn is_text(kind: &[u8]) -> bool {
    matches!(kind, b"\"text\"" | b"\"input_text\"" | b"null")
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
        let mut written = Vec::new();
        parts.each_written(|text| written.push(text.to_owned()));
        assert_eq!(written, ["a", "b"]);
    }
}
