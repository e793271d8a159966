//! Which tools a model calls, and with what arguments: well-behaved for most models, badly on purpose for some.

use serde_json::{Value, json};

use super::{
    Model, arguments,
    conversation::{Calls, Conversation, SEARCH_TOOL, Tool, ToolChoice},
    words::{Tongue, key_words},
};

/// LightOn's limit for a query, in characters.
const QUERY_CHARS: usize = 4_000;

/// A call to a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// Its arguments as the model wrote them: a JSON text, which need not be valid, or an object where a text belongs.
    pub arguments: Value,
}

impl Call {
    fn new(name: &str, arguments: &Value) -> Self {
        Self {
            name: name.to_owned(),
            arguments: Value::String(arguments.to_string()),
        }
    }
}

/// Decides which tools to call before answering `question`; none when it is time to answer.
pub(super) fn plan(model: Model, conversation: &Conversation, question: &str) -> Vec<Call> {
    let Turn {
        search,
        own,
        answered,
    } = Turn::of(conversation);
    let query: String = question.chars().take(QUERY_CHARS).collect();
    let searches = || {
        search.map_or(Vec::new(), |_| {
            searches(model, &query, count(&answered, SEARCH_TOOL))
        })
    };
    let own = || {
        own.filter(|tool| count(&answered, &tool.name) == 0)
            .map(|tool| Call::new(&tool.name, &arguments::least(tool, &query)))
    };
    let mut calls = match (&conversation.choice, model) {
        (ToolChoice::None, _) => Vec::new(),
        (ToolChoice::Named(name), _) if name == SEARCH_TOOL => searches(),
        (ToolChoice::Named(name), _) => named(conversation, name, &answered, &query),
        (ToolChoice::Auto | ToolChoice::Required, Model::MixedTools) => {
            searches().into_iter().chain(own()).collect()
        }
        (ToolChoice::Auto | ToolChoice::Required, Model::ClientTool) => {
            own().map_or_else(searches, |call| vec![call])
        }
        (ToolChoice::Auto | ToolChoice::Required, _) => searches(),
    };
    if calls.is_empty() && conversation.choice == ToolChoice::Required && answered.is_empty() {
        calls.extend(
            conversation
                .tools
                .first()
                .map(|tool| Call::new(&tool.name, &arguments::least(tool, &query))),
        );
    }
    if conversation.calls == Calls::Single {
        calls.truncate(1);
    }
    calls
}

/// What a turn has to do with.
struct Turn<'a> {
    search: Option<&'a Tool>,
    /// The first of the client's own tools.
    own: Option<&'a Tool>,
    /// The names of the tools that answered since the question, one for each result.
    answered: Vec<&'a str>,
}

impl<'a> Turn<'a> {
    fn of(conversation: &'a Conversation) -> Self {
        let own = conversation
            .tools
            .iter()
            .find(|tool| tool.name != SEARCH_TOOL);
        Self {
            search: conversation.tool(SEARCH_TOOL),
            own,
            answered: conversation.answered(),
        }
    }
}

fn count(answered: &[&str], name: &str) -> usize {
    answered.iter().filter(|known| **known == name).count()
}

fn named(conversation: &Conversation, name: &str, answered: &[&str], query: &str) -> Vec<Call> {
    if count(answered, name) > 0 {
        return Vec::new();
    }
    conversation
        .tool(name)
        .map(|tool| Call::new(&tool.name, &arguments::least(tool, query)))
        .into_iter()
        .collect()
}

