//! The search tool: what the model is offered, and what it writes when it calls it.
//!
//! What a model writes is untrusted. It is mended where the meaning is plain, answered as a tool error where it is not, and can name a query
//! and a number of results, nothing else: a scope in the arguments is not even read.

use serde_json::{Value, json};

use crate::openai::{ChatRequest, Json, Object, chat::Invalid};

/// The tool's name, as in the guides.
pub(crate) const NAME: &str = "lighton_search";

/// Names that models write for it when no tool of the client's is called so.
const NEAR_NAMES: [&str; 9] = [
    "search",
    "file_search",
    "knowledge_search",
    "knowledge_base_search",
    "document_search",
    "lightonsearch",
    "lighton",
    "search_documents",
    "search_knowledge_base",
];

/// Keys that models write for `query`.
const QUERY_KEYS: [&str; 7] = [
    "query",
    "q",
    "question",
    "search_query",
    "queries",
    "text",
    "input",
];

/// The most that a call may ask for (the guides' range).
const MAX_RESULTS: u16 = 50;

/// The longest query that is passed on, in characters: LightOn's own limit.
const QUERY_LIMIT: usize = 4000;

/// The tool as the guides define it; with numbers, its description asks for them.
pub(super) fn definition(numbered: bool) -> Json {
    let mut description = "Search the company knowledge base for passages relevant to a query. Returns ranked excerpts with their source \
                           filename and page numbers."
        .to_owned();
    if numbered {
        description.push_str(
            " Each excerpt has a number: in your answer, cite the number of each excerpt you rely on, like [1].",
        );
    }
    Json::of(&json!({
        "type": "function",
        "function": {
            "name": NAME,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "Natural-language search query."},
                    "max_results": {
                        "type": "integer",
                        "description": "Number of passages to return (1–50, default 5).",
                        "default": 5,
                    },
                },
                "required": ["query"],
            },
        },
    }))
}

/// Whether a request can be answered in mode `tool` at all.
pub fn check(request: &ChatRequest) -> Result<(), Invalid> {
    if request.n > 1 {
        let message = "`n` over 1 cannot be answered with the search tool; send `n: 1`, or `rag.mode: \"inject\"`";
        return Err(Invalid::value("n", message));
    }
    let older = request
        .object()
        .value("functions")
        .and_then(Json::items)
        .is_some_and(|functions| !functions.is_empty());
    if older {
        let message = "`functions` cannot stand beside the search tool; send them as `tools`, or `rag.mode: \"inject\"`";
        return Err(Invalid::value("functions", message));
    }
    match client_tools(request).iter().position(|name| name == NAME) {
        Some(index) => Err(Invalid::value(
            format!("tools[{index}].function.name"),
            format!(
                "the gateway has a tool called `{NAME}` of its own; leave yours out, or send `rag.mode: \"off\"`"
            ),
        )),
        None => Ok(()),
    }
}

/// The names of the tools that the client brought.
pub(super) fn client_tools(request: &ChatRequest) -> Vec<String> {
    let tools = request
        .object()
        .value("tools")
        .and_then(Json::items)
        .unwrap_or_default();
    tools
        .iter()
        .map(|tool| function_name(tool).unwrap_or_default())
        .collect()
}

fn function_name(tool: &Json) -> Option<String> {
    let tool = Object::parse(tool)?;
    tool.value("function")
        .or_else(|| tool.value("custom"))
        .and_then(Object::parse)?
        .read_value("name")
}

/// Whether the client's `tool_choice` names the gateway's search.
pub(super) fn chooses_search(request: &ChatRequest) -> bool {
    let choice = request.object().value("tool_choice");
    choice.and_then(function_name).as_deref() == Some(NAME)
}

/// Whose a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The gateway's search.
    Search,
    /// A tool of the client's.
    Client,
    /// Nobody offered it.
    Nobody,
}

/// Whose tool `name` is.
pub(super) fn owner(name: &str, client_tools: &[String]) -> Owner {
    if client_tools.iter().any(|own| own == name) {
        return Owner::Client;
    }
    let plain = name.to_lowercase().replace(['-', '.', ' '], "_");
    let plain = plain.strip_prefix("functions_").unwrap_or(&plain);
    if plain == NAME || NEAR_NAMES.contains(&plain) {
        Owner::Search
    } else {
        Owner::Nobody
    }
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) query: String,
    /// 1..=50; `None` where the call does not say.
    pub(super) max_results: Option<u16>,
}

impl Arguments {
    /// Reads what the model wrote; the error is a sentence for it.
    pub(super) fn read(written: &str) -> Result<Self, &'static str> {
        let value = mended(written).ok_or(
            "The arguments are not valid JSON. Call the tool again with {\"query\": \"...\"}.",
        )?;
        let query = query(&value).ok_or(
            "The argument `query` is missing. Call the tool again with {\"query\": \"...\"}.",
        )?;
        Ok(Self {
            query,
            max_results: max_results(&value),
        })
    }

    /// The arguments as they go back to the model: valid JSON, which chat templates parse again.
    pub(super) fn to_json(&self) -> String {
        match self.max_results {
            Some(max_results) => json!({"query": self.query, "max_results": max_results}),
            None => json!({"query": self.query}),
        }
        .to_string()
    }
}

