//! What a request will take of a limit of tokens, guessed before it is sent.
//!
//! The guess holds back other requests of the same key until the upstream's count is there. One that is too low lets through a little more at
//! once, which the key then owes; one that is too high refuses what would have fitted. So answers are guessed only in part, since most are far
//! shorter than the limit that the client writes, and beside that guess prompts need no more than a [`Sample`]. An upstream that tells no count
//! is charged by the same guess.

use super::{
    Job,
    completion::Endpoint,
    tokens::{self, Sample},
};
use crate::openai::{EmbeddingRequest, Json, Message, completions::Prompt};

/// What an answer is guessed to take where the client sets it no limit.
const ANSWER: u64 = 1024;

/// A text of more bytes than that is counted by its length.
const LONG: usize = 1 << 20;

/// What is held of a limit of `limit` tokens a minute for a request with this prompt, whose answer may take `answer` tokens at most. An answer
/// counts for half of the limit at most, and for a tenth where nobody says how long it may be: a key is to be able to go on with what is left.
pub fn reservation(prompt: u64, answer: Option<u64>, limit: u32) -> u64 {
    let limit = u64::from(limit);
    let answer = match answer {
        Some(answer) => answer.min(limit / 2),
        None => ANSWER.min(limit / 10),
    };
    prompt.saturating_add(answer)
}

/// What the prompt of `job` takes, passages left out: they are not found yet.
pub fn prompt(job: &Job) -> u64 {
    let Endpoint::Completions(request) = &job.endpoint else {
        return beside(job).saturating_add(conversation(&job.request.messages));
    };
    match &request.prompt {
        Prompt::Text(text) => sampled(std::slice::from_ref(text)),
        Prompt::Texts(texts) => sampled(texts),
        Prompt::Tokens => request.object().value("prompt").map_or(0, numbers),
        Prompt::None => 0,
    }
}

/// What passages may take of `room` tokens, of which the conversation of `job` takes its part: `wanted` at most.
pub(super) fn left_beside_conversation(job: &Job, room: u32, wanted: u32) -> u32 {
    // Where there is room for it by its bytes, nobody needs to know how many tokens it is.
    let bytes = |message: &Message| length(message.json.bytes());
    let messages = || job.request.messages.iter();
    let at_most = messages().map(bytes).fold(beside(job), u64::saturating_add);
    if at_most.saturating_add(wanted.into()) <= room.into() {
        return wanted;
    }
    let texts = messages().map(|message| text(&message.text()));
    let conversation = texts.fold(beside(job), u64::saturating_add);
    let left = u64::from(room).saturating_sub(conversation);
    wanted.min(u32::try_from(left).unwrap_or(u32::MAX))
}

/// What the request of `job` takes beside the texts of its messages: their frames, and its tools.
fn beside(job: &Job) -> u64 {
    let tools = job.request.object().value("tools");
    let tools = tools.map_or(0, |tools| length(tools.bytes()) / 3);
    let messages = u64::try_from(job.request.messages.len()).unwrap_or(u64::MAX);
    tools.saturating_add(messages.saturating_mul(8))
}

/// What the input of `request` takes: a text, numbers of tokens, or a list of either.
pub fn input(request: &EmbeddingRequest) -> u64 {
    let Some(input) = request.object().value("input") else {
        return 0;
    };
    let items = input.items().unwrap_or_else(|| vec![input.clone()]);
    let mut texts: Vec<String> = Vec::new();
    let mut tokens = 0_u64;
    for item in &items {
        match item.read() {
            Ok(text) => texts.push(text),
            Err(_) => tokens = tokens.saturating_add(numbers(item)),
        }
    }
    tokens.saturating_add(sampled(&texts))
}

/// About what the texts of `messages` take, looked at as they are written. Beside a picture they may be too short for the sample; then their
/// length has to do.
fn conversation(messages: &[Message]) -> u64 {
    let lengths = messages.iter().map(|message| message.json.bytes().len());
    let mut sample = Sample::of(lengths.sum());
    for message in messages {
        message.each_written(|text| sample.add_json(text));
    }
    sample.total().into()
}

/// About what these texts take.
fn sampled(texts: &[String]) -> u64 {
    let mut sample = Sample::of(texts.iter().map(String::len).sum());
    texts.iter().for_each(|text| sample.add(text));
    sample.total().into()
}

/// What `text` takes as well as it is known. Beyond some length it is counted by that alone: looking at each of its words would hold up other
/// requests.
fn text(text: &str) -> u64 {
    if text.len() > LONG {
        return length(text.as_bytes()) / 4;
    }
    tokens::estimate(text).into()
}

/// How many numbers stand in a list, or a list of lists.
fn numbers(value: &Json) -> u64 {
    let commas = memchr::memchr_iter(b',', value.bytes()).count();
    u64::try_from(commas).unwrap_or(u64::MAX).saturating_add(1)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_in_part() {
        for (prompt, answer, limit, expected) in [
            (10, Some(100), 1000, 110),
            (10, Some(100_000), 1000, 510),
            (10, None, 1000, 110),
            (10, None, 1_000_000, 1034),
        ] {
            assert_eq!(reservation(prompt, answer, limit), expected);
        }
    }

    #[test]
    fn an_input_is_read_in_every_form() {
        let tokens = |input: &str| {
            let body = format!(r#"{{"model":"m","input":{input}}}"#);
            super::input(&EmbeddingRequest::parse(body.into()).unwrap())
        };
        let one = tokens(r#""seven years""#);

        assert!((1..=4).contains(&one), "{one}");
        assert_eq!(tokens(r#"["seven years", "seven years"]"#), 2 * one);
        assert_eq!(tokens("[1, 2, 3]"), 3);
        assert_eq!(tokens("[[1, 2], [3, 4]]"), 4);
    }

    #[test]
    fn a_very_long_text_is_counted_by_its_length() {
        assert_eq!(text(&"a".repeat(LONG + 4)), (LONG as u64 + 4) / 4);
    }
}