/// The searches of one turn after `done` results of earlier ones.
fn searches(model: Model, query: &str, done: usize) -> Vec<Call> {
    let search = |query: &str| Call::new(SEARCH_TOOL, &json!({ "query": query }));
    match (model, done) {
        (Model::ParallelSearch, 0) => parallel(query).iter().map(|query| search(query)).collect(),
        (Model::BadArguments, 0) => {
            // Cut off as by a model that lost its thread: the closing quote and brace never come.
            let cut = json!({ "query": query }).to_string();
            let cut = cut.trim_end_matches(['"', '}']).to_owned();
            vec![Call {
                name: SEARCH_TOOL.to_owned(),
                arguments: Value::String(cut),
            }]
        }
        (Model::BadArguments, 1) => {
            // Some servers send an object where a JSON text belongs (ggml-org/llama.cpp#20198).
            vec![Call {
                name: SEARCH_TOOL.to_owned(),
                arguments: json!({ "query": query, "max_results": "ten" }),
            }]
        }
        (Model::EndlessSearch, 1..) => vec![search(&format!("{query} ({})", done + 1))],
        (_, 0) => vec![search(query)],
        (_, 1..) => Vec::new(),
    }
}

/// A question asked of search in up to three ways: as it is, by its key words, and by the longest of them.
fn parallel(query: &str) -> Vec<String> {
    let words = key_words(query, Tongue::of(query, std::iter::empty()));
    let longest = words
        .iter()
        .rev()
        .max_by_key(|word| word.chars().count())
        .cloned();
    let mut ways: Vec<String> = Vec::new();
    for way in [Some(query.to_owned()), Some(words.join(" ")), longest]
        .into_iter()
        .flatten()
    {
        if !way.is_empty() && !ways.contains(&way) {
            ways.push(way);
        }
    }
    if let [only] = ways.as_slice() {
        ways.push(format!("{only} overview"));
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::{
        super::conversation::{Message, Role},
        *,
    };

    fn tool(name: &str) -> Tool {
        let parameters = json!({
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}, "note": {"type": "string"}},
            "required": ["city", "days", "unit"],
        });
        Tool {
            name: name.into(),
            description: String::new(),
            parameters,
        }
    }

    fn offering(tools: &[&str], answered: &[&str]) -> Conversation {
        let mut messages = vec![Message::new(
            Role::User,
            "What is our data retention policy?",
        )];
        for (at, name) in answered.iter().enumerate() {
            messages.push(Message {
                calls: vec![(at.to_string(), (*name).into())],
                ..Message::new(Role::Assistant, "")
            });
            messages.push(Message {
                answers: Some(at.to_string()),
                ..Message::new(Role::Tool, "No results found.")
            });
        }
        Conversation {
            messages,
            tools: tools.iter().map(|name| tool(name)).collect(),
            ..Conversation::default()
        }
    }

    fn called(model: Model, conversation: &Conversation) -> Vec<(String, String)> {
        let calls = plan(model, conversation, "What is our data retention policy?");
        calls
            .into_iter()
            .map(|call| {
                (
                    call.name,
                    call.arguments
                        .as_str()
                        .map_or_else(|| call.arguments.to_string(), str::to_owned),
                )
            })
            .collect()
    }

    fn names(model: Model, conversation: &Conversation) -> Vec<String> {
        called(model, conversation)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn search_is_called_once_with_the_question_and_then_answered_from() {
        let first = called(Model::Extractive, &offering(&["weather", SEARCH_TOOL], &[]));

        assert_eq!(
            first,
            [(
                SEARCH_TOOL.to_owned(),
                r#"{"query":"What is our data retention policy?"}"#.to_owned()
            )]
        );
        assert_eq!(
            names(Model::Extractive, &offering(&[SEARCH_TOOL], &[SEARCH_TOOL])),
            [""; 0]
        );
        assert_eq!(
            names(Model::Extractive, &offering(&["weather"], &[])),
            [""; 0]
        );
    }

    #[test]
    fn the_choice_of_tools_is_kept() {
        let choose = |choice, answered: &[&str]| Conversation {
            choice,
            ..offering(&["weather", SEARCH_TOOL], answered)
        };
        let weather = || ToolChoice::Named("weather".into());

        for model in Model::ALL {
            assert_eq!(
                names(*model, &choose(ToolChoice::None, &[])),
                [""; 0],
                "{model:?}"
            );
            assert_eq!(
                names(*model, &choose(weather(), &[])),
                ["weather"],
                "{model:?}"
            );
            assert_eq!(
                names(*model, &choose(weather(), &["weather"])),
                [""; 0],
                "{model:?}"
            );
            assert!(
                !names(*model, &choose(ToolChoice::Named(SEARCH_TOOL.into()), &[])).is_empty(),
                "{model:?}"
            );
        }
        let only_own = Conversation {
            choice: ToolChoice::Required,
            ..offering(&["weather"], &[])
        };
        assert_eq!(names(Model::Extractive, &only_own), ["weather"]);
        assert_eq!(
            names(
                Model::Extractive,
                &choose(ToolChoice::Required, &[SEARCH_TOOL])
            ),
            [""; 0]
        );
    }

    #[test]
    fn parallel_search_asks_in_different_words_at_once_unless_that_is_forbidden() {
        let offer = offering(&[SEARCH_TOOL], &[]);
        let queries: Vec<String> = called(Model::ParallelSearch, &offer)
            .into_iter()
            .map(|(_, arguments)| arguments)
            .collect();

        assert_eq!(
            queries,
            [
                r#"{"query":"What is our data retention policy?"}"#,
                r#"{"query":"data retention policy"}"#,
                r#"{"query":"retention"}"#
            ]
        );
        assert_eq!(
            names(
                Model::ParallelSearch,
                &Conversation {
                    calls: Calls::Single,
                    ..offer
                }
            )
            .len(),
            1
        );
        assert_eq!(parallel("tungsten"), ["tungsten", "tungsten overview"]);
    }

    #[test]
    fn bad_arguments_are_bad_json_then_an_object_then_an_answer() {
        let [(_, first)] = &called(Model::BadArguments, &offering(&[SEARCH_TOOL], &[]))[..] else {
            panic!("one call")
        };
        let second = plan(
            Model::BadArguments,
            &offering(&[SEARCH_TOOL], &[SEARCH_TOOL]),
            "q",
        );

        assert!(serde_json::from_str::<Value>(first).is_err(), "{first}");
        assert_eq!(
            second[0].arguments,
            json!({"query": "q", "max_results": "ten"})
        );
        assert_eq!(
            names(
                Model::BadArguments,
                &offering(&[SEARCH_TOOL], &[SEARCH_TOOL, SEARCH_TOOL])
            ),
            [""; 0]
        );
    }

    #[test]
    fn endless_search_goes_on_in_new_words_while_search_is_offered() {
        let asked = |results: usize| {
            called(
                Model::EndlessSearch,
                &offering(&[SEARCH_TOOL], &vec![SEARCH_TOOL; results]),
            )
        };

        assert_ne!(asked(1), asked(0));
        assert_ne!(asked(9), asked(8));
        assert_eq!(
            names(Model::EndlessSearch, &offering(&[], &[SEARCH_TOOL])),
            [""; 0]
        );
    }

    #[test]
    fn mixed_tools_and_client_tool_call_the_first_of_the_clients_tools() {
        let offered = ["weather", SEARCH_TOOL, "clock"];

        let mixed = called(Model::MixedTools, &offering(&offered, &[]));
        assert_eq!(
            mixed
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            [SEARCH_TOOL, "weather"]
        );
        assert_eq!(
            mixed[1].1,
            r#"{"city":"What is our data retention policy?","days":1,"unit":"c"}"#
        );
        assert_eq!(
            names(
                Model::MixedTools,
                &offering(&offered, &[SEARCH_TOOL, "weather"])
            ),
            [""; 0]
        );
        assert_eq!(
            names(Model::ClientTool, &offering(&offered, &[])),
            ["weather"]
        );
        assert_eq!(
            names(Model::ClientTool, &offering(&offered, &["weather"])),
            [SEARCH_TOOL]
        );
        assert_eq!(
            names(Model::ClientTool, &offering(&[SEARCH_TOOL], &[])),
            [SEARCH_TOOL]
        );
    }
}
