//! A chat request: the fields that the gateway reads, and every other one as the client wrote it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    completions::CompletionRequest,
    json::{Json, Object},
    message::{Flaw, Message},
    request,
};

/// A request to `/v1/chat/completions` whose required fields are there.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    object: Object,
    /// What the client calls the model.
    pub model: String,
    /// The conversation; a change is seen by [`ChatRequest::body`].
    pub messages: Vec<Message>,
    messages_changed: bool,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client asked for the usage chunk of a stream.
    pub include_usage: bool,
    /// How many answers were asked for.
    pub n: u64,
}

/// What is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The body is no JSON, or no object.
    #[error("the request body is not a JSON object: {0}")]
    Json(String),
    /// A required field is not there.
    #[error("you must provide `{0}`")]
    Missing(Cow<'static, str>),
    /// A field has a value that it cannot have.
    #[error("{message}")]
    Value {
        /// The path of the field.
        param: String,
        /// What is wrong with it and what it takes.
        message: String,
    },
}

impl Invalid {
    /// A bad value of `param`.
    pub fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value {
            param: param.into(),
            message: message.into(),
        }
    }
}

/// How the client wants tools to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolChoice {
    /// Not said.
    Unset,
    /// `"auto"`.
    Auto,
    /// `"none"`.
    None,
    /// `"required"`.
    Required,
    /// One tool by its name.
    Named,
}

impl ChatRequest {
    /// Reads a request body.
    pub fn parse(body: Bytes) -> Result<Self, Invalid> {
        let object = request::object(body)?;
        let model = request::model(&object)?;
        let messages = read_messages(&object)?;
        let stream = request::flag(&object, "stream")?;
        let include_usage = request::include_usage(&object)?;
        request::limits(&object)?;
        let n = match object.value("n") {
            Some(value) if !value.is_null() => match value.read::<u64>() {
                Ok(n) if n > 0 => n,
                _ => {
                    return Err(Invalid::value(
                        "n",
                        "`n` must be a whole number of at least 1",
                    ));
                }
            },
            _ => 1,
        };
        Ok(Self {
            object,
            model,
            messages,
            messages_changed: false,
            stream,
            include_usage,
            n,
        })
    }

    /// The conversation that a prompt of the completions endpoint stands for: one message of a user. It is what search, budgets and rules
    /// look at; what is sent on is the completion request itself.
    pub fn of_completion(completion: &CompletionRequest) -> Self {
        let prompt = completion.prompt.text().unwrap_or_default();
        Self {
            object: completion.object().clone(),
            model: completion.model.clone(),
            messages: vec![Message::new("user", prompt)],
            messages_changed: false,
            stream: completion.stream,
            include_usage: completion.include_usage,
            n: 1,
        }
    }

    /// The fields other than the ones named by this type.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Replaces one field.
    pub fn set(&mut self, key: &str, value: Json) {
        self.object.set(key, value);
    }

    /// Asks for the usage chunk of a stream; `include_usage` still says what the client wants.
    pub fn ask_for_usage(&mut self) {
        request::ask_for_usage(&mut self.object);
    }

    /// Takes one field out, where it is.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        self.object.remove(key)
    }

    /// The messages, to change them.
    pub fn messages_mut(&mut self) -> &mut Vec<Message> {
        self.messages_changed = true;
        &mut self.messages
    }

    /// The body to send on: what the client wrote, with just the changes, for the model that the upstream calls `model`.
    pub fn body(&self, model: &str) -> Bytes {
        let mut changes = Vec::new();
        if model != self.model {
            changes.push(("model", Json::string(model)));
        }
        if self.messages_changed {
            let messages = self.messages.iter().map(|message| &message.json);
            changes.push(("messages", Json::array(messages)));
        }
        let json = if changes.is_empty() {
            self.object.to_json()
        } else {
            self.object.with(&changes)
        };
        json.into_bytes()
    }

    /// Takes the gateway's own annotations out of the assistant's messages.
    pub fn remove_own_annotations(&mut self) {
        let carries = |message: &Message| {
            message.role == "assistant"
                && memchr::memmem::find(message.json.bytes(), b"\"annotations\"").is_some()
        };
        if !self.messages.iter().any(carries) {
            return;
        }
        for message in self
            .messages_mut()
            .iter_mut()
            .filter(|message| carries(message))
        {
            message.remove_own_annotations();
        }
    }

    /// How the client wants tools to be chosen.
    pub fn tool_choice(&self) -> ToolChoice {
        let Some(choice) = self
            .object
            .value("tool_choice")
            .filter(|choice| !choice.is_null())
        else {
            return ToolChoice::Unset;
        };
        match choice.read::<Cow<'_, str>>().as_deref() {
            Ok("auto") => ToolChoice::Auto,
            Ok("none") => ToolChoice::None,
            Ok("required") => ToolChoice::Required,
            Ok(_) => ToolChoice::Unset,
            Err(_) => ToolChoice::Named,
        }
    }

    /// Whether the answer must be JSON, by `response_format`.
    pub fn wants_json(&self) -> bool {
        #[derive(Deserialize)]
        struct Format<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
        }
        let format: Option<Format<'_>> = self.object.read_value("response_format");
        format.is_some_and(|format| format.kind.starts_with("json"))
    }

    /// The limit of the answer's tokens, by either of its names.
    pub fn completion_limit(&self) -> Option<u64> {
        self.object
            .read_value("max_completion_tokens")
            .or_else(|| self.object.read_value("max_tokens"))
    }
}

