//! The search query out of a conversation.

use crate::openai::Message;

/// How many messages back a conversation query looks.
const CONVERSATION_MESSAGES: usize = 6;

/// How much of each earlier message a conversation query takes, in characters.
const EARLIER_LIMIT: usize = 400;

/// The text of the last user message; `None` when there is no such text (no user message, or images only).
pub fn last_user(messages: &[Message]) -> Option<String> {
    let text = messages
        .iter()
        .rev()
        .find(|message| message.role == "user")?
        .text();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The last user message, then what was said before it, newest first: search engines weigh the words at hand, and what is cut at their limit
/// is the oldest.
pub fn conversation(messages: &[Message]) -> Option<String> {
    let question = last_user(messages)?;
    let last = messages
        .iter()
        .rposition(|message| message.role == "user")?;
    let earlier = messages
        .iter()
        .take(last)
        .rev()
        .filter(|message| message.role == "user" || message.role == "assistant");
    let mut query = question;
    for message in earlier.take(CONVERSATION_MESSAGES) {
        let text: String = message.text().trim().chars().take(EARLIER_LIMIT).collect();
        if !text.is_empty() {
            query.push('\n');
            query.push_str(&text);
        }
    }
    Some(query)
}

/// The request that asks a model to reword the conversation as one search query.
pub fn rewriting_prompt(messages: &[Message]) -> Option<[Message; 2]> {
    last_user(messages)?;
    let said = messages
        .iter()
        .filter(|message| message.role == "user" || message.role == "assistant");
    let lines: Vec<String> = said
        .map(|message| {
            format!(
                "{}: {}",
                message.role,
                message.text().trim().chars().take(2000).collect::<String>()
            )
        })
        .collect();
    let recent = lines.len().saturating_sub(CONVERSATION_MESSAGES + 1);
    let transcript = lines.get(recent..).unwrap_or_default().join("\n");
    Some([
        Message::new(
            "system",
            "Rewrite the last question of the conversation as one search query that can be understood without the conversation. Answer with \
             the query alone, in the language of the question.",
        ),
        Message::new("user", &transcript),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_user_message_is_the_query() {
        let messages = [
            Message::new("user", "old"),
            Message::new("user", " What now? "),
            Message::new("assistant", "well"),
        ];
        assert_eq!(last_user(&messages).as_deref(), Some("What now?"));
        assert_eq!(last_user(&[Message::new("system", "x")]), None);
        assert_eq!(last_user(&[Message::new("user", "  ")]), None);
    }

    #[test]
    fn a_conversation_query_begins_with_the_question() {
        let messages = [
            Message::new("user", "Who runs support?"),
            Message::new("assistant", "The desk in Lyon."),
            Message::new("user", "And at night?"),
        ];
        assert_eq!(
            conversation(&messages).as_deref(),
            Some("And at night?\nThe desk in Lyon.\nWho runs support?")
        );
    }
}
