//! Words as the index compares them: split, folded, and cut to their stems by the rules of their language.
//!
//! Stop words leave the stems but stay among the exact words, so that "to be or not to be" still finds itself.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
};

use tantivy::tokenizer::{Language, RawTokenizer, Stemmer, StopWordFilter, TextAnalyzer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use whatlang::{Detector, Lang};

/// Longer words (encoded blobs, rulers of dashes) are cut here: nobody asks for their end.
const WORD_CHARS: usize = 48;

/// How much of a text its language is judged by, in bytes: more changes the verdict rarely and costs time always.
const SAMPLE_BYTES: usize = 800;

/// Short texts are guessed wrongly too often; below this many characters the document's language stands.
const SAMPLE_CHARS_MIN: usize = 60;

/// Which tongues are told apart, and how their words are stemmed.
const LANGUAGES: &[(Lang, Language)] = &[
    (Lang::Eng, Language::English),
    (Lang::Fra, Language::French),
    (Lang::Deu, Language::German),
    (Lang::Spa, Language::Spanish),
    (Lang::Ita, Language::Italian),
    (Lang::Por, Language::Portuguese),
    (Lang::Nld, Language::Dutch),
    (Lang::Swe, Language::Swedish),
    (Lang::Dan, Language::Danish),
    (Lang::Nob, Language::Norwegian),
    (Lang::Fin, Language::Finnish),
    (Lang::Ron, Language::Romanian),
    (Lang::Hun, Language::Hungarian),
    (Lang::Rus, Language::Russian),
    (Lang::Ell, Language::Greek),
    (Lang::Tur, Language::Turkish),
];

/// English words that carry no subject: tantivy's own list (Lucene's) has 33 of them and no question word.
const ENGLISH: &str = "about after all also am any anyone because been before being between both can could did do does doing done during each \
    ever from further give had has have having he her here hers him his how i its just may me might more most much must my of off once only \
    other our ours out over own same shall she should so some tell than them theirs through too under until up upon us very we were what \
    whatever when where whether which while who whom whose why would you your yours please many";

/// French question words and fillers beyond tantivy's list (Snowball's).
const FRENCH: &str = "quel quelle quels quelles quoi où quand comment combien pourquoi lequel laquelle lesquels lesquelles dont est-ce est sont \
    était étaient a ont peut peuvent doit doivent fait faire cela ceci celui celle ceux celles si très plus moins aussi ainsi entre après avant \
    sans sous chez vers donc or ni car il ils elle elles on nous vous leur leurs y";

/// German question words beyond tantivy's list.
const GERMAN: &str = "wer was wann wo warum wieso weshalb wie wieviel wieviele welche welcher welches welchen wem wen wessen gibt";

/// Spanish and Italian question words beyond tantivy's lists.
const SPANISH: &str =
    "qué quién quiénes cuál cuáles cuándo cuánto cuánta cuántos cuántas cómo dónde";
const ITALIAN: &str = "che chi quale quali quando quanto quanta quanti quante come dove perché";

/// Splits, stems and tells languages apart. It remembers the stems it has cut.
#[derive(Clone)]
pub(super) struct Lexicon {
    tongues: Vec<Tongue>,
}

/// One language's rules, and the stems it has already cut.
#[derive(Clone)]
struct Tongue {
    language: Language,
    analyzer: TextAnalyzer,
    known: HashMap<String, Option<String>>,
}

/// How many stems are remembered for one language before it starts afresh.
const KNOWN_MAX: usize = 50_000;

impl Lexicon {
    /// Prepares the rules of every language.
    pub(super) fn new() -> Self {
        let tongues = LANGUAGES
            .iter()
            .map(|&(_, language)| Tongue::new(language))
            .collect();
        Self { tongues }
    }

    /// The stem of `word` in `language`; `None` for a stop word. `word` is one of [`split`]'s.
    pub(super) fn stem(&mut self, word: &str, language: Language) -> Option<String> {
        match self
            .tongues
            .iter_mut()
            .find(|tongue| tongue.language == language)
        {
            Some(tongue) => tongue.stem(word),
            None => Some(fold(word)),
        }
    }

    /// The stems of `words` without stop words, in order.
    pub(super) fn stems(&mut self, words: &[String], language: Language) -> Vec<String> {
        words
            .iter()
            .filter_map(|word| self.stem(word, language))
            .collect()
    }
}

impl Tongue {
    fn new(language: Language) -> Self {
        let own = match language {
            Language::English => ENGLISH,
            Language::French => FRENCH,
            Language::German => GERMAN,
            Language::Spanish => SPANISH,
            Language::Italian => ITALIAN,
            _ => "",
        };
        let own = StopWordFilter::remove(own.split_whitespace().map(str::to_owned));
        let general =
            StopWordFilter::new(language).unwrap_or_else(|| StopWordFilter::remove(Vec::new()));
        let analyzer = TextAnalyzer::builder(RawTokenizer::default())
            .filter(general)
            .filter(own)
            .filter(Stemmer::new(language))
            .build();
        Self {
            language,
            analyzer,
            known: HashMap::new(),
        }
    }

    fn stem(&mut self, word: &str) -> Option<String> {
        if let Some(known) = self.known.get(word) {
            return known.clone();
        }
        let mut stream = self.analyzer.token_stream(word);
        let stem = stream.advance().then(|| fold(&stream.token().text));
        drop(stream);
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(word.to_owned(), stem.clone());
        stem
    }
}

/// The language `text` is written in, when it is long and plain enough to tell.
pub(super) fn language_of(text: &str) -> Option<Language> {
    let sample = head(text, SAMPLE_BYTES);
    if sample.chars().count() < SAMPLE_CHARS_MIN {
        return None;
    }
    let info = detector(LANGUAGES.iter().map(|&(lang, _)| lang)).detect(sample)?;
    if !info.is_reliable() {
        return None;
    }
    stemmed(info.lang())
}

/// Which of `among` a question is written in: the choice is small, so that a few words are enough.
pub(super) fn language_among(text: &str, among: &BTreeSet<&'static str>) -> Option<Language> {
    let allowed: Vec<Lang> = LANGUAGES
        .iter()
        .filter(|(lang, _)| among.contains(lang.code()))
        .map(|&(lang, _)| lang)
        .collect();
    match allowed.as_slice() {
        [] => None,
        [only] => stemmed(*only),
        _ => detector(allowed.iter().copied())
            .detect_lang(text)
            .and_then(stemmed),
    }
}

/// The ISO 639-3 code of `language`.
pub(super) fn code_of(language: Language) -> &'static str {
    LANGUAGES
        .iter()
        .find(|(_, stemmed)| *stemmed == language)
        .map_or("und", |(lang, _)| lang.code())
}

