//! `POST /completions`: legacy completions, asked of the model service as a chat whose one message is the prompt.
//!
//! Unlike vLLM, an answer without `max_tokens` is not cut after 16 tokens: the sandbox is for reading. Prompts of tokens cannot be read
//! without a vocabulary; the model is given their numbers.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::json::Json;

use super::{BODY_LIMIT_BYTES, Error, LightOnError, Service, ask_model, read_json};

/// The fields that mean the same to a chat.
const PASSED_ON: [&str; 10] = [
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "user",
];

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u64>),
    TokenLists(Vec<Vec<u64>>),
}

impl Prompt {
    fn texts(self) -> Vec<String> {
        let numbers = |tokens: Vec<u64>| {
            tokens
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        match self {
            Self::Text(text) => vec![text],
            Self::Texts(texts) => texts,
            Self::Tokens(tokens) => vec![numbers(tokens)],
            Self::TokenLists(lists) => lists.into_iter().map(numbers).collect(),
        }
    }
}

/// Answers each prompt, whole or streamed.
pub(super) async fn create(
    State(service): State<Service>,
    request: Request,
) -> Result<Response, Error> {
    let request: Map<String, Value> = read_json(request).await?;
    let prompt = request
        .get("prompt")
        .cloned()
        .ok_or_else(|| Error::bad_request("prompt: This field is required."))?;
    let prompts = serde_json::from_value::<Prompt>(prompt)
        .map_err(|_| {
            Error::bad_request("prompt: A string, a list of strings, or tokens are required.")
        })?
        .texts();
    let is_on = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    };
    let echo = is_on("echo");
    let mut choices = Vec::new();
    let mut usage = [
        ("prompt_tokens", 0),
        ("completion_tokens", 0),
        ("total_tokens", 0),
    ];
    let mut model = Value::Null;
    for prompt in prompts {
        let mut answer = match ask(&service, &request, &prompt).await? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(refusal),
        };
        for (name, sum) in &mut usage {
            *sum += answer
                .pointer(&format!("/usage/{name}"))
                .and_then(Value::as_u64)
                .unwrap_or_default();
        }
        model = answer.get_mut("model").map(Value::take).unwrap_or_default();
        for choice in answer
            .get("choices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let content = choice
                .pointer("/message/content")
                .and_then(Value::as_str)
                .unwrap_or_default();
            choices.push(Choice {
                text: if echo {
                    format!("{prompt}{content}")
                } else {
                    content.to_owned()
                },
                finish_reason: choice.get("finish_reason").cloned().unwrap_or_default(),
            });
        }
    }
    let completion = Completion {
        id: format!("cmpl-{}", uuid::Uuid::new_v4().simple()),
        created: jiff::Timestamp::now().as_second(),
        model,
        choices,
        usage: usage
            .iter()
            .map(|(name, sum)| ((*name).to_owned(), json!(sum)))
            .collect(),
    };
    if !is_on("stream") {
        return Ok(Json(completion.whole()).into_response());
    }
    let with_usage = request
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool);
    Ok(completion.streamed(with_usage.unwrap_or_default()))
}

/// Asks the model service for the answer to one prompt; its refusals are passed on.
async fn ask(
    service: &Service,
    request: &Map<String, Value>,
    prompt: &str,
) -> Result<Result<Value, Response>, Error> {
    let mut chat: Map<String, Value> = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), request.get(*name)?.clone())))
        .collect();
    chat.insert(
        "messages".to_owned(),
        json!([{"role": "user", "content": prompt}]),
    );
    let response = ask_model(service, Body::from(Value::Object(chat).to_string())).await?;
    if !response.status().is_success() {
        return Ok(Err(response));
    }
    let bytes = axum::body::to_bytes(response.into_body(), BODY_LIMIT_BYTES)
        .await
        .map_err(|_| LightOnError::TooLarge(BODY_LIMIT_BYTES))?;
    let answer = serde_json::from_slice(&bytes)
        .map_err(|_| Error::bad_request("The model gave no answer."))?;
    Ok(Ok(answer))
}

struct Completion {
    id: String,
    created: i64,
    model: Value,
    choices: Vec<Choice>,
    usage: Map<String, Value>,
}

struct Choice {
    text: String,
    finish_reason: Value,
}

impl Completion {
    fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate();
        let choices = choices
            .map(|(index, choice)| shown(index, &choice.text, &choice.finish_reason))
            .collect();
        let mut whole = self.envelope(choices);
        if let Some(members) = whole.as_object_mut() {
            members.insert("usage".to_owned(), json!(self.usage));
        }
        whole
    }

    /// The answer word by word in server-sent events.
    fn streamed(&self, with_usage: bool) -> Response {
        let mut events = Vec::new();
        for (index, choice) in self.choices.iter().enumerate() {
            for word in choice.text.split_inclusive(' ') {
                events.push(self.envelope(vec![shown(index, word, &Value::Null)]));
            }
            events.push(self.envelope(vec![shown(index, "", &choice.finish_reason)]));
        }
        if with_usage {
            let mut last = self.envelope(Vec::new());
            if let Some(members) = last.as_object_mut() {
                members.insert("usage".to_owned(), json!(self.usage));
            }
            events.push(last);
        }
        let events = events.into_iter().map(|event| format!("data: {event}\n\n"));
        let events = events
            .chain(std::iter::once("data: [DONE]\n\n".to_owned()))
            .map(Ok::<_, Infallible>);
        (
            [(header::CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(stream::iter(events)),
        )
            .into_response()
    }

    fn envelope(&self, choices: Vec<Value>) -> Value {
        json!({"id": self.id, "object": "text_completion", "created": self.created, "model": self.model, "choices": choices})
    }
}

fn shown(index: usize, text: &str, finish_reason: &Value) -> Value {
    json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish_reason})
}
