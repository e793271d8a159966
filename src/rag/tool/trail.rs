//! Where a turn stands in its conversation, as a digest: ids of calls repeat between conversations, so a turn is known by all that came before.
//!
//! Clients send a message back in other bytes than they got it: `null` fields come and go, keys change places, arguments are parsed and
//! written again, a text becomes a list of one part. So a message is taken by what it means.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::calls::{self, Call};
use crate::{
    access::Scope,
    openai::{Json, Message, Object},
    rag::reach::Realm,
};

/// Reads a conversation from its beginning.
#[derive(Clone)]
pub(super) struct Trail(Sha256);

/// The place of one turn.
pub(super) type Key = [u8; 32];

impl Trail {
    /// The beginning of a conversation of `tenant` within `scope` of `realm`: two tenants with the same words and ids never meet, nor does one
    /// whose key for search was changed meet what the old one found.
    pub(super) fn new(tenant: &str, realm: &Realm, scope: &Scope) -> Self {
        let mut trail = Self(Sha256::new());
        trail.take(tenant);
        trail.0.update(realm);
        match scope {
            Scope::Every => trail.take("every"),
            Scope::Only(ids) => {
                trail.count(ids.len());
                ids.iter().for_each(|id| trail.take(&id.to_string()));
            }
        }
        trail
    }

    /// Goes past one message.
    pub(super) fn pass(&mut self, message: &Message) {
        self.take(&message.role);
        self.take(&message.text());
        let object = Object::parse(&message.json).unwrap_or_else(Object::empty);
        let others = object
            .value("content")
            .and_then(Json::items)
            .map(|parts| others(&parts))
            .unwrap_or_default();
        self.count(others.len());
        others.iter().for_each(|part| self.take(part));
        let answers: Option<String> = object.read_value("tool_call_id");
        self.take(&answers.unwrap_or_default());
        let calls = calls::of_message(&object);
        self.count(calls.len());
        calls.iter().for_each(|call| self.take_call(call));
    }

    /// The key of the turn that stands here and shows the client `visible`.
    pub(super) fn key(&self, visible: &[Call]) -> Key {
        let mut here = self.clone();
        visible.iter().for_each(|call| here.take_call(call));
        here.0.finalize().into()
    }

    fn take_call(&mut self, call: &Call) {
        self.take(&call.id);
        self.take(&call.name);
        let meant = serde_json::from_str(&call.arguments).map(|value| canonical(&value));
        self.take(&meant.unwrap_or_else(|_| call.arguments.clone()));
    }

    fn count(&mut self, number: usize) {
        self.0.update((number as u64).to_be_bytes());
    }

    fn take(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }
}

/// The parts of a content that are no text, such as images.
fn others(parts: &[Json]) -> Vec<String> {
    let values = parts.iter().filter_map(|part| part.read::<Value>().ok());
    values
        .filter(|part| part.get("type").and_then(Value::as_str) != Some("text"))
        .map(|part| canonical(&part))
        .collect()
}

/// A value in the one way that all who mean it agree on: keys sorted, fields without a value left out, whole numbers without a point.
fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields = fields
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(Map::from_iter(fields))
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), Value::from),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(tenant: &str, scope: &Scope, messages: &[Value]) -> Key {
        key_in(0, tenant, scope, messages)
    }

    fn key_in(realm: u8, tenant: &str, scope: &Scope, messages: &[Value]) -> Key {
        let mut trail = Trail::new(tenant, &[realm; 32], scope);
        for message in messages {
            trail.pass(&Message::read(Json::of(message)).unwrap());
        }
        trail.key(&[])
    }

    fn of(message: Value) -> Key {
        key("a", &Scope::Every, &[message])
    }

    #[test]
    fn the_same_message_in_other_bytes_is_the_same() {
        let call = |arguments: &str| json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]});
        let missing = json!({"tool_calls": [{"function": {"arguments": "{\"a\":1,\"b\":[2]}", "name": "f"}, "type": "function", "id": "1", "index": 0}],
            "role": "assistant", "refusal": null, "audio": null});
        for (one, other) in [
            (call("{\"a\":1,\"b\":[2]}"), missing),
            (
                call("{\"a\":1,\"b\":[2]}"),
                call("{ \"b\": [2.0], \"a\": 1, \"c\": null }"),
            ),
            (
                json!({"role": "user", "content": "hi"}),
                json!({"role": "user", "name": null, "content": [{"type": "text", "text": "hi"}]}),
            ),
            (
                json!({"role": "assistant", "content": ""}),
                json!({"role": "assistant", "content": null, "tool_calls": []}),
            ),
        ] {
            assert_eq!(of(one.clone()), of(other.clone()), "{one} {other}");
        }
    }

    #[test]
    fn another_meaning_is_another_place() {
        let image = |url: &str| json!({"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": url}}]});
        let keys = [
            key("a", &Scope::Every, &[]),
            key("b", &Scope::Every, &[]),
            key_in(1, "a", &Scope::Every, &[]),
            key(
                "a",
                &Scope::Only([crate::config::WorkspaceId(1)].into()),
                &[],
            ),
            of(json!({"role": "user", "content": "hi"})),
            of(json!({"role": "system", "content": "hi"})),
            of(image("x")),
            of(image("y")),
            of(json!({"role": "tool", "tool_call_id": "1", "content": "hi"})),
            of(json!({"role": "tool", "tool_call_id": "2", "content": "hi"})),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
    }
}
