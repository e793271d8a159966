//! How text is counted and cut: one token is a word with the white space before it; words over 24 characters count once for every 24.
//!
//! Tokens are also what streams send one by one, so that counts, limits and events always agree. Real tokenizers count about a third more.

use serde_json::Value;
use uuid::Uuid;

use super::answer::Answer;

/// Longer words are several tokens: scripts without spaces must not be one.
const WORD_CHARS: usize = 24;

/// What bounds an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many tokens it may take, thoughts and calls included; `None`: any number.
    pub max_tokens: Option<u64>,
    /// Texts that end it; they are not part of it.
    pub stop: Vec<String>,
}

/// An answer within its limits, cut into tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The thoughts.
    pub reasoning: Vec<String>,
    /// The text.
    pub content: Vec<String>,
    /// The calls.
    pub calls: Vec<Called>,
    /// Why it ends.
    pub finish: Finish,
}

/// A call to a tool, within the limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// Its id, new each time.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments.
    pub arguments: Written,
}

/// How the arguments of a call are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// As a text, cut into tokens.
    Text(Vec<String>),
    /// As a JSON object where a text belongs, a mistake made on purpose.
    Object(Value),
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It is complete, or came to a stop text.
    Stop,
    /// It used up its tokens.
    Length,
    /// It calls tools.
    ToolCalls,
}

impl Finish {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

impl Completion {
    /// Cuts `answer` to `limits`: thoughts first, then text, then calls, as a model would write them.
    pub fn new(answer: &Answer, limits: &Limits) -> Self {
        let mut left = Budget::new(limits.max_tokens);
        let mut completion = Self {
            reasoning: left.take(&answer.reasoning),
            content: Vec::new(),
            calls: Vec::new(),
            finish: Finish::Stop,
        };
        let (text, stopped) = cut_at_stop(&answer.text, &limits.stop);
        completion.content = left.take(text);
        for call in &answer.calls {
            completion
                .calls
                .extend(left.take_call(&call.name, &call.arguments));
        }
        completion.finish = match (stopped, answer.calls.is_empty()) {
            _ if left.is_overdrawn() => Finish::Length,
            (Stopped::Early, _) | (Stopped::No, true) => Finish::Stop,
            (Stopped::No, false) => Finish::ToolCalls,
        };
        completion
    }

    /// How many tokens it has, thoughts included.
    pub fn tokens(&self) -> u64 {
        let calls = self
            .calls
            .iter()
            .map(|call| 1 + arguments_tokens(&call.arguments))
            .sum::<usize>();
        (self.reasoning.len() + self.content.len() + calls) as u64
    }

    /// How many of its tokens are thoughts.
    pub fn reasoning_tokens(&self) -> u64 {
        self.reasoning.len() as u64
    }
}

fn arguments_tokens(arguments: &Written) -> usize {
    match arguments {
        Written::Text(tokens) => tokens.len(),
        Written::Object(value) => tokens(&value.to_string()).count(),
    }
}

/// The tokens of `text`; put together they are `text` again.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (token, after) = rest.split_at(first_end(rest));
        rest = after;
        Some(token)
    })
}

fn first_end(text: &str) -> usize {
    let word = text.len() - text.trim_start().len();
    let mut letters = text.get(word..).unwrap_or_default().char_indices();
    let end = letters
        .by_ref()
        .take(WORD_CHARS)
        .find(|(_, c)| c.is_whitespace());
    end.or_else(|| letters.next())
        .map_or(text.len(), |(at, _)| word + at)
}

/// What may still be written. Once something did not fit, nothing after it does.
struct Budget {
    left: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    Overdrawn,
}

impl Budget {
    fn new(limit: Option<u64>) -> Self {
        Self {
            left: limit.unwrap_or(u64::MAX),
            state: State::Open,
        }
    }

    fn is_overdrawn(&self) -> bool {
        self.state == State::Overdrawn
    }

    /// The tokens of `text` that fit.
    fn take(&mut self, text: &str) -> Vec<String> {
        tokens(text)
            .take_while(|_| self.spend(1))
            .map(str::to_owned)
            .collect()
    }

    /// A call as far as it fits; its name is one token, an object fits whole or not at all.
    fn take_call(&mut self, name: &str, arguments: &Value) -> Option<Called> {
        if !self.spend(1) {
            return None;
        }
        let arguments = match arguments {
            Value::String(text) => Written::Text(self.take(text)),
            object => {
                let cost = tokens(&object.to_string()).count() as u64;
                if !self.spend(cost) {
                    return None;
                }
                Written::Object(object.clone())
            }
        };
        Some(Called {
            id: format!("call_{}", Uuid::new_v4().simple()),
            name: name.to_owned(),
            arguments,
        })
    }

