//! Tool calls that leak into the text: some servers stream a model's own markup because their parser did not take it for a call.
//!
//! The text is held back only while it could still be the beginning of such a call, which is a few characters, and then until that call
//! ends. What stands behind it is text again.

use std::borrow::Cow;

use super::{
    calls::Call,
    extent::{self, Extent, Fit, Search},
    markup,
    spec::NAME,
};

/// How a turn begins that calls the search in bare JSON, without blanks. Only the gateway's own tool is taken so: an answer in JSON may
/// well begin with a name.
const BARE: [&str; 4] = [
    "{\"name\":\"lighton_search\"",
    "[{\"name\":\"lighton_search\"",
    "{\"type\":\"function\",\"name\":\"lighton_search\"",
    "{\"type\":\"function\",\"function\":{\"name\":\"lighton_search\"",
];

/// Keeps leaked calls out of the text of one turn.
#[derive(Debug, Default)]
pub(super) struct Filter {
    held: String,
    calls: Vec<Call>,
    /// Where the turn stands.
    place: Place,
    /// How far the end of the call that is held was looked for.
    search: Search,
    code: Code,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// At its beginning, where bare JSON can be a call.
    #[default]
    Beginning,
    /// Behind a call: blanks before the next one belong to neither.
    BehindCall,
    InText,
}

/// What is known of the beginning of what is held, in bytes.
enum Known {
    Nothing,
    Text(usize),
    Markup(usize),
}

/// What a turn's text came to in the end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rest {
    /// What was held back and is text after all.
    pub(super) text: String,
    /// The calls that were not.
    pub(super) calls: Vec<Call>,
}

impl Filter {
    /// Takes a piece of text; returns what of all text so far may go out now.
    pub(super) fn push<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let is_plain = self.is_idle()
            && self.place == Place::InText
            && extent::first_marker(text).is_none()
            && extent::half_a_marker(text) == 0;
        if is_plain {
            self.code.read(text);
            return Cow::Borrowed(text);
        }
        self.held.push_str(text);
        let mut out = String::new();
        while !self.held.is_empty() {
            match self.look() {
                Known::Nothing => break,
                Known::Text(length) => self.speak(length, &mut out),
                Known::Markup(length) => self.take(length, &mut out),
            }
            self.search = Search::default();
        }
        Cow::Owned(out)
    }

    /// Whether nothing is held back.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives out what is held because it might become markup: what follows is no text.
    pub(super) fn release(&mut self) -> String {
        if self.is_held_call() {
            return String::new();
        }
        std::mem::take(&mut self.held)
    }

    /// Ends the turn.
    pub(super) fn finish(mut self) -> Rest {
        let mut text = String::new();
        if self.is_held_call() {
            self.take(self.held.len(), &mut text);
        } else if self.place != Place::BehindCall || !self.held.trim().is_empty() {
            text = self.held;
        }
        Rest {
            text,
            calls: self.calls,
        }
    }

    fn look(&mut self) -> Known {
        let blanks = self.held.len() - self.held.trim_start().len();
        let said = self.held.get(blanks..).unwrap_or_default();
        // Blanks before a call are no text, and whether one follows is not known.
        if said.is_empty() && self.place != Place::InText {
            return Known::Nothing;
        }
        if self.place == Place::Beginning {
            match bare(said, &mut self.search) {
                Extent::Undecided => return Known::Nothing,
                Extent::Call(length) => return Known::Markup(blanks + length),
                Extent::None => {}
            }
        }
        let skipped = if self.place == Place::BehindCall {
            blanks
        } else {
            0
        };
        let next = self.held.get(skipped..).unwrap_or_default();
        if extent::is_marked(next) {
            return match extent::of_markup(next, &mut self.search) {
                Extent::Undecided => Known::Nothing,
                Extent::Call(length) => Known::Markup(skipped + length),
                Extent::None => Known::Text(skipped + extent::marker_length(next)),
            };
        }
        match extent::first_marker(&self.held) {
            Some(at) => Known::Text(at),
            None => match self.held.len() - extent::half_a_marker(&self.held) {
                0 => Known::Nothing,
                // Nor are the blanks before half a marker known to be text.
                length if length <= blanks && self.place == Place::BehindCall => Known::Nothing,
                length => Known::Text(length),
            },
        }
    }

    /// Whether the end of the turn finds a call in what is held, whole or cut.
    fn is_held_call(&self) -> bool {
        let said = self.held.trim_start();
        let is_bare = self.place == Place::Beginning
            && BARE
                .iter()
                .any(|call| extent::begins(said, call) == Fit::Yes);
        is_bare || extent::is_marked(said)
    }

    fn speak(&mut self, length: usize, out: &mut String) {
        let behind = self.held.split_off(length);
        let text = std::mem::replace(&mut self.held, behind);
        if self.place != Place::Beginning || !text.trim().is_empty() {
            self.place = Place::InText;
        }
        self.code.read(&text);
        out.push_str(&text);
    }

    /// Takes the calls out of what is held, unless they are none of the model's, or text about calls.
    fn take(&mut self, length: usize, out: &mut String) {
        let markup = self.held.get(..length).unwrap_or_default();
        let calls = markup::calls(markup);
        // A client never sees a call to the search; what nobody can read, or what stands in code as an example, is text otherwise.
        let is_ours = markup.contains(NAME);
        if !is_ours && (calls.is_empty() || self.code.is_open()) {
            return self.speak(length, out);
        }
        self.calls.extend(calls);
        self.held.drain(..length);
        self.place = Place::BehindCall;
    }
}

