//! Requests that are not searched for.
//!
//! Chat programs ask the same endpoint for titles, tags and follow-up questions of a conversation. A search for such a prompt costs money and
//! puts passages about "generating a concise title" in front of the model. The rules recognise the programs' own prompts by how they begin,
//! so that a person who writes about titles is still searched for.

use crate::{config::SkipRule, openai::Message};

/// How the task prompts of Open WebUI go on after `### Task:` (its default templates, `DEFAULT_*_PROMPT_TEMPLATE`).
const OPEN_WEBUI_TASKS: [&str; 8] = [
    "Generate a concise, 3-5 word title",
    "Generate 1-3 broad tags",
    "Suggest 3-5 relevant follow-up questions",
    "Analyze the chat history to determine the necessity of generating search queries",
    "Generate a detailed prompt for a",
    "You are an autocompletion system",
    "Based on the user's instruction, update and enhance the existing notes",
    "Your task is to reflect the speaker's likely facial expression",
];

/// How the title prompts of LibreChat begin (`titlePrompt` of its agents package, and the older ones of its OpenAI client).
const LIBRECHAT_TITLES: [&str; 5] = [
    "Provide a concise, 5-word-or-less title for the conversation",
    "Please generate a concise, 5-word-or-less title for the conversation",
    "Analyze this conversation and provide:\n1. The detected language of the conversation",
    "Write a concise title for this conversation in the detected language",
    "Detect the language used in the following text. Note: words may be misspelled",
];

/// The name of the first of `rules` that holds for the conversation.
pub fn matching(rules: &[SkipRule], messages: &[Message]) -> Option<&'static str> {
    let asked = messages
        .last()
        .filter(|message| message.role == "user" || message.is_system())?
        .text();
    rules.iter().find_map(|rule| match rule {
        SkipRule::ChatUiTasks => chat_ui_task(&asked),
    })
}

fn chat_ui_task(asked: &str) -> Option<&'static str> {
    let asked = asked.trim_start();
    if let Some(task) = asked.strip_prefix("### Task:") {
        let task = task.trim_start();
        return OPEN_WEBUI_TASKS
            .iter()
            .any(|known| task.starts_with(known))
            .then_some("open_webui_task");
    }
    LIBRECHAT_TITLES
        .iter()
        .any(|known| begins_with(asked, known))
        .then_some("librechat_title")
}

/// Whether `text` begins with `known`, wherever its lines end with a carriage return as well.
fn begins_with(text: &str, known: &str) -> bool {
    let mut bytes = text.bytes().filter(|byte| *byte != b'\r');
    known.bytes().all(|known| bytes.next() == Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Option<&'static str> {
        matching(&[SkipRule::ChatUiTasks], &[Message::new("user", text)])
    }

    #[test]
    fn the_side_requests_of_chat_programs_are_known() {
        for (text, expected) in [
            (
                "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Guidelines:\n- The title",
                "open_webui_task",
            ),
            (
                "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along with 1-3 more specific subtopic tags.",
                "open_webui_task",
            ),
            (
                "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next in this conversation",
                "open_webui_task",
            ),
            (
                "### Task:\nAnalyze the chat history to determine the necessity of generating search queries, in the given language.",
                "open_webui_task",
            ),
            (
                "Provide a concise, 5-word-or-less title for the conversation, using title case conventions. Only return the title itself.\n\nConversation:\nUser: hi",
                "librechat_title",
            ),
            (
                "Analyze this conversation and provide:\n1. The detected language of the conversation\n2. A concise title in the detected language (5 words or less, no punctuation or quotation)\n\nUser: hi",
                "librechat_title",
            ),
        ] {
            assert_eq!(rule(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn people_who_write_about_titles_are_searched_for() {
        for text in [
            "What is our data retention policy?",
            "Generate a concise, 3-5 word title for my newsletter",
            "### Task:\nSummarise the onboarding checklist",
            "Which tags do we use? Generate 1-3 broad tags.",
            "",
        ] {
            assert_eq!(rule(text), None, "{text}");
        }
    }

    #[test]
    fn no_rule_means_no_skipping() {
        assert_eq!(
            matching(
                &[],
                &[Message::new("user", "### Task:\nGenerate 1-3 broad tags")]
            ),
            None
        );
    }
}
