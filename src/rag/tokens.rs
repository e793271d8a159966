//! How many tokens a text is, without a tokenizer.
//!
//! Every model of every upstream has its own, so none would be right. A token never covers less than a byte, so what fits by bytes fits; for
//! the rest stands the estimate below. It follows how the tokenizers of GPT and Llama cut a text before they look anything up (words with the
//! space or mark before them, digits by three, runs of marks, ends of lines), with prices that were fitted to what they count.
//!
//! `benches/tokens` measures it and `docs/tokens.md` has the whole table. An estimate that is low can overflow a model's window, one that is
//! high only leaves a passage out, so it leans high. In per cent over (+) or under (-) what the tokenizer counts, mean and range of files:
//!
//! | text | GPT-4 | GPT-4o, gpt-oss | Llama 3 |
//! |---|--:|--:|--:|
//! | 24 articles of Wikipedia, English | +9 (-2..+20) | +9 (+1..+19) | +9 (-2..+20) |
//! | 10 documents of the handbook, English | +6 (+3..+12) | +7 (+4..+12) | +6 (+3..+12) |
//! | a document of the handbook, French | +13 | +31 | +13 |
//! | German, Italian, Polish, Spanish | +12 (+5..+20) | +36 (+24..+52) | +12 (+5..+20) |
//! | Rust sources | +14 (+1..+27) | +14 (+2..+25) | +14 (+1..+27) |
//! | Markdown lists, a CSV file of numbers | +10, +11 | +11, +11 | +10, +11 |
//! | Japanese, Russian, Arabic | +10, +20, +9 | +48, +122, +175 | +59, +84, +115 |

/// An estimate of the tokens of `text`.
pub fn estimate(text: &str) -> u32 {
    let mut counter = Counter::default();
    counter.add(text);
    counter.total()
}

/// Whether `text` is at most `budget` tokens, by bytes where that decides it.
pub fn fits(text: &str, budget: u32) -> bool {
    u32::try_from(text.len()).is_ok_and(|bytes| bytes <= budget) || estimate(text) <= budget
}

/// An estimate of a text that comes in pieces, known after each. A word may be cut by the end of a piece.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter {
    bytes: u64,
    /// What is certain, in hundredths of a token.
    price: u64,
    run: Run,
    /// The kind of the run before.
    before: Kind,
    latin: Latin,
}

impl Counter {
    /// Counts the next piece.
    pub fn add(&mut self, piece: &str) {
        self.bytes += piece.len() as u64;
        for character in piece.chars() {
            self.take(character);
        }
    }

    /// An estimate of the tokens of all pieces so far.
    pub fn total(&self) -> u32 {
        let mut whole = *self;
        whole.close(Kind::Other);
        let tokens = (whole.price + whole.latin.surcharge()).div_ceil(100);
        u32::try_from(tokens.min(whole.bytes)).unwrap_or(u32::MAX)
    }

    fn take(&mut self, character: char) {
        let kind = Kind::of(character);
        if kind != self.run.kind {
            self.close(kind);
            self.run = Run {
                kind,
                ..Run::default()
            };
        }
        self.run.take(character);
        self.price += match kind {
            Kind::Other => symbol(character),
            Kind::Cyrillic => cyrillic(character),
            Kind::Latin if !character.is_ascii() => accented(character),
            _ => 0,
        };
    }

