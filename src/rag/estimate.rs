//! What a request will take of a limit of tokens, guessed before it is sent.
//!
//! The guess holds back other requests of the same key until the upstream's count is there. One that is too low lets through a little more at
//! once, which the key then owes; one that is too high refuses what would have fitted. So prompts are estimated as well as can be, and answers
//! only in part: most are far shorter than the limit that the client writes.

use super::{Job, completion::Endpoint, tokens};
use crate::openai::{EmbeddingRequest, Json, completions::Prompt};

/// What an answer is guessed to take where the client sets it no limit.
const ANSWER: u64 = 1024;

/// Beyond this many bytes a text is counted by its length: looking at each of its characters would hold up other requests.
const LONG: usize = 256 << 10;

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
    let conversation = conversation(job);
    let Endpoint::Completions(request) = &job.endpoint else {
        return conversation;
    };
    let value = request.object().value("prompt");
    match &request.prompt {
        // The conversation is the first of them.
        Prompt::Texts(texts) => {
            let others = texts.iter().skip(1).map(|other| text(other));
            others.fold(conversation, u64::saturating_add)
        }
        Prompt::Tokens => value.map_or(0, numbers),
        Prompt::Text(_) | Prompt::None => conversation,
    }
}

/// What the messages and the tools of `job` take.
pub(super) fn conversation(job: &Job) -> u64 {
    let tools = job.request.object().value("tools");
    let tools = tools.map_or(0, |tools| length(tools.bytes()) / 3);
    let messages = job.request.messages.iter();
    messages
        .map(|message| text(&message.text()).saturating_add(8))
        .fold(tools, u64::saturating_add)
}

/// What the input of `request` takes: a text, numbers of tokens, or a list of either.
pub fn input(request: &EmbeddingRequest) -> u64 {
    let Some(input) = request.object().value("input") else {
        return 0;
    };
    let items = input.items().unwrap_or_else(|| vec![input.clone()]);
    let tokens = |item: &Json| match item.read::<String>() {
        Ok(written) => text(&written),
        Err(_) => numbers(item),
    };
    items.iter().map(tokens).fold(0, u64::saturating_add)
}

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
