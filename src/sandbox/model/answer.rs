//! What each model says: the sentences it picks, the thoughts before them, the tools it calls instead.

use serde_json::json;

use super::{
    Model,
    context::Passage,
    conversation::{Conversation, Format, SEARCH_TOOL},
    extract::{self, Pick},
    material::{Citing, Material, Presence},
    tools::{self, Call},
    words::{Tongue, key_words},
};

/// How much of a tool's result is quoted, in characters.
const QUOTED_CHARS: usize = 300;

/// What a model says in one turn, before any limit is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What it thinks first; empty for models that do not think.
    pub reasoning: String,
    /// Its text; empty when it calls tools.
    pub text: String,
    /// The tools it calls.
    pub calls: Vec<Call>,
}

/// Lets `model` go on with `conversation`. The same conversation gets the same answer, always.
pub fn answer(model: Model, conversation: &Conversation) -> Answer {
    let material = conversation.material();
    let calls = tools::plan(model, conversation, &material.question);
    let picks = if calls.is_empty() {
        extract::pick(&material.question, &material.passages)
    } else {
        Vec::new()
    };
    let reasoning = match model.thinks() {
        Thinks::First => think(&material, &picks, &calls),
        Thinks::Never => String::new(),
    };
    if !calls.is_empty() {
        return Answer {
            reasoning,
            text: String::new(),
            calls,
        };
    }
    let text = match conversation.format {
        Format::Text => say(&material, &picks),
        Format::JsonObject => json!({ "answer": say(&material, &picks) }).to_string(),
    };
    Answer {
        reasoning,
        text,
        calls,
    }
}

/// Whether a model thinks before it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinks {
    First,
    Never,
}

fn say(material: &Material, picks: &[Pick]) -> String {
    let found: Vec<String> = picks.iter().map(|pick| cited(pick, material)).collect();
    let quoted: Vec<String> = material
        .results
        .iter()
        .map(|(tool, text)| quote(tool, text))
        .collect();
    let told: Vec<String> = found.into_iter().chain(quoted).collect();
    if !told.is_empty() {
        return told.join(" ");
    }
    let french = Tongue::of(
        &material.question,
        material
            .passages
            .iter()
            .map(|passage| passage.text.as_str()),
    ) == Tongue::French;
    match (material.context, french) {
        (Presence::Present, false) => "The context does not contain enough information to answer this question.",
        (Presence::Present, true) => "Le contexte ne contient pas assez d'informations pour répondre à cette question.",
        (Presence::Absent, false) => {
            "I only answer from the context I am given, and this conversation has none: send passages after `Context:`, or offer me the tool `lighton_search`."
        }
        (Presence::Absent, true) => {
            "Je ne réponds qu'à partir du contexte donné, et cette conversation n'en a pas : envoyez des passages après `Context:`, ou proposez-moi l'outil `lighton_search`."
        }
    }
    .to_owned()
}

fn cited(pick: &Pick, material: &Material) -> String {
    let number = match material.citing {
        Citing::Numbers => material
            .passages
            .get(pick.passage)
            .and_then(|passage| passage.number),
        Citing::Nothing => None,
    };
    let Some(number) = number else {
        return ended(&pick.sentence);
    };
    // The sentence's own notes, `[3]` in an encyclopedia, would name passages of the prompt.
    format!(
        "{} [{number}]",
        ended(without_markers(&pick.sentence).trim())
    )
}

/// Items of lists and rows of tables have no full stop, and would run into the next sentence.
fn ended(sentence: &str) -> String {
    if sentence.ends_with(char::is_alphanumeric) {
        format!("{sentence}.")
    } else {
        sentence.to_owned()
    }
}

/// Takes out what reads as a citation: `[n]` with one to three digits.
fn without_markers(sentence: &str) -> String {
    let mut kept = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('[') {
        kept.push_str(before);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest = match after.get(digits..).and_then(|end| end.strip_prefix(']')) {
            Some(end) if (1..=3).contains(&digits) => end,
            _ => {
                kept.push('[');
                after
            }
        };
    }
    kept + rest
}

fn quote(tool: &str, text: &str) -> String {
    let head: String = text.trim().chars().take(QUOTED_CHARS).collect();
    let tool = if tool.is_empty() { "tool" } else { tool };
    ended(&format!("`{tool}` says: {head}"))
}