/// The JSON that was meant: as written, written as a string in a string, followed by junk, or cut before its closing marks.
fn mended(written: &str) -> Option<Value> {
    let text = written.trim();
    let text = text
        .strip_prefix("```json")
        .or_else(|| text.strip_prefix("```"))
        .unwrap_or(text)
        .trim();
    let first = |text: &str| {
        serde_json::Deserializer::from_str(text)
            .into_iter::<Value>()
            .next()?
            .ok()
    };
    let value = first(text).or_else(|| {
        let from = text.find('{')?;
        let text = text.get(from..)?;
        first(text).or_else(|| {
            ["}", "\"}", "]}", "\"]}"]
                .iter()
                .find_map(|end| first(&format!("{text}{end}")))
        })
    })?;
    match value {
        Value::String(inner) => match serde_json::from_str::<Value>(&inner) {
            Ok(value @ Value::Object(_)) => Some(value),
            // A bare string can only be the query.
            _ => Some(json!({"query": inner})),
        },
        Value::Object(_) => Some(value),
        _ => None,
    }
}

fn query(value: &Value) -> Option<String> {
    let found = QUERY_KEYS.iter().find_map(|key| match value.get(*key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" "),
        ),
        _ => None,
    })?;
    let query: String = found.trim().chars().take(QUERY_LIMIT).collect();
    (!query.is_empty()).then_some(query)
}

fn max_results(value: &Value) -> Option<u16> {
    let number = match value.get("max_results") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite())?;
    // Out of range is mended to the nearest end; the cast is exact within it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1..=50 first"
    )]
    let number = number.clamp(1.0, f64::from(MAX_RESULTS)) as u16;
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(written: &str) -> Option<(String, Option<u16>)> {
        Arguments::read(written)
            .ok()
            .map(|arguments| (arguments.query, arguments.max_results))
    }

    #[test]
    fn what_is_plain_is_mended() {
        // 0 stands for a number that the call does not say.
        for (written, query, results) in [
            (r#"{"query": "a b", "max_results": 3}"#, "a b", 3),
            (r#"{"query": "a"}"#, "a", 0),
            (r#"{"query": "a", "max_results": "10"}"#, "a", 10),
            (r#"{"query": "a", "max_results": "ten"}"#, "a", 0),
            (r#"{"query": "a", "max_results": 1000}"#, "a", 50),
            (r#"{"query": "a", "max_results": -1}"#, "a", 1),
            (r#"{"query": "a", "max_results": 2.7}"#, "a", 2),
            (r#"{"query": "a", "max_results": 1e400}"#, "a", 0),
            (
                r#"{"query": "a", "workspace_id": [1], "file_id": 2}"#,
                "a",
                0,
            ),
            (r#"{"query": "a""#, "a", 0),
            (r#"{"query": "a"#, "a", 0),
            (r#"{"query": "a"}}junk"#, "a", 0),
            (r#""{\"query\": \"a\"}""#, "a", 0),
            (r#""just words""#, "just words", 0),
            (r#"{"q": "a"}"#, "a", 0),
            (r#"{"queries": ["a", "b"]}"#, "a b", 0),
            ("```json\n{\"query\": \"a\"}\n```", "a", 0),
            (r#"{"query": 42}"#, "42", 0),
        ] {
            // 1e400 is no JSON number to this parser: then the whole text is not valid, and a tool error says so.
            let expected = (!written.contains("1e400"))
                .then(|| (query.to_owned(), (results > 0).then_some(results)));
            assert_eq!(read(written), expected, "{written}");
        }
    }

    #[test]
    fn what_is_not_plain_is_a_tool_error() {
        for written in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"query": ""}"#,
            r#"{"query": null}"#,
            "nonsense",
            r#"{"query": {"a": 1}}"#,
        ] {
            assert_eq!(read(written), None, "{written}");
        }
    }

    #[test]
    fn near_names_are_the_search_unless_the_client_has_one_of_that_name() {
        for name in [
            "lighton_search",
            "Lighton_Search",
            "LIGHTON-SEARCH",
            "search",
            "file_search",
            "knowledge_search",
            "functions.lighton_search",
        ] {
            assert_eq!(owner(name, &[]), Owner::Search, "{name}");
        }
        assert_eq!(owner("search", &["search".to_owned()]), Owner::Client);
        assert_eq!(
            owner("get_weather", &["get_weather".to_owned()]),
            Owner::Client
        );
        assert_eq!(owner("get_weather", &[]), Owner::Nobody);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_bounded(written in any::<String>()) {
            if let Ok(arguments) = Arguments::read(&written) {
                prop_assert!(!arguments.query.is_empty() && arguments.query.chars().count() <= QUERY_LIMIT);
                prop_assert!(arguments.max_results.is_none_or(|number| (1..=MAX_RESULTS).contains(&number)));
            }
        }
    }
}
