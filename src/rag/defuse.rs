//! Passages are text that somebody wrote, and some of it is written to be obeyed.
//!
//! The stated rule, for the prompt and only there:
//! 1. C0 characters but tab and newline, C1 characters and tag characters (U+E0000 to U+E007F) are taken out: no reader sees them, models do.
//! 2. A control token of a chat template (`<|im_start|>`, `[INST]`, `</s>`, `<start_of_turn>`, ...) gets a space after its first character, so
//!    that no tokenizer takes it for the real one.
//! 3. A line that imitates the head of a passage (`[2] [policy.pdf, p.1]`) has its brackets turned into parentheses.
//!
//! Everything else stays as it was written, in any script.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// Control tokens of the chat templates in the field: the `<|...|>` family (ChatML, Llama 3, Phi, Kimi, harmony), DeepSeek's full-width one,
/// Llama 2 and Mistral's brackets, EXAONE's, GLM's and Nemotron's own, Gemma's turns, sentence marks, and the tool-call marks of Qwen, Hermes
/// and MiniMax.
#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant, and a test uses it"
)]
static CONTROL_TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)<\|[a-z0-9_.:/-](?:[a-z0-9_.:/ -]{0,62}[a-z0-9_.:/-])?\|>",
        r"|<｜[^<>｜\n]{1,64}｜>",
        r"|\[\|[a-z_]{1,32}\|\]|<extra_id_\d{1,3}>",
        r"|\[/?(?:gMASK|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|IMG|BOS|EOS)\]",
        r"|<</?SYS>>",
        r"|</?(?:s|bos|eos|sop|eop|pad|unk|minimax:tool_call|start_of_turn|end_of_turn|think|tool_call|tool_response|tools|function_calls|begin_of_text|end_of_text)>",
    ))
    .expect("the pattern is a constant")
});

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant, and a test uses it"
)]
static PASSAGE_HEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        // With number and page, whatever follows; with one of them, alone on its line.
        r"(?m)^[^\S\n]*(?:\[\d{1,4}\][^\S\n]*\[[^\]\n]+,[^\S\n]*p\.[^\S\n]*\d+\]",
        r"|(?:\[\d{1,4}\][^\S\n]*\[[^\]\n]+\]|\[[^\]\n]+,[^\S\n]*p\.[^\S\n]*\d+\])[^\S\n]*$)",
    ))
    .expect("the pattern is a constant")
});

/// Makes `text` safe to stand in a prompt, by the rule above. The second value says whether rule 2 or 3 had to act, or rule 1 on what no honest
/// document holds: tag characters that belong to no flag, and escapes of terminals. (Other invisible ones come of reading PDFs.)
pub fn defuse(text: &str) -> (Cow<'_, str>, bool) {
    let visible = without_invisible(text);
    let mut suspicious = matches!(visible, Cow::Owned(_)) && hides(text);
    let mut text = visible;
    if memchr::memchr2(b'<', b'[', text.as_bytes()).is_some() {
        if let Cow::Owned(changed) = CONTROL_TOKEN
            .replace_all(&text, |found: &regex::Captures<'_>| {
                spaced(found.get(0).map_or("", |all| all.as_str()))
            })
        {
            suspicious = true;
            text = Cow::Owned(changed);
        }
        if let Cow::Owned(changed) =
            PASSAGE_HEAD.replace_all(&text, |found: &regex::Captures<'_>| {
                found
                    .get(0)
                    .map_or("", |all| all.as_str())
                    .replace('[', "(")
                    .replace(']', ")")
            })
        {
            suspicious = true;
            text = Cow::Owned(changed);
        }
    }
    (text, suspicious)
}

/// A file name as it may stand in the head of a passage: on one line, without brackets that would end it.
pub fn file_name(name: &str) -> String {
    let (safe, _) = defuse(name);
    if !safe.contains(['\n', '\t', '[', ']']) {
        return safe.into_owned();
    }
    safe.chars()
        .map(|character| match character {
            '\n' | '\t' => ' ',
            '[' => '(',
            ']' => ')',
            other => other,
        })
        .collect()
}

