//! Chunks of a streamed answer: what the gateway reads of an upstream's, and the few of its own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::json::{Json, Object};

/// What every chunk of one stream repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The answer's id.
    pub id: String,
    /// When it was made, in Unix seconds.
    pub created: u64,
    /// The model that it says it is.
    pub model: String,
}

/// What the gateway reads of a chunk.
#[derive(Debug, Deserialize)]
pub struct Chunk<'a> {
    /// The answer's id.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub created: Option<serde_json::Number>,
    /// The model that answered.
    #[serde(borrow, default)]
    pub model: Option<Cow<'a, str>>,
    /// The answers that this chunk continues.
    #[serde(borrow, default)]
    pub choices: Option<Vec<Choice<'a>>>,
    /// The tokens so far.
    #[serde(borrow, default)]
    pub usage: Option<&'a RawValue>,
    /// Padding.
    #[serde(borrow, default)]
    pub obfuscation: Option<&'a RawValue>,
    /// A failure in the middle of the stream.
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
    /// `"error"` in the older shape of error bodies.
    #[serde(borrow, default)]
    pub object: Option<Cow<'a, str>>,
}

/// One answer that a chunk continues.
#[derive(Debug, Deserialize)]
pub struct Choice<'a> {
    /// Which answer; 0 where it is not said.
    #[serde(default, deserialize_with = "lenient")]
    pub index: Option<u32>,
    /// What is added.
    #[serde(borrow, default)]
    pub delta: Option<Delta<'a>>,
    /// Why the answer ended, on its last chunk.
    #[serde(borrow, default)]
    pub finish_reason: Option<Cow<'a, str>>,
    /// Legacy completions: what is added.
    #[serde(borrow, default)]
    pub text: Option<Cow<'a, str>>,
}

/// What a chunk adds to an answer.
#[derive(Debug, Default, Deserialize)]
pub struct Delta<'a> {
    /// The text, a string or (Mistral) a list of parts.
    #[serde(borrow, default)]
    pub content: Option<&'a RawValue>,
    /// Thinking, under its newer name.
    #[serde(borrow, default)]
    pub reasoning: Option<&'a RawValue>,
    /// Thinking, under its older name.
    #[serde(borrow, default)]
    pub reasoning_content: Option<&'a RawValue>,
    /// Fragments of tool calls.
    #[serde(borrow, default)]
    pub tool_calls: Option<&'a RawValue>,
    /// Who speaks.
    #[serde(borrow, default)]
    pub role: Option<&'a RawValue>,
}

/// Reads a field that decides nothing: of another type than it should be, it is as good as missing.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

impl<'a> Chunk<'a> {
    /// Reads the data of an event.
    pub fn parse(data: &'a [u8]) -> Result<Self, serde_json::Error> {
        // A list would be taken for the fields in their order.
        if data.trim_ascii_start().first() != Some(&b'{') {
            return Err(serde::de::Error::custom("a chunk is an object"));
        }
        serde_json::from_slice(data)
    }

    /// Whether this is a failure rather than a piece of an answer.
    pub fn is_error(&self) -> bool {
        let said = self
            .error
            .is_some_and(|error| !matches!(error.get(), "null" | "false" | "\"\"" | "{}"));
        said || self.object.as_deref() == Some("error")
    }
}

impl Delta<'_> {
    /// The text it adds; empty where it adds none.
    pub fn text(&self) -> Cow<'_, str> {
        self.content.map(content_text).unwrap_or_default()
    }

    /// Whether it adds thinking.
    pub fn thinks(&self) -> bool {
        let says =
            |raw: Option<&RawValue>| raw.is_some_and(|raw| !matches!(raw.get(), "null" | "\"\""));
        says(self.reasoning) || says(self.reasoning_content)
    }

    /// Whether it holds a fragment of a tool call.
    pub fn calls_tools(&self) -> bool {
        self.tool_calls
            .is_some_and(|calls| !matches!(calls.get(), "null" | "[]"))
    }
}

/// The text of a `content`: a string, or the text parts of a list joined.
pub fn content_text(raw: &RawValue) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow, default)]
        text: Option<Cow<'a, str>>,
    }
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if let Ok(Text(text)) = serde_json::from_str::<Text<'_>>(raw.get()) {
        return text;
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
    Cow::Owned(parts.into_iter().filter_map(|part| part.text).collect())
}