fn read_messages(object: &Object) -> Result<Vec<Message>, Invalid> {
    let Some(value) = object.value("messages").filter(|value| !value.is_null()) else {
        return Err(Invalid::Missing("messages".into()));
    };
    let Some(items) = value.items() else {
        return Err(Invalid::value(
            "messages",
            "`messages` must be a list of messages",
        ));
    };
    if items.is_empty() {
        return Err(Invalid::value(
            "messages",
            "`messages` is empty; send at least one message",
        ));
    }
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let message = Message::check(item).map_err(|flaw| match flaw {
            Flaw::Shape => {
                let param = format!("messages[{index}]");
                let message = format!("`{param}` must be an object with a `role`");
                Invalid::value(param, message)
            }
            Flaw::Twice(path) => {
                let param = format!("messages[{index}].{path}");
                let message = format!("`{param}` stands twice; send it once");
                Invalid::value(param, message)
            }
        })?;
        if message.role.is_empty() {
            return Err(Invalid::Missing(format!("messages[{index}].role").into()));
        }
        messages.push(message);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ChatRequest, Invalid> {
        ChatRequest::parse(Bytes::from(text.to_owned()))
    }

    #[test]
    fn a_request_nobody_changes_goes_out_as_it_came_in() {
        let text = r#"{ "model":"m", "temperature": 0.70, "seed": 12345678901234567890123, "messages":[ {"role":"user","content":"h\u0069"} ] }"#;
        assert_eq!(parse(text).unwrap().body("m"), text);
    }

    #[test]
    fn only_the_model_changes_on_its_way_to_an_upstream_that_calls_it_otherwise() {
        let text = r#"{"messages":[{"role":"user","content":"hi"}],"model" : "a","x":1e-7}"#;
        assert_eq!(
            parse(text).unwrap().body("b"),
            r#"{"messages":[{"role":"user","content":"hi"}],"model" : "b","x":1e-7}"#
        );
    }

    #[test]
    fn each_fault_names_its_field() {
        for (text, expected) in [
            (r#"{"messages":[]}"#, Invalid::Missing("model".into())),
            (r#"{"model":"m"}"#, Invalid::Missing("messages".into())),
            (
                r#"{"model":"m","messages":null}"#,
                Invalid::Missing("messages".into()),
            ),
            (
                r#"{"model":"m","messages":[{"content":"a"}]}"#,
                Invalid::Missing("messages[0].role".into()),
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        for (text, field) in [
            (r#"{"model":1,"messages":[]}"#, "model"),
            (r#"{"model":"m","messages":"hi"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":[1]}"#, "messages[0]"),
            (r#"{"model":"m","messages":[ ["user"] ]}"#, "messages[0]"),
            (
                r#"{"model":"m","messages":[{"role":"user"}],"stream":"yes"}"#,
                "stream",
            ),
            (r#"{"model":"m","messages":[{"role":"user"}],"n":0}"#, "n"),
            (
                r#"{"model":"m","messages":[{"role":"user"}],"model":"n"}"#,
                "model",
            ),
        ] {
            match parse(text).unwrap_err() {
                Invalid::Value { param, .. } => assert_eq!(param, field, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(parse("{").unwrap_err(), Invalid::Json(_)));
        assert!(matches!(parse("[]").unwrap_err(), Invalid::Json(_)));
    }
}
