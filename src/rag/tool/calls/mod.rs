//! Tool calls gathered from what upstreams send: whole, or in fragments that each server numbers in its own way.

use serde_json::{Map, Value, json};

use crate::openai::{Json, Object};

/// More calls in one turn are not gathered: no conversation needs them, and a model that repeats itself writes thousands.
const CALLS_LIMIT: usize = 128;

/// Longer arguments are not gathered, in bytes.
const ARGUMENTS_LIMIT: usize = 1 << 20;

/// A call as the model wrote it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Call {
    /// The model's own id, verbatim; made here only where it gave none.
    pub(super) id: String,
    pub(super) name: String,
    /// The arguments, verbatim; what a custom tool takes as its input.
    pub(super) arguments: String,
    kind: Kind,
    /// What else stands beside the call, such as the signature of a thought that Gemini wants back.
    extra: Map<String, Value>,
    index: Option<u64>,
    unfinished: bool,
}

/// The two kinds of tools that a client can bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Function,
    Custom,
}

/// The calls of one turn, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    calls: Vec<Call>,
    latest: Option<usize>,
}

/// A piece of a call: what one entry of `tool_calls` says. Servers err in any of its fields, so each is read by itself.
#[derive(Debug, Default)]
struct Fragment {
    index: Option<u64>,
    id: String,
    kind: Kind,
    name: String,
    arguments: String,
    extra: Map<String, Value>,
}

impl Gathered {
    /// Adds a `tool_calls` value of a delta.
    pub(super) fn add(&mut self, tool_calls: &Json) {
        for fragment in tool_calls.items().unwrap_or_default() {
            if let Some(fragment) = Fragment::read(&fragment) {
                self.add_fragment(fragment);
            }
        }
    }

    /// Adds a `function_call`, as servers of the time before `tool_calls` send it: the only one of its turn.
    pub(super) fn add_older(&mut self, function_call: &Json) {
        let fragment = Object::parse(function_call).map(|function| Fragment {
            index: Some(0),
            ..Fragment::of(&function, "arguments")
        });
        if let Some(fragment) = fragment {
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
                if call.kind == Kind::Function && call.arguments.trim().is_empty() {
                    call.arguments = "{}".to_owned();
                    call.unfinished = true;
                }
                call
            })
            .collect()
    }

    fn add_fragment(&mut self, fragment: Fragment) {
        let Some(at) = self.place(&fragment) else {
            // What follows without an index belongs to the call that was not taken, and to no other.
            self.latest = None;
            return;
        };
        self.latest = Some(at);
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        if call.id.is_empty() {
            call.id = fragment.id;
        }
        // Some servers repeat the name in each fragment: it is never appended.
        if call.name.is_empty() {
            call.name = fragment.name;
        }
        if fragment.kind == Kind::Custom {
            call.kind = Kind::Custom;
        }
        call.index = call.index.or(fragment.index);
        call.extra.extend(fragment.extra);
        if call.arguments.len() + fragment.arguments.len() > ARGUMENTS_LIMIT {
            call.unfinished = true;
        } else if !call.unfinished {
            call.arguments.push_str(&fragment.arguments);
        }
    }

    /// The call that a fragment continues: by its id, else by its index, else the latest one; a new one where it begins another.
    fn place(&mut self, fragment: &Fragment) -> Option<usize> {
        let continued = self.by_id(fragment).or_else(|| self.by_place(fragment));
        if continued.is_some() {
            return continued;
        }
        if self.calls.len() >= CALLS_LIMIT {
            return None;
        }
        self.calls.push(Call::default());
        Some(self.calls.len() - 1)
    }

    fn by_id(&self, fragment: &Fragment) -> Option<usize> {
        if fragment.id.is_empty() {
            return None;
        }
        // Kimi mints an id twice at times: another index with a name of its own is another call.
        let other = |call: &Call| {
            !fragment.name.is_empty()
                && call.index.is_some()
                && fragment.index.is_some()
                && call.index != fragment.index
        };
        self.calls
            .iter()
            .position(|call| call.id == fragment.id && !other(call))
    }

    fn by_place(&self, fragment: &Fragment) -> Option<usize> {
        let at = match fragment.index {
            Some(index) => self
                .calls
                .iter()
                .rposition(|call| call.index == Some(index)),
            None => self.latest,
        }?;
        let known = self.calls.get(at)?;
        let named = !fragment.name.is_empty() && !known.name.is_empty();
        let opens = fragment.arguments.trim_start().starts_with('{');
        // A new id without a name, or with the same name in the middle of the arguments, is a server that makes up an id for every fragment.
        let goes_on = fragment.name == known.name
            && !known.arguments.is_empty()
            && !is_object(&known.arguments)
            && !opens;
        let other_id = !fragment.id.is_empty() && !known.id.is_empty() && named && !goes_on;
        let begins_anew = named && opens && is_object(&known.arguments);
        (!other_id && !begins_anew).then_some(at)
    }
}

