//! What a request took of a limit of tokens: what upstreams counted, and an estimate of what they did not.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::tokens::Counter;
use crate::openai::{
    Json, Object,
    chunk::{Chunk, Delta, content_text},
};

/// The tokens of one request, as far as they are known.
#[derive(Debug, Clone, Default)]
pub(super) struct Metered {
    /// An estimate of the prompt, without passages.
    prompt: u64,
    /// The passages in it.
    passages: u64,
    /// What upstreams counted, all in all.
    told: u64,
    /// Calls that an upstream took and told no count of.
    uncounted: u64,
    /// What was said since the last count.
    said: Counter,
    /// What calls beside the answer's own took.
    beside: u64,
}

impl Metered {
    pub(super) fn new(prompt: u64) -> Self {
        Self {
            prompt,
            ..Self::default()
        }
    }

    /// Notes the passages that the model is given, all in all; tells how many tokens they are more than before.
    pub(super) fn given(&mut self, tokens: u32) -> u64 {
        let before = std::mem::replace(&mut self.passages, tokens.into());
        self.passages.saturating_sub(before)
    }

    pub(super) fn asks(&mut self) {
        self.uncounted += 1;
    }

    pub(super) fn unanswered(&mut self) {
        self.uncounted = self.uncounted.saturating_sub(1);
    }

    /// Notes what an upstream counted; a later count includes the earlier ones.
    pub(super) fn told(&mut self, tokens: u64) {
        self.told = tokens;
        self.uncounted = 0;
        self.said = Counter::default();
    }

    pub(super) fn beside(&mut self, tokens: u64) {
        self.beside = self.beside.saturating_add(tokens);
    }

    pub(super) fn says(&mut self, text: &str) {
        self.said.add(text);
    }

    /// The same of a text that is the inside of a JSON string.
    pub(super) fn says_json(&mut self, inside: &str) {
        self.said.add_json(inside);
    }

    /// Notes what a chunk says: text, thoughts and calls.
    pub(super) fn relayed(&mut self, chunk: &Chunk<'_>) {
        for choice in chunk.choices.iter().flatten() {
            if let Some(text) = &choice.text {
                self.says(text);
            }
            if let Some(delta) = &choice.delta {
                self.says(&delta.text());
                self.says(&thoughts(delta));
                self.says(delta.tool_calls.map_or("", RawValue::get));
            }
        }
    }

    /// What the request took.
    pub(super) fn spent(&self) -> u64 {
        let prompts = self
            .uncounted
            .saturating_mul(self.prompt.saturating_add(self.passages));
        self.told
            .saturating_add(prompts)
            .saturating_add(self.said.total().into())
            .saturating_add(self.beside)
    }
}

fn thoughts<'a>(delta: &Delta<'a>) -> Cow<'a, str> {
    let raw = delta.reasoning.or(delta.reasoning_content);
    raw.map(content_text).unwrap_or_default()
}

/// What a whole answer says: the text, thoughts and calls of its choices.
pub(super) fn texts_of(answer: &Object) -> impl Iterator<Item = String> {
    let choices = answer.value("choices").and_then(Json::items);
    let choices = choices.unwrap_or_default().into_iter();
    choices.flat_map(|choice| {
        let choice = Object::parse(&choice).unwrap_or_else(Object::empty);
        let message = choice.value("message").and_then(Object::parse);
        let said = message.as_ref().unwrap_or(&choice);
        [
            "content",
            "text",
            "reasoning",
            "reasoning_content",
            "tool_calls",
        ]
        .iter()
        .filter_map(|key| said.value(key))
        .filter(|value| !value.is_null())
        .map(|value| value.read().unwrap_or_else(|_| raw(value)))
        .collect::<Vec<String>>()
    })
}

fn raw(value: &Json) -> String {
    String::from_utf8_lossy(value.bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(metered: &mut Metered, text: &str) {
        let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
        metered.relayed(&Chunk::parse(chunk.as_bytes()).unwrap());
    }

    #[test]
    fn what_upstreams_count_goes_before_what_is_estimated() {
        let mut metered = Metered::new(100);
        metered.asks();
        relay(&mut metered, "seven years of records");
        metered.told(12);

        assert_eq!(metered.spent(), 12);
    }

    #[test]
    fn a_call_without_a_count_took_its_prompt_its_passages_and_what_it_said() {
        let mut metered = Metered::new(100);
        assert_eq!(metered.given(40), 40);
        assert_eq!(metered.given(50), 10);
        assert_eq!(metered.spent(), 0, "nobody was asked yet");
        metered.asks();
        assert_eq!(metered.spent(), 150);
        relay(&mut metered, "seven years of records");

        let said = metered.spent() - 150;
        assert!((4..=8).contains(&said), "{said}");
    }

    #[test]
    fn a_call_that_failed_took_nothing() {
        let mut metered = Metered::new(100);
        metered.asks();
        metered.unanswered();

        assert_eq!(metered.spent(), 0);
    }

    #[test]
    fn a_turn_that_was_cut_off_counts_beside_those_that_were_counted() {
        let mut metered = Metered::new(100);
        metered.asks();
        metered.told(30);
        metered.asks();

        assert_eq!(metered.spent(), 130);
    }

    #[test]
    fn a_whole_answer_is_read_in_every_form() {
        let answer = r#"{"choices":[
            {"message":{"content":"a","reasoning":"b","tool_calls":[{"id":"c"}]}},
            {"text":"d"},{"message":{"content":[{"text":"e"}]}}]}"#;
        let answer = Object::read(answer.into()).unwrap();

        let texts: Vec<String> = texts_of(&answer).collect();

        assert_eq!(
            texts,
            ["a", "b", r#"[{"id":"c"}]"#, "d", r#"[{"text":"e"}]"#]
        );
    }
}
