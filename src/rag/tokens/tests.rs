//! The estimate: what it is near to, and that fast and slow ways agree.

use proptest::prelude::*;

use super::*;

#[test]
fn what_fits_by_bytes_fits() {
    assert!(within("日本語", 9).is_some());
    assert!(within(&"word ".repeat(100), 500).is_some());
    assert_eq!(within(&"word ".repeat(1000), 500), None);
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
    let english =
        "and the contract of the customer ends, and the data of the customer goes to the archive";
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

proptest! {
    #[test]
    fn words_count_as_their_characters_do(pieces in prop::collection::vec(TEXT, 1..4)) {
        let (mut counter, mut plain) = (Counter::default(), plain::Counter::default());
        for piece in &pieces {
            counter.add(piece);
            plain.add(piece);
            prop_assert_eq!(counter.total(), plain.total());
        }
    }

    #[test]
    fn a_json_string_counts_as_what_it_says(text in TEXT, ascii in any::<bool>()) {
        let written = serde_json::to_string(&text).unwrap();
        let inside = &written[1..written.len() - 1];
        let escaped: String = if ascii {
            let units = |character: char| -> String {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units).iter();
                units.map(|unit| format!("\\u{unit:04x}")).collect()
            };
            let written = |character: char| if character.is_ascii() { character.to_string() } else { units(character) };
            inside.chars().map(written).collect()
        } else {
            inside.to_owned()
        };

        let mut counter = Counter::default();
        counter.add_json(&escaped);

        prop_assert_eq!(counter.total(), estimate(&text));
    }
}

/// Words, short and long, in one case or several, with and without accents, and what stands between them.
const TEXT: &str = "(the|and|of|dans|TO|Lyon|eBay|a|retention|incomprehensibilities|é|ñ|straße|ÀB|Đ|Яндекс|the| |  |\t|\n|\r\n|, |. |\\.\"|-|'|\\\\|[!-/]|[0-9]{1,5}|日本|👍|\u{200d}|[a-zA-Z]{1,18}){0,12}";

/// The same estimate, character by character.
mod plain {
    use super::super::prices;

    #[derive(Clone, Copy, Default)]
    pub(super) struct Counter {
        bytes: u64,
        price: u64,
        run: Run,
        before: Kind,
        words: u64,
        letters: u64,
        accounted: u64,
    }

    #[derive(Clone, Copy, Default)]
    struct Run {
        kind: Kind,
        length: u64,
        capitals: u64,
        starts_with_capital: bool,
        last: u32,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Default)]
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

    impl Counter {
        pub(super) fn add(&mut self, piece: &str) {
            self.bytes += piece.len() as u64;
            piece.chars().for_each(|character| self.take(character));
        }

        pub(super) fn total(&self) -> u32 {
            let mut whole = *self;
            whole.close(Kind::Other);
            let foreign = whole.words.saturating_sub(whole.accounted);
            let surcharge = 20 * whole.letters * foreign / whole.words.max(1);
            let tokens = (whole.price + surcharge).div_ceil(100);
            u32::try_from(tokens.min(whole.bytes)).unwrap_or(u32::MAX)
        }

        fn take(&mut self, character: char) {
            let kind = kind_of(character);
            if kind != self.run.kind {
                self.close(kind);
                self.run = Run {
                    kind,
                    ..Run::default()
                };
            }
            let run = &mut self.run;
            let capital = character.is_ascii_uppercase();
            run.starts_with_capital |= capital && run.length == 0;
            run.capitals += u64::from(capital);
            let byte = u8::try_from(character.to_ascii_lowercase()).unwrap_or(u8::MAX);
            run.last = run.last << 8 | u32::from(byte);
            run.length += 1;
            self.price += match kind {
                Kind::Other => prices::symbol(character),
                Kind::Cyrillic => prices::cyrillic(character),
                Kind::Latin if !character.is_ascii() => prices::accented(character),
                _ => 0,
            };
        }

        fn close(&mut self, next: Kind) {
            let run = self.run;
            let length = run.length;
            if length == 0 {
                return;
            }
            self.price += match run.kind {
                Kind::Latin => word(&run),
                Kind::Cyrillic => 68,
                Kind::Digit => 110 * length.div_ceil(3),
                Kind::Mark if length == 1 && next == Kind::Latin => 60,
                Kind::Mark => 122 + 35 * length.saturating_sub(2),
                Kind::Newline if self.before == Kind::Mark => 10,
                Kind::Newline => 120,
                Kind::Space if length > 1 => 80,
                Kind::Space | Kind::Other => 0,
            };
            match run.kind {
                Kind::Latin => {
                    self.words += 1;
                    self.letters += length;
                    self.accounted += vouches_for(&run);
                }
                Kind::Mark => self.accounted += 1,
                _ => {}
            }
            self.before = run.kind;
            self.run.length = 0;
        }
    }

    fn kind_of(character: char) -> Kind {
        match character {
            ' ' | '\t' => Kind::Space,
            '\r' | '\n' => Kind::Newline,
            '0'..='9' => Kind::Digit,
            'a'..='z' | 'A'..='Z' => Kind::Latin,
            '×' | '÷' => Kind::Other,
            'À'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => Kind::Latin,
            '\u{400}'..='\u{52F}' => Kind::Cyrillic,
            _ if character.is_ascii() => Kind::Mark,
            _ => Kind::Other,
        }
    }

    fn word(run: &Run) -> u64 {
        let length = run.length;
        let letters = 95 + 20 * length.saturating_sub(6) + 20 * length.saturating_sub(13);
        let capitals = match run.capitals {
            capitals if capitals == length && length > 1 => 11 * length,
            capitals => {
                let first = u64::from(run.starts_with_capital);
                let name = if length > 3 { 63 * first } else { 0 };
                name + 50 * (capitals - first)
            }
        };
        letters + capitals
    }

    fn vouches_for(run: &Run) -> u64 {
        if run.length > 4 {
            return 0;
        }
        match &run.last.to_be_bytes() {
            b"\0the" | b"\0and" | b"\0\0of" | b"\0\0to" => 10,
            b"\0\0la" | b"\0que" | b"\0les" | b"\0des" | b"\0une" | b"\0est" | b"dans" => 6,
            b"\0los" | b"\0del" | b"para" | b"\0com" | b"\0uma" | b"\0\0os" | b"\0dos" => 6,
            b"\0\0il" | b"\0che" | b"\0und" | b"\0der" => 6,
            _ => 0,
        }
    }
}