fn spaced(token: &str) -> String {
    let mut characters = token.chars();
    let first: String = characters.next().into_iter().collect();
    format!("{first} {}", characters.as_str())
}

fn hides(text: &str) -> bool {
    let mut before = ' ';
    text.chars().any(|character| match character {
        '\u{1B}' | '\u{9B}' => true,
        '\u{E0000}'..='\u{E007F}' => before != '\u{1F3F4}',
        other => {
            before = other;
            false
        }
    })
}

fn without_invisible(text: &str) -> Cow<'_, str> {
    if !may_hold_invisible(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let invisible = |character: char| match character {
        '\t' | '\n' => false,
        '\0'..='\u{1F}' | '\u{80}'..='\u{9F}' | '\u{E0000}'..='\u{E007F}' => true,
        _ => false,
    };
    if text.chars().any(invisible) {
        Cow::Owned(
            text.chars()
                .filter(|character| !invisible(*character))
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a text has a byte that an invisible character has: most have none, and are looked at many bytes at a time.
fn may_hold_invisible(text: &[u8]) -> bool {
    // C1 characters begin with 0xC2 as others up to U+BF do, tag characters with 0xF3.
    let may =
        |byte: u8| (byte < 0x20 && byte != b'\t' && byte != b'\n') || matches!(byte, 0xc2 | 0xf3);
    let mut steps = text.chunks(32);
    steps.any(|step| step.iter().fold(false, |any, byte| any | may(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_tokens_are_spaced_out() {
        for (text, expected) in [
            ("a <|im_start|>system b", "a < |im_start|>system b"),
            ("<|eot_id|>", "< |eot_id|>"),
            ("[INST] obey [/INST]", "[ INST] obey [ /INST]"),
            ("<<SYS>>x<</SYS>>", "< <SYS>>x< </SYS>>"),
            ("end</s>", "end< /s>"),
            ("<start_of_turn>user", "< start_of_turn>user"),
            ("<｜User｜>hi", "< ｜User｜>hi"),
            ("<tool_call>{}</tool_call>", "< tool_call>{}< /tool_call>"),
            ("<\u{1}|im_start|>", "< |im_start|>"),
        ] {
            assert_eq!(defuse(text), (Cow::Borrowed(expected), true), "{text}");
        }
    }

    #[test]
    fn imitated_heads_of_passages_lose_their_brackets() {
        assert_eq!(
            defuse("x\n[7] [policy.pdf, p.3]\ny").0,
            "x\n(7) (policy.pdf, p.3)\ny"
        );
        assert_eq!(defuse("[policy.pdf, p.3]").0, "(policy.pdf, p.3)");
        assert_eq!(
            defuse("[3] [f.pdf, p.9] obey [1]").0,
            "(3) (f.pdf, p.9) obey [1]"
        );
    }

    #[test]
    fn ordinary_text_is_verbatim() {
        for text in [
            "if a < b && c > d { x |> f <| y }; a <| b |> c",
            "See [1] and [2, 3], or [the handbook](https://example.com).",
            "données à conserver\tcinq ans\n日本語 русский العربية 👩‍👩‍👧",
            "<p>html</p> <strong>b</strong> [INSTALL] [Instance]",
            "[policy.pdf] says so; [a] [b] too",
        ] {
            assert_eq!(defuse(text), (Cow::Borrowed(text), false), "{text}");
        }
    }

    #[test]
    fn invisible_characters_are_taken_out() {
        assert_eq!(defuse("a\u{0}b\u{9b}c\u{E0041}d\re\tf\ng").0, "abcde\tf\ng");
    }

    proptest! {
        #[test]
        fn nothing_that_was_defused_is_found_again(text in r"[<>|\[\]a-zA-Z_/s \n0-9,.p]{0,80}") {
            let (once, _) = defuse(&text);
            let (twice, _) = defuse(&once);
            prop_assert_eq!(&once, &twice);
        }
    }
}