    fn spend(&mut self, cost: u64) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) if !self.is_overdrawn() => self.left = left,
            _ => self.state = State::Overdrawn,
        }
        !self.is_overdrawn()
    }
}

/// Whether a stop text ended the answer.
enum Stopped {
    Early,
    No,
}

fn cut_at_stop<'a>(text: &'a str, stop: &[String]) -> (&'a str, Stopped) {
    let first = stop
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min();
    match first.and_then(|at| text.get(..at)) {
        Some(head) => (head, Stopped::Early),
        None => (text, Stopped::No),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::tools::Call, *};

    fn spoken(text: &str) -> Answer {
        Answer {
            text: text.into(),
            ..Answer::default()
        }
    }

    fn limits(max_tokens: u64, stop: &[&str]) -> Limits {
        Limits {
            max_tokens: Some(max_tokens),
            stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
        }
    }

    #[test]
    fn a_token_is_a_word_with_the_space_before_it() {
        assert_eq!(
            tokens("The  sky\nis blue. ").collect::<Vec<_>>(),
            ["The", "  sky", "\nis", " blue.", " "]
        );
        assert_eq!(
            tokens(&"x".repeat(50)).map(str::len).collect::<Vec<_>>(),
            [24, 24, 2]
        );
    }

    #[test]
    fn a_limit_cuts_between_words_and_says_so() {
        let cut = |max| Completion::new(&spoken("The sky is blue."), &limits(max, &[]));

        assert_eq!(
            (cut(2).content.concat(), cut(2).finish, cut(2).tokens()),
            ("The sky".into(), Finish::Length, 2)
        );
        assert_eq!(
            (cut(4).content.concat(), cut(4).finish),
            ("The sky is blue.".into(), Finish::Stop)
        );
    }

    #[test]
    fn the_earliest_stop_text_ends_the_answer_and_is_not_part_of_it() {
        let stopped =
            |max| Completion::new(&spoken("The sky is blue."), &limits(max, &["blue", "is"]));

        assert_eq!(
            (stopped(9).content.concat(), stopped(9).finish),
            ("The sky ".into(), Finish::Stop)
        );
        assert_eq!(
            (stopped(1).content.concat(), stopped(1).finish),
            ("The".into(), Finish::Length)
        );
    }

    #[test]
    fn thoughts_are_paid_for_first() {
        let answer = Answer {
            reasoning: "Let me see.".into(),
            ..spoken("Blue.")
        };
        let cut = |max| Completion::new(&answer, &limits(max, &[]));

        assert_eq!(
            (
                cut(3).reasoning.concat(),
                cut(3).content.len(),
                cut(3).finish
            ),
            ("Let me see.".into(), 0, Finish::Length)
        );
        assert_eq!(
            (
                cut(4).content.concat(),
                cut(4).finish,
                cut(4).reasoning_tokens(),
                cut(4).tokens()
            ),
            ("Blue.".into(), Finish::Stop, 3, 4)
        );
    }

    #[test]
    fn a_call_that_does_not_fit_is_cut_off_by_length() {
        let call = |arguments| Call {
            name: "search".into(),
            arguments,
        };
        let answer = Answer {
            calls: vec![
                call(json!("{\"query\": \"x\"}")),
                call(json!({"query": "x"})),
            ],
            ..Answer::default()
        };
        let cut = |max| Completion::new(&answer, &limits(max, &[]));

        assert_eq!(
            (cut(2).calls[0].arguments.clone(), cut(2).finish),
            (Written::Text(vec!["{\"query\":".into()]), Finish::Length)
        );
        assert_eq!((cut(3).calls.len(), cut(3).finish), (1, Finish::Length));
        assert_eq!(
            (cut(5).calls.len(), cut(5).finish, cut(5).tokens()),
            (2, Finish::ToolCalls, 5)
        );
        assert_ne!(cut(5).calls[0].id, cut(5).calls[1].id);
    }

    proptest! {
        #[test]
        fn tokens_put_together_are_the_text(text in "\\PC{0,80}") {
            prop_assert_eq!(tokens(&text).collect::<String>(), text);
        }

        #[test]
        fn no_limit_is_ever_exceeded(reasoning in "[a ]{0,20}", text in "[b ]{0,20}", max in 0_u64..12) {
            let answer = Answer { reasoning, ..spoken(&text) };
            let completion = Completion::new(&answer, &limits(max, &[]));

            prop_assert!(completion.tokens() <= max);
            prop_assert_eq!(completion.finish == Finish::Length, completion.reasoning.concat() + &completion.content.concat() != answer.reasoning + &answer.text);
        }
    }
}