    /// Prices the run that ends before one of kind `next`.
    fn close(&mut self, next: Kind) {
        let run = self.run;
        let length = run.length;
        self.price += match run.kind {
            _ if length == 0 => 0,
            Kind::Latin => run.word(),
            Kind::Cyrillic => 68,
            // Three digits are a token.
            Kind::Digit => 110 * length.div_ceil(3),
            // A single mark often belongs to the word behind it.
            Kind::Mark if length == 1 && next == Kind::Latin => 60,
            Kind::Mark => 122 + 35 * length.saturating_sub(2),
            // Marks take the end of the line with them.
            Kind::Newline if self.before == Kind::Mark => 10,
            Kind::Newline => 120,
            // A single space belongs to the word behind it.
            Kind::Space if length > 1 => 80,
            Kind::Space | Kind::Other => 0,
        };
        match run.kind {
            Kind::Latin => self.latin.word(&run),
            Kind::Mark => self.latin.accounted += 1,
            _ => {}
        }
        if length > 0 {
            self.before = run.kind;
        }
        self.run.length = 0;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Space,
    Newline,
    Latin,
    Cyrillic,
    Digit,
    Mark,
    Other,
}

impl Kind {
    fn of(character: char) -> Self {
        match character {
            ' ' | '\t' => Self::Space,
            '\r' | '\n' => Self::Newline,
            '0'..='9' => Self::Digit,
            'a'..='z' | 'A'..='Z' => Self::Latin,
            '×' | '÷' => Self::Other,
            'À'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => Self::Latin,
            '\u{400}'..='\u{52F}' => Self::Cyrillic,
            _ if character.is_ascii() => Self::Mark,
            _ => Self::Other,
        }
    }
}

/// Characters of one kind in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    kind: Kind,
    length: u64,
    capitals: u64,
    starts_with_capital: bool,
    /// The last four characters in lower case; none of them is more than a byte in the words that are looked for.
    last: u32,
}

impl Run {
    fn take(&mut self, character: char) {
        let capital = character.is_ascii_uppercase();
        self.starts_with_capital |= capital && self.length == 0;
        self.capitals += u64::from(capital);
        let byte = u8::try_from(character.to_ascii_lowercase()).unwrap_or(u8::MAX);
        self.last = self.last << 8 | u32::from(byte);
        self.length += 1;
    }

    /// The price of a word in Latin letters.
    fn word(&self) -> u64 {
        let length = self.length;
        // Most words are in the vocabulary; long ones come in pieces.
        let letters = 95 + 20 * length.saturating_sub(6) + 20 * length.saturating_sub(13);
        let capitals = match self.capitals {
            // Vocabularies know few words in capitals alone.
            capitals if capitals == length && length > 1 => 11 * length,
            // Names are rarer than words, and a capital inside begins another piece.
            capitals => {
                let first = u64::from(self.starts_with_capital);
                let name = if length > 3 { 63 * first } else { 0 };
                name + 50 * (capitals - first)
            }
        };
        letters + capitals
    }

    /// How many words the presence of this one vouches for: English has one of four such words in about six, the Romance languages and German
    /// one of theirs in eight or nine.
    fn vouches_for(&self) -> u64 {
        if self.length > 4 {
            return 0;
        }
        match &self.last.to_be_bytes() {
            b"\0the" | b"\0and" | b"\0\0of" | b"\0\0to" => 10,
            b"\0\0la" | b"\0que" | b"\0les" | b"\0des" | b"\0une" | b"\0est" | b"dans" => 6,
            b"\0los" | b"\0del" | b"para" | b"\0com" | b"\0uma" | b"\0\0os" | b"\0dos" => 6,
            b"\0\0il" | b"\0che" | b"\0und" | b"\0der" => 6,
            _ => 0,
        }
    }
}

/// The words in Latin letters, to tell languages that vocabularies know well from those whose words are spelt in pieces.
///
/// Neither length nor accents do: a word of Finnish or Indonesian takes twice the tokens of an English one. Code has few small words but
/// many marks, so a mark vouches for one word.
#[derive(Debug, Clone, Copy, Default)]
struct Latin {
    words: u64,
    letters: u64,
    accounted: u64,
}

impl Latin {
    fn word(&mut self, run: &Run) {
        self.words += 1;
        self.letters += run.length;
        self.accounted += run.vouches_for();
    }

    /// A fifth of a token for each letter of the words that nothing vouches for.
    fn surcharge(&self) -> u64 {
        let foreign = self.words.saturating_sub(self.accounted);
        20 * self.letters * foreign / self.words.max(1)
    }
}

