//! A conversation as the models read it: who said what, which tools are offered, what was found since the last question.

use serde_json::Value;

/// The search tool of LightOn's guides, which these models know how to use.
pub const SEARCH_TOOL: &str = "lighton_search";

/// What a model is asked to go on with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// What was said, oldest first.
    pub messages: Vec<Message>,
    /// The tools that are offered.
    pub tools: Vec<Tool>,
    /// Whether and which tools are to be called.
    pub choice: ToolChoice,
    /// How many calls one turn may hold.
    pub calls: Calls,
    /// How the answer is to be written.
    pub format: Format,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Its text parts, in order.
    pub texts: Vec<String>,
    /// The calls it makes, of an assistant: ids and names of tools.
    pub calls: Vec<(String, String)>,
    /// The call it answers, of a tool.
    pub answers: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator; `developer` is the newer name of the same.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
}

/// Whether and which tools are to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model sees fit.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// How many calls one turn may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Calls {
    /// Any number.
    #[default]
    Several,
    /// At most one (`parallel_tool_calls: false`).
    Single,
}

/// How the answer is to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// As prose.
    #[default]
    Text,
    /// As a JSON object `{"answer": ..}`.
    JsonObject,
}

impl Message {
    /// A message of `role` that says `text` and calls nothing.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            texts: vec![text.into()],
            calls: Vec::new(),
            answers: None,
        }
    }

    /// Its text parts as one text.
    pub(super) fn text(&self) -> String {
        self.texts.join("\n\n")
    }
}

impl Conversation {
    /// The conversation of a legacy completion: `prompt` may start with instructions and a context, and ends with the question.
    pub fn from_prompt(prompt: impl Into<String>) -> Self {
        Self {
            messages: vec![Message::new(Role::User, prompt)],
            ..Self::default()
        }
    }

    /// The tool called `name`, where it is offered.
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The names of the tools whose results came since the last user message, one for each result.
    pub(super) fn answered(&self) -> Vec<&str> {
        self.since_question()
            .iter()
            .filter(|message| message.role == Role::Tool)
            .map(|message| self.name_of(message))
            .collect()
    }

    /// The last message of the person who asks.
    pub(super) fn last_user(&self) -> Option<&Message> {
        self.messages
            .iter()
            .rfind(|message| message.role == Role::User)
    }

    /// What came after it.
    pub(super) fn since_question(&self) -> &[Message] {
        let start = self
            .messages
            .iter()
            .rposition(|message| message.role == Role::User)
            .map_or(0, |at| at + 1);
        self.messages.get(start..).unwrap_or_default()
    }

    /// The name of the tool whose result `message` is; empty when nothing called it.
    pub(super) fn name_of(&self, message: &Message) -> &str {
        let Some(id) = &message.answers else {
            return "";
        };
        let calls = self
            .messages
            .iter()
            .rev()
            .flat_map(|message| &message.calls);
        calls
            .into_iter()
            .find(|(known, _)| known == id)
            .map_or("", |(_, name)| name)
    }
}
