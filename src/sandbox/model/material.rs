//! What an answer is made of: the question, and the passages of prompts and search results.

use super::{
    context::{self, Passage},
    conversation::{Conversation, Message, Role, SEARCH_TOOL},
    words::{Tongue, key_words},
};

/// What a conversation holds for an answer.
pub(super) struct Material {
    /// What is asked.
    pub(super) question: String,
    /// The passages to answer from.
    pub(super) passages: Vec<Passage>,
    /// Whether there is any context, be it an empty one.
    pub(super) context: Presence,
    /// Whether numbers of passages are to be cited.
    pub(super) citing: Citing,
    /// Results of the client's own tools since the question: name and text.
    pub(super) results: Vec<(String, String)>,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Present,
    Absent,
}

/// Whether an answer names the passages it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Citing {
    Numbers,
    Nothing,
}

impl Conversation {
    /// Gathers what an answer is made of.
    pub(super) fn material(&self) -> Material {
        let mut material = Material {
            question: String::new(),
            passages: Vec::new(),
            context: Presence::Absent,
            citing: Citing::Nothing,
            results: Vec::new(),
        };
        let mut asked_for_numbers = self
            .tools
            .iter()
            .any(|tool| context::asks_for_numbers(&tool.description));
        for message in self
            .messages
            .iter()
            .filter(|message| message.role == Role::System)
        {
            let text = message.text();
            let prompt = context::find(&text);
            asked_for_numbers |= context::asks_for_numbers(
                prompt
                    .as_ref()
                    .map_or(text.as_str(), |prompt| prompt.instructions),
            );
            if let Some(prompt) = prompt {
                asked_for_numbers |= material.add(prompt.context);
            }
        }
        if let Some(user) = self.last_user() {
            asked_for_numbers |= material.read_user(&user.texts);
        }
        if asked_for_numbers {
            material.citing = Citing::Numbers;
        }
        self.complete_question(&mut material.question);
        for message in self
            .since_question()
            .iter()
            .filter(|message| message.role == Role::Tool)
        {
            self.add_result(message, &mut material);
        }
        if material
            .passages
            .iter()
            .all(|passage| passage.number.is_none())
        {
            material.citing = Citing::Nothing;
        }
        material
    }

    /// "And why?" asks about what was asked before.
    fn complete_question(&self, question: &mut String) {
        if !key_words(question, Tongue::of(question, std::iter::empty())).is_empty() {
            return;
        }
        let mut users = self
            .messages
            .iter()
            .rev()
            .filter(|message| message.role == Role::User);
        if let Some(before) = users.nth(1) {
            *question = format!("{} {question}", before.text());
        }
    }

    fn add_result(&self, message: &Message, material: &mut Material) {
        let text = message.text();
        if self.name_of(message) != SEARCH_TOOL {
            material
                .results
                .push((self.name_of(message).to_owned(), text));
            return;
        }
        let before = material.passages.len();
        material.add(&text);
        // The last turn of a search loop no longer offers the tool whose description asks for numbers; that passages have them says enough.
        if material
            .passages
            .iter()
            .skip(before)
            .any(|passage| passage.number.is_some())
        {
            material.citing = Citing::Numbers;
        }
    }
}

impl Material {
    /// Adds the passages of `context`. Tells whether it ends in a request for numbers, as filled templates do.
    fn add(&mut self, context: &str) -> bool {
        self.context = Presence::Present;
        let (context, request) = context::cut_request(context);
        for passage in context::passages(context) {
            if !self.passages.contains(&passage) {
                self.passages.push(passage);
            }
        }
        context::asks_for_numbers(request)
    }

    /// Reads the last user message: a context at its head, then the question. Tells whether it asks for numbers.
    fn read_user(&mut self, texts: &[String]) -> bool {
        let all = texts.join("\n\n");
        let Some(prompt) = context::find(&all) else {
            self.question = bare_question(&all).to_owned();
            return false;
        };
        // A context that is a part of its own ends with it; within one text the question is the last paragraph.
        let in_one = texts.iter().any(|text| text.len() == all.len());
        let own_question = texts
            .last()
            .filter(|last| !in_one && context::find(last).is_none());
        let (context, question) = match own_question {
            Some(question) => (
                prompt
                    .context
                    .strip_suffix(question.as_str())
                    .unwrap_or(prompt.context),
                question.as_str(),
            ),
            None => context::cut_question(prompt.context),
        };
        self.question = bare_question(question).to_owned();
        self.add(context) || context::asks_for_numbers(prompt.instructions)
    }
}

