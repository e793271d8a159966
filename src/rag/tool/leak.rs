//! Tool calls that leak into the text: some servers stream a model's own markup because their parser did not take it for a call.
//!
//! The text is held back only while it could still be the beginning of such markup, which is a few characters.

/// How the markup of the models in the field begins (Hermes and Qwen, Kimi, Mistral).
const MARKERS: [&str; 4] = [
    "<tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "[TOOL_CALLS]",
];

/// Keeps leaked markup out of the text of one turn.
#[derive(Debug, Default)]
pub(super) struct Filter {
    held: String,
    leaked: Option<String>,
}

impl Filter {
    /// Takes a piece of text; returns what of all text so far may go out now.
    pub(super) fn push(&mut self, text: &str) -> String {
        if let Some(leaked) = &mut self.leaked {
            leaked.push_str(text);
            return String::new();
        }
        let mut all = std::mem::take(&mut self.held);
        all.push_str(text);
        if let Some(at) = MARKERS.iter().filter_map(|marker| all.find(marker)).min() {
            self.leaked = Some(all.split_off(at));
            return all;
        }
        self.held = all.split_off(all.len() - undecided(&all));
        all
    }

    /// What was held back, and what leaked.
    pub(super) fn finish(self) -> (String, Option<String>) {
        (self.held, self.leaked)
    }
}

/// How many bytes at the end of `text` may be the beginning of a marker.
fn undecided(text: &str) -> usize {
    let may_begin = |length: usize| {
        text.get(text.len() - length..).is_some_and(|tail| {
            MARKERS
                .iter()
                .any(|marker| marker.len() > length && marker.starts_with(tail))
        })
    };
    let longest = MARKERS
        .iter()
        .map(|marker| marker.len())
        .max()
        .unwrap_or(0)
        .min(text.len());
    (1..=longest)
        .rev()
        .find(|length| may_begin(*length))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(pieces: &[&str]) -> (String, Option<String>) {
        let mut filter = Filter::default();
        let mut out: String = pieces.iter().map(|piece| filter.push(piece)).collect();
        let (rest, leaked) = filter.finish();
        out.push_str(&rest);
        (out, leaked)
    }

    #[test]
    fn markup_is_kept_out_however_it_is_cut() {
        let text = "Let me look. <tool_call>{\"name\":\"x\"}</tool_call>";
        for cut in 0..=text.len() {
            let (before, after) = text.split_at(cut);
            assert_eq!(
                run(&[before, after]),
                ("Let me look. ".to_owned(), Some(text[13..].to_owned())),
                "{cut}"
            );
        }
    }

    #[test]
    fn text_is_held_no_longer_than_it_may_be_markup() {
        let mut filter = Filter::default();
        assert_eq!(filter.push("a < b"), "a < b");
        assert_eq!(filter.push(" <tool"), " ");
        assert_eq!(filter.push("ing>"), "<tooling>");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(r"[a<>\[\]_tol|cTO é]{0,8}", 0..8)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, leaked) = run(&pieces);
            prop_assert_eq!(out + &leaked.unwrap_or_default(), pieces.concat());
        }
    }
}
