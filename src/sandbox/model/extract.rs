//! The sentences of some passages that fit a question best.
//!
//! A sentence is worth the share of the question's words it holds (rare words weigh more, forms of a word count as the word, near forms
//! half), a little more for two words that stand together as in the question, for something of the kind that was asked for (a date, a
//! number, a name, a reason), for neighbours and a passage that fit, and for a passage that came early. The weights were set once on public
//! questions about encyclopedia articles; halving or doubling any of them changes the share of right answers by about one in a hundred.

use std::collections::{HashMap, HashSet};

use super::{
    context::Passage,
    question::Kind,
    sentences::{self, Sentences},
    words::{Stems, Tongue},
};

/// How many sentences an answer has, at most.
const PICKS: usize = 3;

/// Sentences worth less than this share of the best one are left out.
const WORTH_OF_BEST: f64 = 0.6;

/// The share of the question's words that some sentence, with what stands over it, must hold: else nothing fits.
const COVERAGE_MIN: f64 = 0.15;

const PAIRS: f64 = 0.3;
const PASSAGE_COVERAGE: f64 = 0.4;
const EARLY_PASSAGE: f64 = 0.35;
const NEIGHBOUR: f64 = 0.25;
const NEIGHBOUR_AFTER: f64 = 0.6;
const AFTER_QUESTION: f64 = 0.8;
const RIGHT_KIND: f64 = 0.25;
const NEAR_FORM: f64 = 0.5;

/// A sentence chosen for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pick {
    /// Its text.
    pub(super) sentence: String,
    /// Which of the passages it stands in, from 0.
    pub(super) passage: usize,
}

/// Picks at most three sentences that answer `question`: those of the best passage first, within one in the order they are read.
/// None when nothing fits.
pub(super) fn pick(question: &str, passages: &[Passage]) -> Vec<Pick> {
    let tongue = Tongue::of(
        question,
        passages.iter().map(|passage| passage.text.as_str()),
    );
    let mut stems = Stems::new(tongue);
    let asked = Asked::new(question, &mut stems);
    let read: Vec<Reading> = passages
        .iter()
        .map(|passage| Reading::new(passage, &mut stems))
        .collect();
    let weights = Weights::new(&asked, &read);
    if !read
        .iter()
        .any(|reading| weights.best_coverage(&asked, reading) >= COVERAGE_MIN)
    {
        return Vec::new();
    }

    let mut rated: Vec<Rated<'_>> = read
        .iter()
        .enumerate()
        .flat_map(|(at, reading)| rate(&asked, &weights, at, reading))
        .collect();
    rated.sort_by(|a, b| b.worth.total_cmp(&a.worth));
    let least = rated.first().map_or(0.0, |best| best.worth * WORTH_OF_BEST);
    let mut told = HashSet::new();
    rated.retain(|rated| rated.worth >= least && told.insert(rated.sentence));
    rated.truncate(PICKS);
    read_in_order(&rated)
}

/// Keeps sentences of one passage together and in its order, the passage of the best sentence first.
fn read_in_order(rated: &[Rated<'_>]) -> Vec<Pick> {
    let rank = |passage| rated.iter().position(|rated| rated.passage == passage);
    let mut order: Vec<&Rated<'_>> = rated.iter().collect();
    order.sort_by_key(|rated| (rank(rated.passage), rated.place));
    order
        .into_iter()
        .map(|rated| Pick {
            sentence: rated.sentence.to_owned(),
            passage: rated.passage,
        })
        .collect()
}

/// What is asked.
struct Asked<'a> {
    text: &'a str,
    kind: Kind,
    /// Its words, each once.
    words: Vec<String>,
    pairs: HashSet<(String, String)>,
}

