//! A chat request read and checked: as strict as vLLM about fields, as strict as OpenAI about the order of tool messages.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    CONTEXT_TOKENS,
    conversation::{Calls, Conversation, Format, Message, Role, Tool, ToolChoice},
    fields::Fields,
    options::Options,
    refusal::Refusal,
    tokens,
};

/// A request that can be answered.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) options: Options,
    pub(super) conversation: Conversation,
    pub(super) prompt_tokens: u64,
}

impl ChatRequest {
    /// Reads a request body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let body = parse(body)?;
        let fields = Fields::of(&body, "body")?;
        let options = Options::read(fields)?;
        let messages = messages(fields)?;
        check_tool_messages(&messages)?;
        let tools = tools(fields)?;
        let choice = choice(fields, &tools)?;
        let calls = if fields.flag("parallel_tool_calls")?.unwrap_or(true) {
            Calls::Several
        } else {
            Calls::Single
        };
        let prompt_tokens = prompt_tokens(fields);
        if prompt_tokens >= CONTEXT_TOKENS {
            let message = format!(
                "this model reads {CONTEXT_TOKENS} tokens at most, and the request has {prompt_tokens}; shorten the messages"
            );
            return Err(Refusal::too_long(message));
        }
        let conversation = Conversation {
            messages,
            tools,
            choice,
            calls,
            format: format(fields)?,
        };
        Ok(Self {
            options,
            conversation,
            prompt_tokens,
        })
    }
}

/// Parses a request body.
pub(super) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::not_json(format!("the body is not valid JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Refusal::not_json("the body must be a JSON object"))
    }
}

/// Counts the tokens of every text that the model reads: what is said, and the tools.
fn prompt_tokens(fields: Fields<'_>) -> u64 {
    let said = fields.get("messages").map_or(0, texts_tokens);
    let offered = fields
        .get("tools")
        .map_or(0, |tools| tokens::tokens(&tools.to_string()).count());
    (said + offered) as u64
}