/// What an accent adds to its word: those of Western Europe less than others.
fn accented(character: char) -> u64 {
    match character {
        ..='\u{FF}' => 107,
        ..='\u{24F}' => 142,
        // Vietnamese, whose words are short, which is priced already.
        _ => 0,
    }
}

fn cyrillic(character: char) -> u64 {
    match character {
        'А'..='я' => 45,
        // Letters that Russian lacks: vocabularies know less of the languages of Europe that have them, and least of those of Asia.
        '\u{400}'..='\u{45F}' => 165,
        _ => 320,
    }
}

/// The price of a character that is neither ASCII nor a letter of the scripts above: scripts with few words in vocabularies, and symbols.
fn symbol(character: char) -> u64 {
    match character {
        '\u{370}'..='\u{3FF}' => 112,
        '\u{590}'..='\u{5FF}' => 124,
        '\u{600}'..='\u{77F}' => 93,
        '\u{900}'..='\u{9FF}' | '\u{B80}'..='\u{BFF}' => 145,
        '\u{B00}'..='\u{B7F}' => 300,
        // The other scripts of India and Sri Lanka.
        '\u{A00}'..='\u{DFF}' => 205,
        '\u{E00}'..='\u{E7F}' => 105,
        '\u{3040}'..='\u{30FF}' => 102,
        '\u{3400}'..='\u{9FFF}' => 126,
        '\u{AC00}'..='\u{D7AF}' => 124,
        '\u{200D}' | '\u{FE00}'..='\u{FE0F}' => 105,
        // Typography.
        ..='\u{36F}'
        | '\u{2000}'..='\u{25FF}'
        | '\u{3000}'..='\u{303F}'
        | '\u{FF00}'..='\u{FFEF}' => 120,
        // Emoji.
        '\u{1F000}'..='\u{1FFFF}' => 301,
        _ => 227,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_by_bytes_fits() {
        assert!(fits("日本語", 9));
        assert!(fits(&"word ".repeat(100), 500));
        assert!(!fits(&"word ".repeat(1000), 500));
    }

    #[test]
    fn an_estimate_is_near_what_tokenizers_count() {
        // Counted with GPT-4's tokenizer, `cl100k_base`.
        for (text, tokens) in [
            ("The quick brown fox jumps over the lazy dog.", 10),
            (
                "Customer records are kept for five years after the contract ends, then deleted.",
                15,
            ),
            (
                "Les données des clients sont conservées cinq ans après la fin du contrat, puis effacées.",
                21,
            ),
            (
                "Tietoja säilytetään viisi vuotta sopimuksen päättymisestä.",
                23,
            ),
            ("2025-01-03,4400-017,FR-75,120,14.50,1740.00", 26),
            ("契約が終了した日から五年間保存します。", 17),
            (
                "if let Some(value) = map.get(&key) { return Ok(value.clone()); }",
                18,
            ),
        ] {
            let estimate = estimate(text);
            assert!(
                (tokens..=tokens * 3 / 2).contains(&estimate),
                "{text}: {estimate} for {tokens}"
            );
        }
    }

    #[test]
    fn a_language_whose_words_come_in_pieces_costs_more() {
        let english = "and the contract of the customer ends, and the data of the customer goes to the archive";
        let finnish = english.replace(|letter| "aeiou".contains(letter), "k");
        assert!(estimate(&finnish) > estimate(english) * 3 / 2);
    }

    proptest! {
        #[test]
        fn pieces_count_as_the_whole(text in ".{0,40}", more in "(?s).{0,40}") {
            let mut counter = Counter::default();
            counter.add(&text);
            prop_assert_eq!(counter.total(), estimate(&text));
            counter.add(&more);
            prop_assert_eq!(counter.total(), estimate(&(text + &more)));
        }

        #[test]
        fn an_estimate_is_never_more_than_the_bytes(text in "(?s).{0,200}") {
            prop_assert!(estimate(&text) as usize <= text.len());
        }
    }
}