/// What kind of stream a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

impl Family {
    fn object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Completion => "text_completion",
        }
    }

    fn choice(self, finish_reason: Option<&str>) -> Value {
        match (self, finish_reason) {
            (Self::Chat, Some("error")) => {
                json!({"index": 0, "delta": {"content": ""}, "logprobs": null, "finish_reason": "error"})
            }
            (Self::Chat, _) => {
                json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish_reason})
            }
            (Self::Completion, _) => {
                json!({"index": 0, "text": "", "logprobs": null, "finish_reason": finish_reason})
            }
        }
    }
}

impl Identity {
    /// An identity of the gateway's own, for a stream whose upstream has not said one.
    pub fn new(family: Family, model: &str) -> Self {
        let prefix = match family {
            Family::Chat => "chatcmpl",
            Family::Completion => "cmpl",
        };
        Self {
            id: format!("{prefix}-{}", uuid::Uuid::new_v4().simple()),
            created: super::unix_seconds(),
            model: model.to_owned(),
        }
    }

    /// A chunk that adds nothing, with `finish_reason` where it ends the answer.
    pub fn empty_chunk(&self, family: Family, finish_reason: Option<&str>) -> Object {
        let chunk = Json::of(&json!({
            "id": self.id, "object": family.object(), "created": self.created, "model": self.model,
            "choices": [family.choice(finish_reason)],
        }));
        Object::parse(&chunk).unwrap_or_else(Object::empty)
    }

    /// A chunk that says `text`, the first of an answer of the gateway's own.
    pub fn text_chunk(&self, family: Family, text: &str) -> Object {
        let choice = match family {
            Family::Chat => {
                json!({"index": 0, "delta": {"role": "assistant", "content": text}, "logprobs": null, "finish_reason": null})
            }
            Family::Completion => {
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": null})
            }
        };
        let mut chunk = self.empty_chunk(family, None);
        chunk.set("choices", Json::of(&[choice]));
        chunk
    }

    /// The last chunk of a stream that failed: an ordinary one with a top-level `error`.
    pub fn error_chunk(&self, family: Family, error: &super::ErrorBody) -> Json {
        let mut chunk = self.empty_chunk(family, Some("error"));
        chunk.set("error", Json::of(error));
        chunk.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_from_every_shape_of_content() {
        for (content, expected) in [
            (r#""a\nb""#, "a\nb"),
            ("null", ""),
            (r#"[{"type":"text","text":"a"},{"type":"reference"}]"#, "a"),
            ("{}", ""),
        ] {
            let text = format!(r#"{{"choices":[{{"delta":{{"content":{content}}}}}]}}"#);
            let chunk = Chunk::parse(text.as_bytes()).unwrap();
            let choices = chunk.choices.unwrap();
            assert_eq!(
                choices[0].delta.as_ref().unwrap().text(),
                expected,
                "{content}"
            );
        }
    }

    #[test]
    fn an_error_is_known_in_its_shapes() {
        for (text, is_error) in [
            (r#"{"error":{"message":"x"}}"#, true),
            (r#"{"error":"x"}"#, true),
            (r#"{"object":"error","message":"x"}"#, true),
            (r#"{"error":null,"choices":[]}"#, false),
            (r#"{"choices":[]}"#, false),
        ] {
            assert_eq!(
                Chunk::parse(text.as_bytes()).unwrap().is_error(),
                is_error,
                "{text}"
            );
        }
    }

    #[test]
    fn the_closing_error_is_an_ordinary_chunk() {
        let identity = Identity {
            id: "x".into(),
            created: 1,
            model: "m".into(),
        };
        let error = super::super::ErrorBody {
            message: "late".into(),
            kind: "upstream_error".into(),
            param: None,
            code: None,
        };
        let chunk: Value = identity.error_chunk(Family::Chat, &error).read().unwrap();
        assert_eq!(chunk["choices"][0]["finish_reason"], "error");
        assert_eq!(chunk["choices"][0]["delta"]["content"], "");
        assert_eq!(chunk["error"]["message"], "late");
        assert_eq!(chunk["object"], "chat.completion.chunk");
    }
}
