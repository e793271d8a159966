//! What a stand-in reads of a request: whether it is to search, and the sentence that answers.

use serde_json::Value;

/// What the guides put before the passages.
pub(crate) const GROUNDING: &str = "You are a helpful assistant. Answer the user's question using only the provided context. If the context does not \
                         contain enough information, say so.\n\nContext:\n";

/// The tool of the guides.
pub(crate) const SEARCH: &str = "lighton_search";

/// Whether the search is offered and was not called since the last question.
pub(crate) fn calls_search(request: &Value) -> bool {
    let offered = request["tools"]
        .as_array()
        .is_some_and(|tools| tools.iter().any(|tool| tool["function"]["name"] == SEARCH));
    let last = request["messages"].as_array().unwrap().last().unwrap();
    offered && last["role"] == "user"
}

pub(crate) fn text_of_last(request: &Value, role: &str) -> String {
    let messages = request["messages"].as_array().unwrap();
    let last = messages
        .iter()
        .rfind(|message| message["role"] == role)
        .unwrap();
    last["content"].as_str().unwrap().to_owned()
}

/// The sentence of the context that speaks of retention, or the first one, with the number of its passage.
pub(crate) fn sentence(request: &Value) -> String {
    let messages = request["messages"].as_array().unwrap();
    let context = if messages.iter().any(|message| message["role"] == "tool") {
        text_of_last(request, "tool")
    } else {
        let system = messages[0]["content"].as_str().unwrap_or_default();
        system
            .split_once(GROUNDING)
            .map_or_else(String::new, |(_, context)| context.to_owned())
    };
    let passage = context.split("\n\n").next().unwrap_or_default();
    let text = context
        .split(['\n', '.'])
        .find(|text| text.contains("retention") && !text.starts_with('['))
        .unwrap_or(passage);
    let end = if passage.starts_with("[1]") {
        " [1]"
    } else {
        ""
    };
    format!("{}.{end}", text.trim())
}