/// The language that `code` names.
pub(super) fn language_by_code(code: &str) -> Option<Language> {
    LANGUAGES
        .iter()
        .find(|(lang, _)| lang.code() == code)
        .map(|&(_, language)| language)
}

fn detector(languages: impl Iterator<Item = Lang>) -> Detector {
    Detector::with_allowlist(languages.collect())
}

fn stemmed(lang: Lang) -> Option<Language> {
    LANGUAGES
        .iter()
        .find(|(known, _)| *known == lang)
        .map(|&(_, language)| language)
}

/// The words of `text` in lower case and compatibility form, accents kept: stemmers need them.
///
/// An apostrophe cuts off French elisions (`l'`, `qu'`) and the English possessive, and otherwise joins (`don't`, `O'Brien`).
/// Scripts that write no spaces give one word for each character.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.nfkc().flat_map(char::to_lowercase).peekable();
    while let Some(c) = chars.next() {
        if is_unspaced(c) {
            finish(&mut word, &mut words);
            words.push(c.to_string());
        } else if c.is_alphanumeric() || is_combining_mark(c) {
            word.push(c);
        } else if matches!(c, '\'' | '\u{2019}')
            && chars.peek().is_some_and(|next| next.is_alphanumeric())
        {
            if is_elision(&word) {
                finish(&mut word, &mut words);
            } else {
                word.push('\'');
            }
        } else {
            finish(&mut word, &mut words);
        }
    }
    finish(&mut word, &mut words);
    words
}

