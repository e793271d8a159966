//! Words as questions and sentences are compared by: lower case, without accents, cut to their stems, filler left out.

use std::collections::{HashMap, HashSet};

use tantivy::tokenizer::{Language, RawTokenizer, Stemmer, TextAnalyzer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Longer words (encoded blobs, rulers) are cut here: nobody asks for their end.
const WORD_CHARS: usize = 48;

/// How much of the passages is read to tell the language of a question too short to tell it, in characters.
const SAMPLE_CHARS: usize = 2_000;

/// English words that carry no subject, and those that only say what to do with one.
const ENGLISH: &str = "a about after all also am an and any anyone are as at be because been before being between both but by can could describe \
    did do does doing done during each ever explain find for from further give had has have having he her here hers him his how i if in into \
    is it its just kind list may me might more most much must my name no not of off on once only or other our ours out over own please same \
    shall she should show so some such summarise summarize summary tell than that the their them then there these they this through to too type \
    under until up upon us very was we were what whatever when where whether which while who whom whose why will with would you your yours";

/// French words that carry no subject, and those that only say what to do with one.
const FRENCH: &str = "a afin ai ainsi alors après as au aussi autre aux avant avec avoir c ce ceci cela celle celles celui ces cet cette ceux chez \
    combien comme comment d dans de depuis des dire dis dit doit doivent donc donne donner dont du elle elles en entre es est et étaient était \
    été être eu explique expliquer fait faire il ils j je jusqu l la laquelle le lequel les lesquelles lesquels leur leurs liste lorsqu lui m ma \
    mais me même mes moi moins mon montre n ne ni nos notre nous on ont ou où par parle pas peut peuvent plus pour pourquoi puisqu qu quand que \
    quel quelle quelles quels qui quoi résume résumer s sa sans se sera ses si son sont sous sur t ta te tes toi ton tous tout toute toutes très \
    trouve tu un une vers vos votre vous y";

/// The language whose rules a conversation's words follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    English,
    French,
}

impl Tongue {
    /// Tells the language of `question` by its filler words, and where those are silent by `passages`.
    pub(super) fn of<'a>(question: &str, passages: impl Iterator<Item = &'a str>) -> Self {
        let lean = lean(question);
        if lean != 0 {
            return if lean > 0 {
                Self::French
            } else {
                Self::English
            };
        }
        let sample: String = passages.flat_map(str::chars).take(SAMPLE_CHARS).collect();
        if self::lean(&sample) > 0 {
            Self::French
        } else {
            Self::English
        }
    }

    fn filler(self) -> &'static str {
        match self {
            Self::English => ENGLISH,
            Self::French => FRENCH,
        }
    }
}

/// How many more French than English filler words `text` has.
fn lean(text: &str) -> i64 {
    let (english, french): (HashSet<&str>, HashSet<&str>) = (
        ENGLISH.split_whitespace().collect(),
        FRENCH.split_whitespace().collect(),
    );
    split(text)
        .iter()
        .map(|word| {
            i64::from(french.contains(word.as_str())) - i64::from(english.contains(word.as_str()))
        })
        .sum()
}

/// Cuts words to their stems by the rules of one language, and remembers them.
pub(super) struct Stems {
    filler: HashSet<&'static str>,
    stemmer: TextAnalyzer,
    known: HashMap<String, Option<String>>,
}

impl Stems {
    /// Prepares the rules of `tongue`.
    pub(super) fn new(tongue: Tongue) -> Self {
        let language = match tongue {
            Tongue::English => Language::English,
            Tongue::French => Language::French,
        };
        Self {
            filler: tongue.filler().split_whitespace().collect(),
            stemmer: TextAnalyzer::builder(RawTokenizer::default())
                .filter(Stemmer::new(language))
                .build(),
            known: HashMap::new(),
        }
    }

    /// The stems of the words of `text` that carry a subject, in order.
    pub(super) fn of(&mut self, text: &str) -> Vec<String> {
        split(text)
            .into_iter()
            .filter_map(|word| self.stem(word))
            .collect()
    }

    fn stem(&mut self, word: String) -> Option<String> {
        if let Some(known) = self.known.get(&word) {
            return known.clone();
        }
        let stem = if self.filler.contains(word.as_str()) {
            None
        } else {
            let mut stream = self.stemmer.token_stream(&word);
            stream.advance().then(|| fold(&stream.token().text))
        };
        self.known.insert(word, stem.clone());
        stem
    }
}