fn think(material: &Material, picks: &[Pick], calls: &[Call]) -> String {
    let tongue = Tongue::of(
        &material.question,
        material
            .passages
            .iter()
            .map(|passage| passage.text.as_str()),
    );
    let words = key_words(&material.question, tongue).join(", ");
    let asked = if words.is_empty() {
        "The question names no subject.".to_owned()
    } else {
        format!("The question is about {words}.")
    };
    if let Some(call) = calls.first() {
        // A gateway that offers the search itself shows these thoughts to a program that knows nothing of it.
        let means = match call.name.as_str() {
            SEARCH_TOOL => "search",
            own => &format!("call {own}"),
        };
        return format!("{asked} I need to know more, so I {means} first.");
    }
    let passages = material.passages.len();
    let fitting = match picks {
        [] => "None of their sentences fits it.".to_owned(),
        [best, ..] => {
            let label = material
                .passages
                .get(best.passage)
                .map_or("", |passage: &Passage| passage.label.as_str());
            format!(
                "{} of their sentences fit, the best in {}.",
                picks.len(),
                if label.is_empty() { "the first" } else { label }
            )
        }
    };
    format!("{asked} I have {passages} passages to answer it from. {fitting}")
}

#[cfg(test)]
mod tests {
    use super::{super::conversation::*, *};

    const ASKING: &str =
        "Use the context. Cite the number of each passage you rely on, like `[1]`.\n\nContext:\n";
    const PASSAGES: &str = "[1] [food.md]\nThe canteen serves soup.\n\n[2] [leave.md, p.4]\nEvery employee has 25 days of paid leave.[3] Leave is booked in the portal.";

    fn ask(system: &str, question: &str) -> Conversation {
        Conversation {
            messages: vec![
                Message::new(Role::System, system),
                Message::new(Role::User, question),
            ],
            ..Conversation::default()
        }
    }

    fn say(conversation: &Conversation) -> String {
        answer(Model::Extractive, conversation).text
    }

    #[test]
    fn sentences_carry_the_number_of_their_passage_and_no_other() {
        let text = say(&ask(
            &format!("{ASKING}{PASSAGES}"),
            "How many days of paid leave has an employee?",
        ));

        assert_eq!(text, "Every employee has 25 days of paid leave. [2]");
    }

    #[test]
    fn an_empty_context_is_said_to_hold_not_enough() {
        for question in [
            "What is our data retention policy?",
            "What is the boiling point of tungsten?",
        ] {
            let nothing = say(&ask(&format!("{ASKING}No results found."), question));
            assert!(
                nothing.contains("not contain enough information"),
                "{nothing}"
            );
        }
        let foreign = say(&ask(
            &format!("{ASKING}{PASSAGES}"),
            "What is the boiling point of tungsten?",
        ));
        assert!(
            foreign.contains("not contain enough information"),
            "{foreign}"
        );
        let french = say(&ask(
            &format!("{ASKING}No results found."),
            "Quel est le prix ?",
        ));
        assert!(french.contains("pas assez d'informations"), "{french}");
    }

    #[test]
    fn without_a_context_the_model_says_what_it_is_for() {
        let text = say(&Conversation::from_prompt("Hello!"));

        assert!(text.starts_with("I only answer from the context"), "{text}");
    }

    #[test]
    fn the_reasoner_thinks_and_says_the_same() {
        let conversation = ask(
            &format!("{ASKING}{PASSAGES}"),
            "How many days of paid leave has an employee?",
        );

        let (plain, thought) = (
            answer(Model::Extractive, &conversation),
            answer(Model::Reasoner, &conversation),
        );

        assert_eq!(plain.text, thought.text);
        assert_eq!(plain.reasoning, "");
        assert!(
            thought.reasoning.contains("2 passages") && thought.reasoning.contains("leave.md, p.4"),
            "{}",
            thought.reasoning
        );
    }

    #[test]
    fn a_json_object_is_written_when_asked_for() {
        let conversation = Conversation {
            format: Format::JsonObject,
            ..ask("Context:\nThe sky is blue.", "What colour is the sky?")
        };

        assert_eq!(say(&conversation), r#"{"answer":"The sky is blue."}"#);
    }

    #[test]
    fn results_of_other_tools_are_quoted() {
        let call = Message {
            calls: vec![("c".into(), "weather".into())],
            ..Message::new(Role::Assistant, "")
        };
        let result = Message {
            answers: Some("c".into()),
            ..Message::new(Role::Tool, "21 degrees")
        };
        let conversation = Conversation {
            messages: vec![Message::new(Role::User, "How warm?"), call, result],
            ..Conversation::default()
        };

        assert_eq!(say(&conversation), "`weather` says: 21 degrees.");
    }
}