/// Takes off what prompts of the completions kind put around a question: `Question:` before it and `Answer:` after.
fn bare_question(text: &str) -> &str {
    let mut text = text.trim();
    for (before, after) in [
        ("Question:", "Answer:"),
        ("Q:", "A:"),
        ("Question :", "Réponse :"),
    ] {
        text = text.strip_suffix(after).unwrap_or(text).trim_end();
        text = text.strip_prefix(before).unwrap_or(text).trim_start();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(name: &str, result: &str) -> [Message; 2] {
        let call = Message {
            calls: vec![("call_1".into(), name.into())],
            texts: Vec::new(),
            ..Message::new(Role::Assistant, "")
        };
        [
            call,
            Message {
                answers: Some("call_1".into()),
                ..Message::new(Role::Tool, result)
            },
        ]
    }

    fn conversation(messages: impl IntoIterator<Item = Message>) -> Conversation {
        Conversation {
            messages: messages.into_iter().collect(),
            ..Conversation::default()
        }
    }

    #[test]
    fn passages_come_from_the_system_message() {
        let system = Message::new(
            Role::System,
            "Cite the number of each passage, like `[1]`.\n\nContext:\n[1] [a.md, p.2]\nOne.\n\n[2] [b.md]\nTwo.",
        );
        let material = conversation([system, Message::new(Role::User, "What?")]).material();

        assert_eq!(material.question, "What?");
        assert_eq!(
            material
                .passages
                .iter()
                .map(|passage| passage.number)
                .collect::<Vec<_>>(),
            [Some(1), Some(2)]
        );
        assert_eq!(material.citing, Citing::Numbers);
    }

    #[test]
    fn numbers_are_not_cited_unless_the_prompt_asks_for_them() {
        let system = Message::new(
            Role::System,
            "Use the context.\n\nContext:\n[1] [a.md, p.2]\nOne.",
        );

        assert_eq!(
            conversation([system, Message::new(Role::User, "What?")])
                .material()
                .citing,
            Citing::Nothing
        );
    }

    #[test]
    fn passages_come_from_the_head_of_the_user_message_in_one_text_or_in_parts() {
        let context = "Context:\n[a.md, p.2]\nOne.\n\nAnd more.";
        let one = Message::new(Role::User, format!("{context}\n\nWhat is it?"));
        let parts = Message {
            texts: vec![context.into(), "What\n\nis it?".into()],
            ..Message::new(Role::User, "")
        };

        let (one, parts) = (
            conversation([one]).material(),
            conversation([parts]).material(),
        );

        assert_eq!(one.question, "What is it?");
        assert_eq!(parts.question, "What\n\nis it?");
        for material in [one, parts] {
            assert_eq!(material.passages.len(), 1);
            assert_eq!(material.passages[0].text.trim(), "One.\n\nAnd more.");
        }
    }

    #[test]
    fn passages_come_from_search_results_after_the_question_only() {
        let [old_call, old_result] = called(SEARCH_TOOL, "[1] [old.md, p.1]\nOld.");
        let [call, result] = called(SEARCH_TOOL, "[3] [new.md, p.1]\nNew.");
        let ask = |text| Message::new(Role::User, text);
        let material = conversation([
            ask("Before?"),
            old_call,
            old_result,
            ask("Now?"),
            call,
            result,
        ])
        .material();

        assert_eq!(
            material
                .passages
                .iter()
                .map(|passage| passage.number)
                .collect::<Vec<_>>(),
            [Some(3)]
        );
        assert_eq!(material.citing, Citing::Numbers);
    }

    #[test]
    fn results_of_other_tools_are_kept_apart_and_bring_no_context() {
        let [call, result] = called("weather", "{\"temperature\": 21}");
        let material =
            conversation([Message::new(Role::User, "How warm?"), call, result]).material();

        assert_eq!(
            material.results,
            [("weather".to_owned(), "{\"temperature\": 21}".to_owned())]
        );
        assert_eq!(
            (material.context, material.passages),
            (Presence::Absent, Vec::new())
        );
    }

    #[test]
    fn a_template_may_ask_for_numbers_behind_the_passages() {
        let system = Message::new(
            Role::System,
            "Use this:\n[1] [a.md, p.2]\nOne.\n\nCite the number of each passage you rely on, like [1].",
        );
        let material = conversation([system, Message::new(Role::User, "What?")]).material();

        assert_eq!(material.citing, Citing::Numbers);
        assert_eq!(material.passages[0].text.trim(), "One.");
    }

    #[test]
    fn a_question_without_a_subject_is_about_what_was_asked_before() {
        let ask = |text| Message::new(Role::User, text);
        let material = conversation([
            ask("Who approves leave?"),
            Message::new(Role::Assistant, "Ada."),
            ask("And why?"),
        ])
        .material();

        assert_eq!(material.question, "Who approves leave? And why?");
    }

    #[test]
    fn a_legacy_prompt_is_taken_apart() {
        let material = Conversation::from_prompt(
            "Use the context.\n\nContext:\n[a.md]\nOne.\n\nQuestion: What is it?\nAnswer:",
        )
        .material();

        assert_eq!(material.question, "What is it?");
        assert_eq!(material.passages[0].text.trim(), "One.");
    }
}
