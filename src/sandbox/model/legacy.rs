//! Legacy completions: a prompt in, text out.

use axum::{body::Bytes, response::Response};
use serde_json::{Value, json};

use super::{
    CONTEXT_TOKENS,
    answer::answer,
    conversation::Conversation,
    fields::Fields,
    options::{Delivery, Options},
    refusal::Refusal,
    request, stream,
    tokens::{Completion, tokens},
    whole::{self, Envelope},
};

/// Answers the body of a legacy completion.
pub(super) fn respond(body: &Bytes) -> Result<Response, Refusal> {
    let body = request::parse(body)?;
    let fields = Fields::of(&body, "body")?;
    let options = Options::read(fields)?;
    let prompts = prompts(fields)?;
    let prompt_tokens: u64 = prompts.iter().map(|prompt| prompt.tokens).sum();
    if prompts.iter().any(|prompt| prompt.tokens >= CONTEXT_TOKENS) {
        return Err(Refusal::too_long(format!(
            "this model reads {CONTEXT_TOKENS} tokens at most; shorten the prompt"
        )));
    }
    let echoed = fields.flag("echo")?.unwrap_or(false);
    let (mut completions, mut heads) = (Vec::new(), Vec::new());
    for prompt in &prompts {
        let mut answer = answer(options.model, &Conversation::from_prompt(&prompt.text));
        // There is no field for thoughts here.
        answer.reasoning.clear();
        let completion = Completion::new(&answer, &options.limits);
        for _ in 0..options.choices {
            completions.push(completion.clone());
            heads.push(if echoed {
                prompt.text.clone()
            } else {
                String::new()
            });
        }
    }
    let envelope = Envelope::new("cmpl", options.id);
    Ok(match options.delivery {
        Delivery::Stream(usage) => stream::respond(stream::text(
            &envelope,
            &completions,
            &heads,
            prompt_tokens,
            usage,
        )),
        Delivery::Whole => {
            whole::json_body(&body_of(&envelope, &completions, &heads, prompt_tokens))
        }
    })
}

fn body_of(
    envelope: &Envelope,
    completions: &[Completion],
    heads: &[String],
    prompt_tokens: u64,
) -> Value {
    let choices: Vec<Value> = completions
        .iter()
        .zip(heads)
        .enumerate()
        .map(|(index, (completion, head))| {
            let text = format!("{head}{}", completion.content.concat());
            json!({"index": index, "text": text, "logprobs": null, "finish_reason": completion.finish.name()})
        })
        .collect();
    json!({
        "id": envelope.id,
        "object": "text_completion",
        "created": envelope.created,
        "model": envelope.model,
        "choices": choices,
        "usage": whole::usage(completions, prompt_tokens),
    })
}

struct Prompt {
    text: String,
    tokens: u64,
}

/// One prompt or several; token numbers are counted, but these models have no table to read them by.
fn prompts(fields: Fields<'_>) -> Result<Vec<Prompt>, Refusal> {
    let written = |text: &str| Prompt {
        text: text.to_owned(),
        tokens: tokens(text).count() as u64,
    };
    let numbers = |list: &[Value]| Prompt {
        text: String::new(),
        tokens: list.len() as u64,
    };
    let are_numbers = |list: &[Value]| !list.is_empty() && list.iter().all(Value::is_u64);
    let refused = || {
        Refusal::value(
            "prompt",
            "`prompt` must be a string, a list of strings, or token numbers",
        )
    };
    let prompts = match fields
        .get("prompt")
        .ok_or_else(|| Refusal::missing("prompt"))?
    {
        Value::String(text) => vec![written(text)],
        Value::Array(list) if are_numbers(list) => vec![numbers(list)],
        Value::Array(list) => {
            let read = |item: &Value| match item {
                Value::String(text) => Ok(written(text)),
                Value::Array(list) if are_numbers(list) => Ok(numbers(list)),
                _ => Err(refused()),
            };
            list.iter().map(read).collect::<Result<_, _>>()?
        }
        _ => return Err(refused()),
    };
    if prompts.is_empty() {
        Err(refused())
    } else {
        Ok(prompts)
    }
}
