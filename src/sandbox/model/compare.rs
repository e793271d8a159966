//! A question and passages, word by word: how much of the one the others hold.

use std::collections::{HashMap, HashSet};

use super::{
    context::Passage,
    question::Kind,
    sentences::{self, Sentences},
    words::Stems,
};

/// What a longer or shorter form of a word counts, where the word itself counts 1.
const NEAR_FORM: f64 = 0.5;

/// How many letters two forms of a word share, or all of the shorter one, but never fewer than the second number.
const NEAR_CHARS: usize = 5;
const NEAR_CHARS_MIN: usize = 4;

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) text: &'a str,
    pub(super) kind: Kind,
    /// Its words, each once.
    pub(super) words: Vec<String>,
    pub(super) pairs: HashSet<(String, String)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(text: &'a str, stems: &mut Stems) -> Self {
        let words = stems.of(text);
        let pairs = pairs(&words);
        let mut seen = HashSet::new();
        let words = words
            .into_iter()
            .filter(|word| seen.insert(word.clone()))
            .collect();
        Self {
            text,
            kind: Kind::of(text),
            words,
            pairs,
        }
    }
}

/// A passage as it is compared.
pub(super) struct Reading {
    /// The words that stand over its sentences: headings and file name.
    pub(super) over: HashSet<String>,
    pub(super) sentences: Vec<Words>,
}

pub(super) struct Words {
    pub(super) text: String,
    pub(super) stems: HashSet<String>,
    pub(super) pairs: HashSet<(String, String)>,
}

impl Reading {
    pub(super) fn new(passage: &Passage, stems: &mut Stems) -> Self {
        let Sentences {
            headings,
            sentences,
        } = sentences::read(&passage.text);
        let over = headings
            .iter()
            .chain([&passage.label])
            .flat_map(|text| stems.of(text))
            .collect();
        let sentences = sentences
            .into_iter()
            .map(|text| {
                let words = stems.of(&text);
                Words {
                    text,
                    pairs: pairs(&words),
                    stems: words.into_iter().collect(),
                }
            })
            .collect();
        Self { over, sentences }
    }
}

fn pairs(words: &[String]) -> HashSet<(String, String)> {
    words
        .iter()
        .zip(words.iter().skip(1))
        .map(|(first, second)| (first.clone(), second.clone()))
        .collect()
}

/// How much each word of the question weighs: more the fewer sentences have it.
pub(super) struct Weights {
    of: HashMap<String, f64>,
    total: f64,
}

impl Weights {
    pub(super) fn new(asked: &Asked<'_>, read: &[Reading]) -> Self {
        let sentences: Vec<&Words> = read.iter().flat_map(|reading| &reading.sentences).collect();
        let count = sentences.len() as f64;
        let of: HashMap<String, f64> = asked
            .words
            .iter()
            .map(|word| {
                let having = sentences
                    .iter()
                    .filter(|sentence| sentence.stems.contains(word))
                    .count() as f64;
                (
                    word.clone(),
                    (1.0 + (count - having + 0.5) / (having + 0.5)).ln(),
                )
            })
            .collect();
        let total = of.values().sum();
        Self { of, total }
    }

    /// The share of the question that `stems` hold, 0 to 1. A question without any words of its own is held by everything.
    pub(super) fn coverage(&self, asked: &Asked<'_>, stems: &[&HashSet<String>]) -> f64 {
        if asked.words.is_empty() {
            return 1.0;
        }
        let held = asked
            .words
            .iter()
            .map(|word| self.of.get(word).copied().unwrap_or_default() * presence(word, stems));
        held.sum::<f64>() / self.total
    }

    pub(super) fn best_coverage(&self, asked: &Asked<'_>, reading: &Reading) -> f64 {
        reading
            .sentences
            .iter()
            .map(|sentence| self.coverage(asked, &[&sentence.stems, &reading.over]))
            .fold(0.0, f64::max)
    }
}

/// 1 where a word is there, less where only a longer or shorter form of it is (`retain` and `retention` have two stems).
fn presence(word: &str, stems: &[&HashSet<String>]) -> f64 {
    if stems.iter().any(|stems| stems.contains(word)) {
        return 1.0;
    }
    if stems
        .iter()
        .flat_map(|stems| stems.iter())
        .any(|stem| is_near(word, stem))
    {
        NEAR_FORM
    } else {
        0.0
    }
}

/// Whether two stems of at least four letters share their first five, or the whole of the shorter.
fn is_near(a: &str, b: &str) -> bool {
    let letters = |word: &str| word.chars().take(NEAR_CHARS).count();
    let shared = a
        .chars()
        .zip(b.chars())
        .take(NEAR_CHARS)
        .take_while(|(a, b)| a == b)
        .count();
    shared >= NEAR_CHARS_MIN
        && shared == letters(a).min(letters(b))
        && !a.starts_with(char::is_numeric)
}
