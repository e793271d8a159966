//! What strict servers refuse of a request: the rules that the gateway must keep whatever a client sends.

use serde_json::Value;

/// What a strict server would not take of what the gateway sent.
pub(crate) fn complaint(request: &Value, grounding: &str) -> Option<String> {
    if request.get("rag").is_some() {
        return Some("`rag` is not a field of ours".to_owned());
    }
    let messages = request["messages"].as_array()?;
    if request.get("tools").is_some() || messages.iter().any(|message| message["role"] == "tool") {
        return complaint_about_tools(request, messages);
    }
    let systems: Vec<&str> = messages
        .iter()
        .filter(|message| message["role"] == "system")
        .filter_map(|message| message["content"].as_str())
        .collect();
    match systems.as_slice() {
        [one] if one.contains(grounding) => None,
        [_] => Some("the system message does not ground the answer".to_owned()),
        _ => Some(format!("{} system messages instead of one", systems.len())),
    }
}

/// The rules that servers have for tools and for their results.
fn complaint_about_tools(request: &Value, messages: &[Value]) -> Option<String> {
    if request["tools"]
        .as_array()
        .is_some_and(|tools| tools.is_empty())
    {
        return Some("[] is too short - 'tools'".to_owned());
    }
    if request.get("tool_choice").is_some() && request.get("tools").is_none() {
        return Some("When using `tool_choice`, `tools` must be set.".to_owned());
    }
    let mut called: Vec<&Value> = Vec::new();
    for message in messages {
        if ["reasoning", "reasoning_content", "annotations"]
            .iter()
            .any(|field| message.get(field).is_some_and(|value| !value.is_null()))
        {
            return Some("Extra inputs are not permitted".to_owned());
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        called.extend(calls.map(|call| &call["id"]));
        if message["role"] == "tool" && !called.contains(&&message["tool_call_id"]) {
            return Some("a tool message answers no call".to_owned());
        }
    }
    let last = &messages.last()?["role"];
    (last != "user" && last != "tool")
        .then(|| format!("Expected last role User or Tool, got {last}"))
}