/// Takes accents and ligatures out of `word`, so that people may type without them.
pub(super) fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.to_owned();
    }
    let mut folded = String::with_capacity(word.len());
    for c in word.nfd() {
        match c {
            '\u{300}'..='\u{36f}' => {}
            'ß' => folded.push_str("ss"),
            'œ' => folded.push_str("oe"),
            'æ' => folded.push_str("ae"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' => folded.push('d'),
            'ı' => folded.push('i'),
            other => folded.push(other),
        }
    }
    folded.nfc().collect()
}

/// Every two neighbours of `stems` as one word: what makes "black death" more than "black" and "death".
pub(super) fn pairs(stems: &[String]) -> Vec<String> {
    stems
        .iter()
        .zip(stems.iter().skip(1))
        .map(|(first, second)| format!("{first}+{second}"))
        .collect()
}

fn finish(word: &mut String, words: &mut Vec<String>) {
    let whole = mem::take(word);
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
            | "dell"
            | "nell"
            | "all"
            | "sull"
            | "un"
    )
}

/// Han, Hiragana, Katakana, Thai, Lao and Khmer write words without spaces between them.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stems(text: &str, language: Language) -> Vec<String> {
        Lexicon::new().stems(&split(text), language)
    }

    #[test]
    fn words_are_split_as_people_mean_them() {
        for (text, words) in [
            (
                "The C-level's 2015–16 (RS256)",
                vec!["the", "c", "level", "2015", "16", "rs256"],
            ),
            ("Don't call O\u{2019}Brien", vec!["dont", "call", "obrien"]),
            (
                "l\u{2019}entreprise qu'il",
                vec!["l", "entreprise", "qu", "il"],
            ),
            ("ﬁne Ⅳ", vec!["fine", "iv"]),
            ("検索です", vec!["検", "索", "で", "す"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text), words, "{text}");
        }
    }

    #[test]
    fn words_of_one_root_have_one_stem() {
        assert_eq!(
            stems("retained retains retain", Language::English),
            ["retain"; 3]
        );
        assert_eq!(
            stems("conservées conserver conservation", Language::French),
            ["conserv"; 3]
        );
    }

    #[test]
    fn question_words_are_stop_words() {
        assert!(stems("How many of them did you have?", Language::English).is_empty());
        assert!(stems("Combien de ces dernières en avez-vous ?", Language::French).len() <= 1);
    }

    #[test]
    fn languages_are_told_apart() {
        let english = "Customer records are retained for seven years after the contract ends.";
        let french = "Les données des clients sont conservées sept ans après la fin du contrat.";

        assert_eq!(language_of(english), Some(Language::English));
        assert_eq!(language_of(french), Some(Language::French));
        assert_eq!(language_of("42"), None);
        assert_eq!(
            language_among("quelle durée", &["eng", "fra"].into()),
            Some(Language::French)
        );
        assert_eq!(
            language_among("quelle durée", &["eng"].into()),
            Some(Language::English)
        );
    }

    #[test]
    fn accents_and_ligatures_fold() {
        assert_eq!(fold("cœur"), "coeur");
        assert_eq!(fold("straße"), "strasse");
        assert_eq!(fold("données"), "donnees");
    }

    proptest! {
        #[test]
        fn words_are_never_empty_nor_endless(text in any::<String>()) {
            for word in split(&text) {
                prop_assert!(!word.is_empty());
                prop_assert!(word.chars().count() <= WORD_CHARS);
            }
            let _language = language_of(&text);
        }
    }
}
