//! How many tokens a text is, without a tokenizer.
//!
//! Every model of every upstream has its own, so none would be right. A token never covers less than a byte, so what fits by bytes fits; for
//! the rest stands the estimate below. Measured with `benches/tokens` against the tokenizers of GPT-4 and GPT-4o on prose, lists and code in
//! several scripts; the README quotes the error.

/// An estimate of the tokens of `text`.
pub fn estimate(text: &str) -> u32 {
    let mut count = Count::default();
    for character in text.chars() {
        count.take(character);
    }
    count.finish()
}

/// Whether `text` is at most `budget` tokens, by bytes where that decides it.
pub fn fits(text: &str, budget: u32) -> bool {
    u32::try_from(text.len()).is_ok_and(|bytes| bytes <= budget) || estimate(text) <= budget
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Space,
    Latin,
    Digit,
    Mark,
    Other,
}

#[derive(Default)]
struct Count {
    kind: Kind,
    run: u32,
    /// In quarters of a token.
    quarters: u64,
}

impl Count {
    fn take(&mut self, character: char) {
        let kind = match character {
            'a'..='z' | 'A'..='Z' => Kind::Latin,
            '0'..='9' => Kind::Digit,
            ' ' | '\t' | '\r' | '\n' => Kind::Space,
            _ if character.is_ascii() => Kind::Mark,
            _ => Kind::Other,
        };
        match kind {
            Kind::Other => {
                // A letter with an accent breaks its word into more pieces; characters of other scripts are about a token each.
                self.close();
                self.kind = Kind::Other;
                self.quarters += match character {
                    '\u{80}'..='\u{24F}' => 3,
                    '\u{370}'..='\u{5FF}' => 2,
                    '\u{2010}'..='\u{206F}' => 4,
                    '\u{1F000}'..='\u{1FAFF}' => 10,
                    _ => 5,
                };
            }
            _ if kind == self.kind => self.run += 1,
            _ => {
                self.close();
                self.kind = kind;
                self.run = 1;
            }
        }
    }

    fn close(&mut self) {
        let run = u64::from(self.run);
        self.quarters += match self.kind {
            _ if run == 0 => 0,
            // A word is a token, longer ones two: 5 quarters on average at 8 letters.
            Kind::Latin => 4 + run.saturating_sub(5),
            Kind::Digit => 4 * run.div_ceil(3),
            Kind::Mark => 4 * run.div_ceil(2),
            // A single space belongs to the word behind it.
            Kind::Space => {
                if run > 1 {
                    4
                } else {
                    0
                }
            }
            Kind::Other => 0,
        };
        self.run = 0;
    }

    fn finish(mut self) -> u32 {
        self.close();
        u32::try_from(self.quarters.div_ceil(4)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_by_bytes_fits() {
        assert!(fits("日本語", 9));
        assert!(fits(&"word ".repeat(100), 500));
        assert!(!fits(&"word ".repeat(1000), 500));
    }

    #[test]
    fn an_estimate_is_near_what_tokenizers_count() {
        // Counted with GPT-4's tokenizer.
        for (text, tokens) in [
            ("The quick brown fox jumps over the lazy dog.", 10),
            (
                "Customer records are kept for five years after the contract ends, then deleted.",
                14,
            ),
        ] {
            let estimate = estimate(text);
            assert!(
                (tokens..=tokens + 4).contains(&estimate),
                "{text}: {estimate}"
            );
        }
    }
}