fn texts_tokens(value: &Value) -> usize {
    match value {
        Value::String(text) => tokens::tokens(text).count(),
        Value::Array(list) => list.iter().map(texts_tokens).sum(),
        Value::Object(object) => object
            .iter()
            .filter(|(key, _)| {
                matches!(
                    key.as_str(),
                    "content" | "text" | "tool_calls" | "function" | "arguments"
                )
            })
            .map(|(_, value)| texts_tokens(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn messages(fields: Fields<'_>) -> Result<Vec<Message>, Refusal> {
    let list = fields
        .list("messages")?
        .ok_or_else(|| Refusal::missing("messages"))?;
    if list.is_empty() {
        return Err(Refusal::value(
            "messages",
            "`messages` must hold at least one message",
        ));
    }
    list.iter()
        .enumerate()
        .map(|(at, message)| read_message(message, &format!("messages[{at}]")))
        .collect()
}

fn read_message(message: &Value, param: &str) -> Result<Message, Refusal> {
    let fields = Fields::of(message, param)?;
    let role = match fields
        .text("role")?
        .ok_or_else(|| Refusal::missing(&format!("{param}.role")))?
    {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            return Err(Refusal::value(
                format!("{param}.role"),
                format!("`{other}` is no role; use system, developer, user, assistant or tool"),
            ));
        }
    };
    let texts = texts(fields.get("content"), &format!("{param}.content"))?;
    let calls = if role == Role::Assistant {
        read_calls(fields, param)?
    } else {
        Vec::new()
    };
    // An assistant's content may be `null`: calls need none, and an answer that was cut off while thinking has none.
    let Some(texts) = texts.or_else(|| (role == Role::Assistant).then(Vec::new)) else {
        return Err(Refusal::missing(&format!("{param}.content")));
    };
    let answers = fields.text("tool_call_id")?.map(str::to_owned);
    if role == Role::Tool && answers.is_none() {
        return Err(Refusal::missing(&format!("{param}.tool_call_id")));
    }
    Ok(Message {
        role,
        texts,
        calls,
        answers,
    })
}

/// The texts of a message's content; parts that are no text (images, sound) are not for these models and are passed over.
fn texts(content: Option<&Value>, param: &str) -> Result<Option<Vec<String>>, Refusal> {
    let parts = match content {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(vec![text.clone()])),
        Some(Value::Array(parts)) => parts,
        Some(_) => {
            return Err(Refusal::value(
                param,
                format!("`{param}` must be a string or a list of parts"),
            ));
        }
    };
    let mut texts = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let param = format!("{param}[{at}]");
        let part = Fields::of(part, &param)?;
        match part.text("type")? {
            Some("text") => texts.push(
                part.text("text")?
                    .ok_or_else(|| Refusal::missing(&format!("{param}.text")))?
                    .to_owned(),
            ),
            Some("image_url" | "input_audio" | "file" | "refusal") => {}
            Some(_) | None => {
                return Err(Refusal::value(
                    format!("{param}.type"),
                    "a part is of type text, image_url, input_audio, file or refusal",
                ));
            }
        }
    }
    Ok(Some(texts))
}

fn read_calls(fields: Fields<'_>, param: &str) -> Result<Vec<(String, String)>, Refusal> {
    let list = fields
        .list("tool_calls")?
        .map(Vec::as_slice)
        .unwrap_or_default();
    let read = |(at, call): (usize, &Value)| {
        let param = format!("{param}.tool_calls[{at}]");
        let call = Fields::of(call, &param)?;
        let id = call
            .text("id")?
            .ok_or_else(|| Refusal::missing(&format!("{param}.id")))?;
        let function = call
            .get("function")
            .ok_or_else(|| Refusal::missing(&format!("{param}.function")))?;
        let name = Fields::of(function, &format!("{param}.function"))?
            .text("name")?
            .ok_or_else(|| Refusal::missing(&format!("{param}.function.name")))?;
        Ok((id.to_owned(), name.to_owned()))
    };
    list.iter().enumerate().map(read).collect()
}

/// Checks that each call is answered right after it and nothing else is: OpenAI refuses conversations where this does not hold.
fn check_tool_messages(messages: &[Message]) -> Result<(), Refusal> {
    let mut open: HashSet<&str> = HashSet::new();
    for (at, message) in messages.iter().enumerate() {
        let param = format!("messages[{at}]");
        match &message.answers {
            Some(id) if message.role == Role::Tool => {
                if !open.remove(id.as_str()) {
                    return Err(Refusal::value(
                        param,
                        format!(
                            "a tool message must answer a call of the assistant before it, and `{id}` is none"
                        ),
                    ));
                }
            }
            _ if !open.is_empty() => return Err(unanswered(&param, &open)),
            _ => open.extend(message.calls.iter().map(|(id, _)| id.as_str())),
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(unanswered("messages", &open))
    }
}

fn unanswered(param: &str, open: &HashSet<&str>) -> Refusal {
    let mut ids: Vec<&str> = open.iter().copied().collect();
    ids.sort_unstable();
    Refusal::value(
        param,
        format!(
            "an assistant message with calls must be followed by their results; these have none: {}",
            ids.join(", ")
        ),
    )
}

fn tools(fields: Fields<'_>) -> Result<Vec<Tool>, Refusal> {
    let Some(list) = fields.list("tools")? else {
        return Ok(Vec::new());
    };
    if list.is_empty() {
        return Err(Refusal::value(
            "tools",
            "`tools` must not be an empty list; leave it out instead",
        ));
    }
    list.iter()
        .enumerate()
        .map(|(at, tool)| read_tool(tool, &format!("tools[{at}]")))
        .collect()
}

fn read_tool(tool: &Value, param: &str) -> Result<Tool, Refusal> {
    let fields = Fields::of(tool, param)?;
    if fields.text("type")? != Some("function") {
        return Err(Refusal::value(
            format!("{param}.type"),
            "a tool is of type function",
        ));
    }
    let function = fields
        .get("function")
        .ok_or_else(|| Refusal::missing(&format!("{param}.function")))?;
    let param = format!("{param}.function");
    let function = Fields::of(function, &param)?;
    let name = function
        .text("name")?
        .ok_or_else(|| Refusal::missing(&format!("{param}.name")))?;
    let fits = (1..=64).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !fits {
        return Err(Refusal::value(
            format!("{param}.name"),
            "a tool's name has 1 to 64 letters, digits, `_` and `-`",
        ));
    }
    let parameters = function.get("parameters").cloned().unwrap_or_default();
    if !parameters.is_null() && !parameters.is_object() {
        return Err(Refusal::value(
            format!("{param}.parameters"),
            "the parameters of a tool are a JSON schema",
        ));
    }
    Ok(Tool {
        name: name.to_owned(),
        description: function.text("description")?.unwrap_or_default().to_owned(),
        parameters,
    })
}

fn choice(fields: Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, Refusal> {
    let refuse = |message: &str| Err(Refusal::value("tool_choice", message));
    let choice = match fields.get("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(ToolChoice::None),
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => return refuse("`tool_choice` is none, auto, required or a function"),
        },
        Some(named) => {
            let function = named
                .get("function")
                .filter(|_| named.get("type").and_then(Value::as_str) == Some("function"));
            let name = function
                .and_then(|function| function.get("name"))
                .and_then(Value::as_str);
            match name {
                Some(name) => ToolChoice::Named(name.to_owned()),
                None => return refuse("`tool_choice` is none, auto, required or a function"),
            }
        }
    };
    match &choice {
        _ if tools.is_empty() => refuse("`tool_choice` goes with `tools` only"),
        ToolChoice::Named(name) if !tools.iter().any(|tool| &tool.name == name) => {
            refuse("`tool_choice` names a tool that is not in `tools`")
        }
        _ => Ok(choice),
    }
}

fn format(fields: Fields<'_>) -> Result<Format, Refusal> {
    let Some(format) = fields.get("response_format") else {
        return Ok(Format::Text);
    };
    match Fields::of(format, "response_format")?.text("type")? {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        _ => Err(Refusal::value(
            "response_format",
            "the sandbox models write `text` and `json_object`, no schema",
        )),
    }
}
