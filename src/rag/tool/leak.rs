//! Tool calls that leak into the text: some servers stream a model's own markup because their parser did not take it for a call.
//!
//! The text is held back only while it could still be the beginning of such markup, which is a few characters.

use super::{calls::Call, markup, spec::NAME};

/// How the markup of the models in the field begins (Hermes, Qwen and GLM, Kimi, Mistral, Qwen Coder, MiniMax).
const MARKERS: [&str; 6] = [
    "<tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "[TOOL_CALLS]",
    "<function=",
    "<minimax:tool_call>",
];

/// How a whole turn begins that is nothing but a call to the search as bare JSON, without blanks. Only the gateway's own tool is taken so: an
/// answer in JSON may well begin with a name.
const BARE: [&str; 4] = [
    "{\"name\":\"lighton_search\"",
    "[{\"name\":\"lighton_search\"",
    "{\"type\":\"function\",\"name\":\"lighton_search\"",
    "{\"type\":\"function\",\"function\":{\"name\":\"lighton_search\"",
];

/// Keeps leaked markup out of the text of one turn.
#[derive(Debug, Default)]
pub(super) struct Filter {
    held: String,
    leaked: Option<String>,
    /// Whether the turn has begun with something that is no bare call.
    begun: bool,
}

/// What a turn's text came to in the end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rest {
    /// What was held back and is text after all.
    pub(super) text: String,
    /// How many bytes at the end of the turn's text were no text.
    pub(super) removed: usize,
    /// The calls that they were.
    pub(super) calls: Vec<Call>,
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
        if !self.begun {
            let compact: String = all.chars().filter(|c| !c.is_whitespace()).collect();
            if BARE.iter().any(|bare| compact.starts_with(bare)) {
                self.leaked = Some(all);
                return String::new();
            }
            if !compact.is_empty() && BARE.iter().any(|bare| bare.starts_with(&compact)) {
                self.held = all;
                return String::new();
            }
            self.begun = !compact.is_empty();
        }
        if let Some(at) = MARKERS.iter().filter_map(|marker| all.find(marker)).min() {
            self.leaked = Some(all.split_off(at));
            return all;
        }
        self.held = all.split_off(all.len() - undecided(&all));
        all
    }

    /// Gives out what is held because it might become markup: what follows is no text.
    pub(super) fn release(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Ends the turn.
    pub(super) fn finish(self) -> Rest {
        let Some(leaked) = self.leaked else {
            return Rest {
                text: self.held,
                ..Rest::default()
            };
        };
        let calls = markup::calls(&leaked);
        // Markup that nobody can read is text, unless it would show the client a call to a tool that it knows nothing of.
        if calls.is_empty() && !leaked.contains(NAME) {
            return Rest {
                text: leaked,
                ..Rest::default()
            };
        }
        Rest {
            text: String::new(),
            removed: leaked.len(),
            calls,
        }
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

    fn run(pieces: &[&str]) -> (String, Vec<String>) {
        let mut filter = Filter::default();
        let mut out: String = pieces.iter().map(|piece| filter.push(piece)).collect();
        let rest = filter.finish();
        out.push_str(&rest.text);
        let all: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert_eq!(out.len() + rest.removed, all, "{pieces:?}");
        (out, rest.calls.into_iter().map(|call| call.name).collect())
    }

    #[test]
    fn markup_is_kept_out_however_it_is_cut() {
        for (said, markup) in [
            (
                "Let me look. ",
                "<tool_call>{\"name\":\"lighton_search\"}</tool_call>",
            ),
            ("", " { \"name\" : \"lighton_search\", \"parameters\": {}}"),
            (
                "a",
                "<function=lighton_search><parameter=query>x</parameter></function>",
            ),
        ] {
            let text = format!("{said}{markup}");
            for cut in 0..=text.len() {
                let (before, after) = text.split_at(cut);
                let (out, calls) = run(&[before, after]);
                assert_eq!(
                    (out.trim(), calls),
                    (said.trim(), vec!["lighton_search".to_owned()]),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn text_is_held_no_longer_than_it_may_be_markup() {
        let mut filter = Filter::default();
        assert_eq!(filter.push("a < b"), "a < b");
        assert_eq!(filter.push(" <tool"), " ");
        assert_eq!(filter.push("ing>"), "<tooling>");
        assert_eq!(filter.push("{\"name\":"), "{\"name\":");

        let mut json = Filter::default();
        assert_eq!(json.push("{\"name\": \"l"), "");
        assert_eq!(json.push("ily\"}"), "{\"name\": \"lily\"}");
    }

    #[test]
    fn a_call_that_was_cut_is_neither_run_nor_shown() {
        assert_eq!(
            run(&["Yes. <tool_call>{\"name\": \"lighton_sea", "rch\", \"arg"]),
            ("Yes. ".to_owned(), vec![])
        );
        let own = "Write <tool_call> before a call.";
        assert_eq!(run(&[own]), (own.to_owned(), vec![]));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(r#"[a<>\[\]_tol|cTO é{"]{0,8}"#, 0..8)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, calls) = run(&pieces);
            prop_assert_eq!((out, calls), (pieces.concat(), vec![]));
        }
    }
}