fn bare(said: &str, search: &mut Search) -> Extent {
    let mut extent = Extent::None;
    for call in BARE {
        match extent::begins(said, call) {
            Fit::Yes => return extent::of_json(said, search),
            Fit::Maybe if !said.is_empty() => extent = Extent::Undecided,
            Fit::Maybe | Fit::No => {}
        }
    }
    extent
}

/// Whether a text so far ends in code.
#[derive(Debug, Default)]
struct Code {
    /// How its last line begins.
    line: String,
    is_fenced: bool,
    last: Option<char>,
}

impl Code {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            self.last = Some(c);
            if c == '\n' {
                self.line.clear();
            } else if self.line.len() < 3 && !(self.line.is_empty() && c == ' ') {
                self.line.push(c);
                self.is_fenced ^= self.line == "```";
            }
        }
    }

    fn is_open(&self) -> bool {
        self.is_fenced || self.last == Some('`')
    }
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
        (out, rest.calls.into_iter().map(|call| call.name).collect())
    }

    const CALLS: [&str; 10] = [
        "<tool_call>{\"name\":\"lighton_search\"}</tool_call>",
        "<tool_call>\n{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"a } \\\" b\"}}",
        "<tool_call>\n<function=lighton_search>\n<parameter=query>\nx\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>lighton_search\n<arg_key>query</arg_key>\n<arg_value>x</arg_value>\n</tool_call>",
        "<function=lighton_search><parameter=query>x</parameter></function>\n</tool_call>",
        "<minimax:tool_call>\n<invoke name=\"lighton_search\"><parameter name=\"query\">x</parameter></invoke></minimax:tool_call>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.lighton_search:0<|tool_call_argument_begin|>{\"query\": \"x\"}<|tool_call_end|><|tool_calls_section_end|>",
        "<|tool_call_begin|>functions.lighton_search:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "[TOOL_CALLS][{\"name\": \"lighton_search\", \"arguments\": {\"query\": \"x\"}}]",
        "[TOOL_CALLS]lighton_search[ARGS]{\"query\": \"x [] y\"}",
    ];

    #[test]
    fn a_call_is_kept_out_however_it_is_cut_and_the_text_around_it_is_not() {
        for markup in CALLS {
            for behind in ["", "So it is."] {
                let text = format!("Let me look. {markup}{behind}");
                for cut in 0..=text.len() {
                    let (first, second) = text.split_at(cut);
                    let (out, calls) = run(&[first, second]);
                    assert_eq!(
                        (out, calls),
                        (
                            format!("Let me look. {behind}"),
                            vec!["lighton_search".to_owned()]
                        ),
                        "{text} cut at {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn bare_json_is_a_call_at_the_beginning_of_a_turn() {
        let markup = " { \"name\" : \"lighton_search\", \"parameters\": {}}";
        for cut in 0..=markup.len() {
            let (first, second) = markup.split_at(cut);
            let (out, calls) = run(&[first, second]);
            assert_eq!(
                (out.as_str(), calls.len()),
                ("", 1),
                "{markup} cut at {cut}"
            );
        }
        // Found by the fuzzer: the blank went out where it came as a piece of its own.
        let open = "\t{\"name\":\"lighton_search\",\"par";
        for cut in 0..=open.len() {
            let (first, second) = open.split_at(cut);
            assert_eq!(run(&[first, second]), (String::new(), vec![]), "{cut}");
        }
        assert_eq!(run(&[" ", "\n"]), (" \n".to_owned(), vec![]));
        assert_eq!(run(&["\n", "So"]), ("\nSo".to_owned(), vec![]));
        let told = "Like {\"name\":\"lighton_search\"}";
        assert_eq!(run(&[told]), (told.to_owned(), vec![]));
    }

    #[test]
    fn several_calls_leave_nothing_between_them() {
        for markup in CALLS {
            let text = format!("{markup}\n{markup}\n");
            let (out, calls) = run(&[&text]);
            assert_eq!((out.as_str(), calls.len()), ("", 2), "{text}");
        }
    }

    #[test]
    fn text_is_held_no_longer_than_it_may_be_a_call() {
        let goes_out = |text: &str, more: &str| {
            let mut filter = Filter::default();
            let mut out = filter.push(text).into_owned();
            assert!(out.len() < text.len(), "{text}");
            out.push_str(&filter.push(more));
            assert_eq!(out, format!("{text}{more}"));
        };
        goes_out("a < b <tool", "ing>");
        goes_out("Write <tool_call>", " before a call.");
        goes_out("Write <tool_call> before", " a call.");
        goes_out("Write <tool_call>{", "json}</tool_call>.");
        goes_out("The tag <function=", "name> opens one.");
        goes_out("The word [TOOL_CALLS]", " stands alone.");
        goes_out("`<tool_call", ">` is a tag.");
        goes_out("<minimax:tool_call>", " is another.");
        goes_out("<|tool_call_begin|>", "!");
        goes_out("<tool_call>{\"a\"", ": 1} has no name.");
        goes_out("{\"name\": \"l", "ily\"}");

        let mut filter = Filter::default();
        assert_eq!(filter.push("{\"name\":\"x\"}"), "{\"name\":\"x\"}");
    }

    #[test]
    fn an_example_in_code_is_text_but_for_the_search() {
        let example = "```\n<tool_call>{\"name\": \"weather\"}</tool_call>\n```\n";
        assert_eq!(run(&[example]), (example.to_owned(), vec![]));
        let inline = "`<tool_call>{\"name\": \"weather\"}</tool_call>`";
        assert_eq!(run(&[inline]), (inline.to_owned(), vec![]));
        let behind = "```\ncode\n```\n<tool_call>{\"name\": \"weather\"}</tool_call>";
        assert_eq!(run(&[behind]).1, ["weather"]);
        let ours = "```\n<tool_call>{\"name\": \"lighton_search\"}</tool_call>\n```";
        assert_eq!(run(&[ours]).1, ["lighton_search"]);
    }

    #[test]
    fn a_call_that_was_cut_is_neither_run_nor_shown() {
        assert_eq!(
            run(&["Yes. <tool_call>{\"name\": \"lighton_sea", "rch\", \"arg"]),
            ("Yes. ".to_owned(), vec![])
        );
        let own = "<tool_call>{\"name\": \"weather\", \"arg";
        assert_eq!(run(&[own]), (own.to_owned(), vec![]));
    }

    #[test]
    fn the_end_of_a_long_call_is_not_looked_for_again_with_each_piece() {
        let query = "x".repeat(100_000);
        let text = format!("<tool_call>{{\"name\": \"lighton_search\", \"query\": \"{query}\"}}");
        assert_eq!(run(&[&text]).1, ["lighton_search"]);
        let pieces: Vec<&str> = text.split_inclusive('x').collect();
        assert_eq!(run(&pieces).1, ["lighton_search"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(r#"[a<>\[\]_tol|cTO é{"]{0,8}"#, 0..8)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, calls) = run(&pieces);
            prop_assert_eq!((out, calls), (pieces.concat(), vec![]));
        }

        #[test]
        fn cuts_change_nothing(
            parts in prop::collection::vec(prop_oneof![
                (0..CALLS.len()).prop_map(|at| CALLS[at].to_owned()),
                r#"(<tool_call>|</tool_call>|[TOOL_CALLS]|<function=|\{"|"\}|`|\n|a| ){0,6}"#,
            ], 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = parts.concat();
            let whole = run(&[&text]);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(run(&pieces), whole);
        }
    }
}
