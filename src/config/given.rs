//! A value on its way to become a setting, and how far it may be shown.

use super::{
    document::Value,
    environment::Environment,
    problem::{Fault, listed, suggestion},
};

/// A value whose references are replaced.
pub(super) struct Given {
    pub(super) value: Value,
    /// Whether it may be shown: not when a reference was replaced in it.
    pub(super) shown: bool,
}

impl Given {
    /// Writes the value for a message, if it may be shown and is not long.
    pub(super) fn quoted(&self) -> String {
        const LONGEST: usize = 40;
        let text = match &self.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Date(date) => date.clone(),
            other => return other.kind().to_owned(),
        };
        if self.shown && text.chars().count() <= LONGEST {
            format!("`{}`", text.escape_debug())
        } else {
            "its value".to_owned()
        }
    }
}

/// Replaces the references in each text; `shown` becomes false where there was one.
pub(super) fn expand(env: &Environment, value: Value, shown: &mut bool) -> Result<Value, Fault> {
    match value {
        Value::Text(text) => {
            let expanded = env.expand(&text)?;
            *shown &= !expanded.has_references;
            Ok(Value::Text(expanded.text))
        }
        Value::List(items) => {
            let items: Result<Vec<Value>, Fault> = items
                .into_iter()
                .map(|item| expand(env, item, shown))
                .collect();
            items.map(Value::List)
        }
        Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Date(_)
        | Value::Table(_)
        | Value::Unfit(_) => Ok(value),
    }
}

/// Says which words there are, after one that is none of them.
pub(super) fn unknown_word(given: &Given, words: &[&'static str]) -> Fault {
    let remedy = match &given.value {
        Value::Text(text) if given.shown => suggestion(text, words.iter().copied()),
        _ => format!("write one of {}", listed(words.iter().copied())),
    };
    Fault::new(format!("{} is none of its words", given.quoted()), remedy)
}