/// The words of `text` that carry a subject, as they are written: what a person would type into a search box.
pub(super) fn key_words(text: &str, tongue: Tongue) -> Vec<String> {
    let filler: HashSet<&str> = tongue.filler().split_whitespace().collect();
    split(text)
        .into_iter()
        .filter(|word| !filler.contains(word.as_str()))
        .collect()
}

/// The words of `text` in lower case, accents kept because stemmers need them.
///
/// A point or a comma between digits joins them (`7,000`, `3.5`); an apostrophe cuts off French elisions and the English possessive.
/// Scripts that write no spaces give one word for each character.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.nfkc().flat_map(char::to_lowercase).peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        if is_unspaced(c) {
            finish(&mut word, &mut words);
            words.push(c.to_string());
        } else if c.is_alphanumeric() || is_combining_mark(c) || is_within_number(&word, c, next) {
            word.push(c);
        } else if matches!(c, '\'' | '\u{2019}')
            && next.is_some_and(char::is_alphanumeric)
            && !is_elision(&word)
        {
            word.push('\'');
        } else {
            finish(&mut word, &mut words);
        }
    }
    finish(&mut word, &mut words);
    words
}

fn finish(word: &mut String, words: &mut Vec<String>) {
    let whole = std::mem::take(word);
    let bare = whole.strip_suffix("'s").unwrap_or(&whole);
    let kept: String = bare
        .chars()
        .filter(|&c| c != '\'')
        .take(WORD_CHARS)
        .collect();
    if !kept.is_empty() {
        words.push(kept);
    }
}

/// Whether `c` is the point or the comma inside a number.
fn is_within_number(word: &str, c: char, next: Option<char>) -> bool {
    let digits = word.ends_with(|last: char| last.is_ascii_digit())
        && next.is_some_and(|next| next.is_ascii_digit());
    digits && matches!(c, '.' | ',')
}

fn is_elision(word: &str) -> bool {
    matches!(
        word,
        "l" | "d"
            | "j"
            | "m"
            | "t"
            | "s"
            | "n"
            | "c"
            | "qu"
            | "jusqu"
            | "lorsqu"
            | "puisqu"
            | "quoiqu"
            | "aujourd"
    )
}

/// Thai, Lao, Khmer, Hiragana, Katakana and Han write words without spaces between them.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

/// Takes accents out of `word`, so that people may type without them.
pub(super) fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.to_owned();
    }
    word.nfd()
        .filter(|c| !matches!(c, '\u{300}'..='\u{36f}'))
        .nfc()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_decimals_and_lose_possessives_and_elisions() {
        let words = split("Rollo's 7,000,000 km² grew 3.5 % — l’université d'été, don't.");

        assert_eq!(
            words,
            [
                "rollo",
                "7,000,000",
                "km2",
                "grew",
                "3.5",
                "l",
                "université",
                "d",
                "été",
                "dont"
            ]
        );
    }

    #[test]
    fn forms_of_a_word_share_a_stem() {
        let mut english = Stems::new(Tongue::English);
        let mut french = Stems::new(Tongue::French);

        assert_eq!(
            english.of("What are the retained documents?"),
            english.of("retain document")
        );
        assert_eq!(
            french.of("Quelles sont les sociétés conservées ?"),
            french.of("société conservée")
        );
    }

    #[test]
    fn a_short_question_takes_the_language_of_its_passages() {
        let french = "Les documents de la société sont conservés dans une archive.";

        assert_eq!(
            Tongue::of("Combien de jours pour les congés ?", std::iter::empty()),
            Tongue::French
        );
        assert_eq!(
            Tongue::of("How many days off?", [french].into_iter()),
            Tongue::English
        );
        assert_eq!(
            Tongue::of("archive société", [french].into_iter()),
            Tongue::French
        );
        assert_eq!(Tongue::of("archive", std::iter::empty()), Tongue::English);
    }

    #[test]
    fn key_words_leave_the_filler_out() {
        assert_eq!(
            key_words("What is our data retention policy?", Tongue::English),
            ["data", "retention", "policy"]
        );
    }
}