impl<'a> Asked<'a> {
    fn new(text: &'a str, stems: &mut Stems) -> Self {
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
struct Reading {
    /// The words that stand over its sentences: headings and file name.
    over: HashSet<String>,
    sentences: Vec<Words>,
}

struct Words {
    text: String,
    stems: HashSet<String>,
    pairs: HashSet<(String, String)>,
}

impl Reading {
    fn new(passage: &Passage, stems: &mut Stems) -> Self {
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
struct Weights {
    of: HashMap<String, f64>,
    total: f64,
}

impl Weights {
    fn new(asked: &Asked<'_>, read: &[Reading]) -> Self {
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
    fn coverage(&self, asked: &Asked<'_>, stems: &[&HashSet<String>]) -> f64 {
        if asked.words.is_empty() {
            return 1.0;
        }
        let held = asked
            .words
            .iter()
            .map(|word| self.of.get(word).copied().unwrap_or_default() * presence(word, stems));
        held.sum::<f64>() / self.total
    }

    fn best_coverage(&self, asked: &Asked<'_>, reading: &Reading) -> f64 {
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
    let letters = |word: &str| word.chars().take(5).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let shared = a.len().min(b.len());
    let numeric = a.first().is_none_or(|first| first.is_numeric());
    shared >= 4 && !numeric && a.iter().zip(&b).all(|(a, b)| a == b)
}

/// A sentence and what it is worth.
struct Rated<'a> {
    worth: f64,
    passage: usize,
    place: usize,
    sentence: &'a str,
}

fn rate<'a>(
    asked: &Asked<'_>,
    weights: &Weights,
    passage: usize,
    reading: &'a Reading,
) -> Vec<Rated<'a>> {
    let mut whole: Vec<&HashSet<String>> = reading
        .sentences
        .iter()
        .map(|sentence| &sentence.stems)
        .collect();
    whole.push(&reading.over);
    let shared =
        PASSAGE_COVERAGE * weights.coverage(asked, &whole) + EARLY_PASSAGE / (passage + 1) as f64;
    let fits: Vec<f64> = reading
        .sentences
        .iter()
        .map(|sentence| fit(asked, weights, sentence))
        .collect();

    let rate_one = |(place, sentence): (usize, &'a Words)| {
        // A question in the text (a list of frequent questions) is no answer; what follows it is.
        if sentence.text.ends_with('?') {
            return None;
        }
        let before = place.checked_sub(1);
        let asked_before = before
            .and_then(|at| reading.sentences.get(at))
            .is_some_and(|before| before.text.ends_with('?'));
        let before = before
            .and_then(|at| fits.get(at))
            .copied()
            .unwrap_or_default();
        let after = fits.get(place + 1).copied().unwrap_or_default() * NEIGHBOUR_AFTER;
        let nearby = if asked_before {
            AFTER_QUESTION * before
        } else {
            NEIGHBOUR * before.max(after)
        };
        let kind = if asked.kind.is_held_by(&sentence.text, asked.text) {
            RIGHT_KIND
        } else {
            0.0
        };
        let worth = fits.get(place).copied().unwrap_or_default() + shared + nearby + kind;
        Some(Rated {
            worth,
            passage,
            place,
            sentence: &sentence.text,
        })
    };
    reading
        .sentences
        .iter()
        .enumerate()
        .filter_map(rate_one)
        .collect()
}

fn fit(asked: &Asked<'_>, weights: &Weights, sentence: &Words) -> f64 {
    let together =
        asked.pairs.intersection(&sentence.pairs).count() as f64 / asked.pairs.len().max(1) as f64;
    weights.coverage(asked, &[&sentence.stems]) + PAIRS * together
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages(texts: &[&str]) -> Vec<Passage> {
        texts
            .iter()
            .map(|text| Passage {
                number: None,
                label: "handbook.md".into(),
                text: (*text).to_owned(),
            })
            .collect()
    }

    fn picked(question: &str, texts: &[&str]) -> Vec<String> {
        pick(question, &passages(texts))
            .into_iter()
            .map(|pick| pick.sentence)
            .collect()
    }

    const LEAVE: &str = "# Leave\n\nAcme was founded in 1999. Every employee has 25 days of paid leave. Leave is booked in the portal. Ada Lovelace approves it.";
    const FOOD: &str = "The canteen opens at noon. It serves soup. Soup is warm.";

    #[test]
    fn the_sentence_that_answers_is_among_the_picks() {
        let answers = picked("How many days of leave do employees have?", &[FOOD, LEAVE]);

        assert!(
            answers.contains(&"Every employee has 25 days of paid leave.".to_owned()),
            "{answers:?}"
        );
        assert!(answers.len() <= PICKS);
    }

    #[test]
    fn a_sentence_without_the_words_wins_when_it_holds_what_is_asked_for_beside_one_that_has_them()
    {
        let answers = picked("Who approves leave?", &[LEAVE]);

        assert!(
            answers.contains(&"Ada Lovelace approves it.".to_owned()),
            "{answers:?}"
        );
    }

    #[test]
    fn nothing_is_picked_when_nothing_fits() {
        assert_eq!(
            picked("What is the boiling point of tungsten?", &[FOOD, LEAVE]),
            [""; 0]
        );
        assert_eq!(picked("Anything?", &[]), [""; 0]);
    }

    #[test]
    fn forms_of_a_word_and_french_are_understood() {
        let french = "Le télétravail est ouvert à tous. Les salariés télétravaillent deux jours par semaine au maximum. La cantine est fermée.";

        let answers = picked(
            "Combien de jours de teletravail par semaine ?",
            &[FOOD, french],
        );

        assert!(
            answers.contains(
                &"Les salariés télétravaillent deux jours par semaine au maximum.".to_owned()
            ),
            "{answers:?}"
        );
    }

    #[test]
    fn the_answer_below_a_question_is_picked_and_not_the_question() {
        let faq =
            "How long is data kept?\n\nThirty days, then it is erased.\n\nWho pays?\n\nThe sender.";

        let answers = picked("How long is data kept?", &[faq]);

        assert_eq!(
            answers.first().map(String::as_str),
            Some("Thirty days, then it is erased.")
        );
        assert!(answers.iter().all(|answer| !answer.ends_with('?')));
    }

    #[test]
    fn picks_of_a_passage_read_in_its_order_and_none_comes_twice() {
        let picks = pick(
            "Which days of leave are paid leave of an employee?",
            &passages(&[LEAVE, LEAVE]),
        );

        let first: Vec<usize> = picks
            .iter()
            .map(|pick| {
                LEAVE
                    .find(&pick.sentence)
                    .expect("a sentence of the passage")
            })
            .collect();
        assert!(first.is_sorted(), "{picks:?}");
        assert_eq!(
            picks
                .iter()
                .map(|pick| &pick.sentence)
                .collect::<HashSet<_>>()
                .len(),
            picks.len()
        );
    }

    #[test]
    fn a_request_without_words_of_its_own_gets_the_head_of_the_first_passage() {
        let answers = picked("Summarize this, please.", &[FOOD, LEAVE]);

        assert_eq!(
            answers.first().map(String::as_str),
            Some("The canteen opens at noon.")
        );
    }
}
