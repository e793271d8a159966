//! The estimate itself: a text cut into runs of one kind, each with its price.

use super::{prices, word::Word};
use crate::openai::escape;

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

/// Characters of one kind in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    kind: Kind,
    length: u64,
    /// The run as a word, where it is one.
    word: Word,
}

impl Counter {
    /// Counts the next piece.
    ///
    /// ASCII, which most of most texts is, is looked at by the word and not by the character: a prompt is counted for every request.
    pub fn add(&mut self, piece: &str) {
        self.bytes += piece.len() as u64;
        let mut rest = piece.as_bytes();
        while let [byte, after @ ..] = rest {
            rest = match kind_of(*byte) {
                Some(Kind::Latin) => self.words(rest),
                Some(kind) => {
                    self.begin(kind);
                    self.run.length += 1;
                    after
                }
                None => {
                    let at = piece.len() - rest.len();
                    let mut characters = piece.get(at..).unwrap_or_default().chars();
                    if let Some(character) = characters.next() {
                        self.take(character);
                    }
                    characters.as_str().as_bytes()
                }
            };
        }
    }

    /// Counts the next piece, which is the inside of a JSON string.
    pub fn add_json(&mut self, inside: &str) {
        let mut rest = inside;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            self.add(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + 1..).unwrap_or_default();
            // Nothing follows where the piece was cut within an escape.
            if let Some((character, length)) = escape::character(rest) {
                self.add(character.encode_utf8(&mut [0; 4]));
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        self.add(rest);
    }

    /// Ends what the last piece ended with: the next one does not go on with it.
    pub(super) fn pause(&mut self) {
        self.close(Kind::Other);
    }

    /// An estimate of the tokens of all pieces so far.
    pub fn total(&self) -> u32 {
        let mut whole = *self;
        whole.close(Kind::Other);
        let tokens = (whole.price + whole.latin.surcharge()).div_ceil(100);
        u32::try_from(tokens.min(whole.bytes)).unwrap_or(u32::MAX)
    }

    /// Counts the ASCII letters that `text` begins with, and words behind them; gives what follows.
    fn words<'t>(&mut self, mut text: &'t [u8]) -> &'t [u8] {
        self.begin(Kind::Latin);
        if self.run.length == 0 {
            text = self.whole_words(text);
        }
        let word = Word::of(text);
        if word.length > 0 {
            self.begin(Kind::Latin);
            self.run.length += word.length;
            self.run.word.join(&word);
        }
        text.get(word.length as usize..).unwrap_or_default()
    }

    /// Counts the words that `text` begins with, as long as each certainly ends where its letters do, with a single space behind it, or a mark
    /// and a single space; gives what follows.
    ///
    /// Such a space costs nothing, since it belongs to the word behind it. So most of a prose text passes here, without a note of its runs.
    fn whole_words<'t>(&mut self, mut text: &'t [u8]) -> &'t [u8] {
        let (mut price, mut latin) = (0, self.latin);
        // What is left behind: a single space, or a word that has its price.
        let mut last = Run {
            kind: Kind::Space,
            length: 1,
            ..Run::default()
        };
        loop {
            let word = Word::of(text);
            let behind = text.get(word.length as usize..).unwrap_or_default();
            // An accented letter or the next piece may make the word longer.
            if word.length == 0 || !behind.first().is_some_and(u8::is_ascii) {
                break;
            }
            price += latin.word(&word);
            text = match behind {
                [b' ', after @ ..] => after,
                [mark, b' ', after @ ..] if kind_of(*mark) == Some(Kind::Mark) => {
                    price += latin.marks(1);
                    after
                }
                _ => {
                    last = Run {
                        kind: Kind::Latin,
                        ..Run::default()
                    };
                    text = behind;
                    break;
                }
            };
        }
        if latin.words > self.latin.words {
            self.price += price;
            self.latin = latin;
            self.before = Kind::Latin;
            self.run = last;
        }
        text
    }

    /// Makes `kind` the kind of what comes, and prices the run before where it ends with that.
    fn begin(&mut self, kind: Kind) {
        if kind != self.run.kind {
            self.close(kind);
            self.run.kind = kind;
        }
    }

    fn take(&mut self, character: char) {
        let kind = Kind::of(character);
        self.begin(kind);
        self.run.length += 1;
        self.price += match kind {
            Kind::Other => prices::symbol(character),
            Kind::Cyrillic => prices::cyrillic(character),
            Kind::Latin => {
                self.run.word.push(character);
                prices::accented(character)
            }
            Kind::Space | Kind::Newline | Kind::Digit | Kind::Mark => 0,
        };
    }

    /// Prices the run that ends before one of kind `next`.
    fn close(&mut self, next: Kind) {
        let length = self.run.length;
        if length == 0 {
            return;
        }
        self.price += match self.run.kind {
            Kind::Latin => self.latin.word(&self.run.word),
            Kind::Cyrillic => 68,
            // Three digits are a token.
            Kind::Digit => 110 * length.div_ceil(3),
            Kind::Mark => self.latin.marks(length).min(match next {
                // A single mark often belongs to the word behind it.
                Kind::Latin if length == 1 => 60,
                _ => u64::MAX,
            }),
            // Marks take the end of the line with them.
            Kind::Newline if self.before == Kind::Mark => 10,
            Kind::Newline => 120,
            // A single space belongs to the word behind it.
            Kind::Space if length > 1 => 80,
            Kind::Space | Kind::Other => 0,
        };
        self.before = self.run.kind;
        self.run = Run {
            kind: self.run.kind,
            ..Run::default()
        };
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
    const fn of(character: char) -> Self {
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

/// The kind of an ASCII character. A table is faster to ask than the ranges.
fn kind_of(byte: u8) -> Option<Kind> {
    #[expect(clippy::indexing_slicing, reason = "it is done by the compiler")]
    const KINDS: [Kind; 128] = {
        let mut kinds = [Kind::Mark; 128];
        let mut byte = 0_u8;
        while byte < 128 {
            kinds[byte as usize] = Kind::of(byte as char);
            byte += 1;
        }
        kinds
    };
    KINDS.get(usize::from(byte)).copied()
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
    /// Notes a word; gives its price.
    fn word(&mut self, word: &Word) -> u64 {
        self.words += 1;
        self.letters += word.length;
        if word.length <= 4 {
            self.accounted += prices::vouches_for(word.short);
        }
        prices::word(word)
    }

    /// Notes marks in a row; gives their price.
    fn marks(&mut self, length: u64) -> u64 {
        self.accounted += 1;
        122 + 35 * length.saturating_sub(2)
    }

    /// A fifth of a token for each letter of the words that nothing vouches for.
    fn surcharge(&self) -> u64 {
        let foreign = self.words.saturating_sub(self.accounted);
        20 * self.letters * foreign / self.words.max(1)
    }
}