impl Fragment {
    fn read(json: &Json) -> Option<Self> {
        let object = Object::parse(json)?;
        let custom = object.value("custom").and_then(Object::parse);
        let function = object.value("function").and_then(Object::parse);
        let mut fragment = match (&custom, &function) {
            (Some(custom), _) => Self {
                kind: Kind::Custom,
                ..Self::of(custom, "input")
            },
            (None, Some(function)) => Self::of(function, "arguments"),
            (None, None) => Self::default(),
        };
        fragment.index = object
            .value("index")
            .and_then(|index| written(index).parse().ok());
        let id = object.value("id").map(written).unwrap_or_default();
        if !id.is_empty() {
            fragment.id = id;
        }
        let known = ["index", "id", "type", "function", "custom"];
        let others = object
            .entries()
            .filter(|(key, value)| !known.contains(key) && !value.is_null());
        fragment.extra = others
            .filter_map(|(key, value)| Some((key.to_owned(), value.read().ok()?)))
            .collect();
        Some(fragment)
    }

    fn of(inner: &Object, arguments: &str) -> Self {
        let text = |key| inner.value(key).map(written).unwrap_or_default();
        Self {
            // Some servers put the call's id here.
            id: text("id"),
            name: text("name"),
            arguments: text(arguments),
            ..Self::default()
        }
    }
}

impl Call {
    /// A call that the model wrote as text.
    pub(super) fn leaked(name: &str, arguments: String) -> Self {
        Self {
            id: new_id(),
            name: name.to_owned(),
            arguments,
            ..Self::default()
        }
    }

    /// Whether the arguments came to their end: a call that was cut is not run.
    pub(super) fn is_whole(&self) -> bool {
        let ends = self.kind == Kind::Custom
            || serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok();
        ends && !self.unfinished
    }

    /// Whether the arguments are an object, which chat templates parse again.
    pub(super) fn has_object(&self) -> bool {
        is_object(&self.arguments)
    }

    /// The call as it goes to the client or back to the model.
    pub(super) fn to_value(&self) -> Value {
        let mut value = match self.kind {
            Kind::Function => {
                json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}})
            }
            Kind::Custom => {
                json!({"id": self.id, "type": "custom", "custom": {"name": self.name, "input": self.arguments}})
            }
        };
        if let Some(value) = value.as_object_mut() {
            value.extend(self.extra.clone());
        }
        value
    }

    /// The call as a whole in a chunk's delta, at `index`.
    pub(super) fn to_delta(&self, index: usize) -> Value {
        let mut delta = Map::from_iter([("index".to_owned(), json!(index))]);
        if let Value::Object(call) = self.to_value() {
            delta.extend(call);
        }
        Value::Object(delta)
    }
}

/// The calls of a whole message, `tool_calls` or the older `function_call`.
pub(super) fn of_message(message: &Object) -> Vec<Call> {
    let mut gathered = Gathered::default();
    let calls = message
        .value("tool_calls")
        .and_then(Json::items)
        .unwrap_or_default();
    // In a whole message no call continues another, whatever they say of their places.
    for (index, call) in (0..).zip(&calls) {
        if let Some(fragment) = Fragment::read(call) {
            gathered.add_fragment(Fragment {
                index: Some(index),
                ..fragment
            });
        }
    }
    if let Some(older) = message.value("function_call").filter(|_| calls.is_empty()) {
        gathered.add_older(older);
    }
    gathered.finish()
}

/// The assistant's message of a turn as it goes back to the model: its text, as the upstream sent it, and all its calls.
pub(super) fn message(content: Option<&str>, calls: &[Call]) -> Json {
    let calls: Vec<Value> = calls.iter().map(Call::to_value).collect();
    Json::of(&json!({"role": "assistant", "content": content, "tool_calls": calls}))
}

/// What a field says as text: a string's content, or the JSON of anything else that stands in its place, such as an object for arguments.
fn written(json: &Json) -> String {
    if json.is_null() {
        return String::new();
    }
    json.read::<String>()
        .unwrap_or_else(|_| String::from_utf8_lossy(json.bytes()).into_owned())
}

fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(arguments).is_ok()
}

/// Nine letters and digits, the only form that Mistral's templates take.
fn new_id() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(9)
        .collect()
}

#[cfg(test)]
mod tests;
