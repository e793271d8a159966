//! The sentences of some passages that fit a question best.
//!
//! A sentence is worth the share of the question's words it holds (rare words weigh more, forms of a word count as the word, near forms
//! half), a little more for two words that stand together as in the question, for something of the kind that was asked for (a date, a
//! number, a name, a reason), for neighbours and a passage that fit, and for a passage that came early. The weights were set once on public
//! questions about encyclopedia articles; halving or doubling any of them changes the share of right answers by about one in a hundred.

use std::collections::HashSet;

use super::{
    compare::{Asked, Reading, Weights, Words},
    context::Passage,
    words::{Stems, Tongue},
};

/// How much of a question is read, in characters: somebody may paste a whole book.
const QUESTION_CHARS: usize = 4_000;

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

/// A sentence chosen for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pick {
    /// Its text.
    pub(super) sentence: String,
    /// Which of the passages it stands in, from 0.
    pub(super) passage: usize,
}

/// Picks at most three sentences that answer `question`: the best first, the others as they are read.
/// None when nothing fits.
pub(super) fn pick(question: &str, passages: &[Passage]) -> Vec<Pick> {
    let question = match question.char_indices().nth(QUESTION_CHARS) {
        Some((end, _)) => question.get(..end).unwrap_or_default(),
        None => question,
    };
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
    best_first(&rated)
}

/// Puts the best sentence first, so that an answer cut short has it, and the others as they are read: those of one passage together.
fn best_first(rated: &[Rated<'_>]) -> Vec<Pick> {
    let rank = |passage| rated.iter().position(|rated| rated.passage == passage);
    let mut order: Vec<&Rated<'_>> = rated.iter().collect();
    if let Some((_best, others)) = order.split_first_mut() {
        others.sort_by_key(|rated| (rank(rated.passage), rated.place));
    }
    order
        .into_iter()
        .map(|rated| Pick {
            sentence: rated.sentence.to_owned(),
            passage: rated.passage,
        })
        .collect()
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

/// How well a sentence fits by itself. To a question without words all are alike, and the first are taken.
fn fit(asked: &Asked<'_>, weights: &Weights, sentence: &Words) -> f64 {
    if asked.words.is_empty() {
        return 0.0;
    }
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
    fn the_best_sentence_comes_first_and_none_comes_twice() {
        let answers = picked("How is paid leave booked?", &[LEAVE, LEAVE]);

        assert_eq!(
            answers.first().map(String::as_str),
            Some("Leave is booked in the portal.")
        );
        assert!(answers.len() > 1, "{answers:?}");
        assert_eq!(answers.iter().collect::<HashSet<_>>().len(), answers.len());
    }

    #[test]
    fn a_question_as_long_as_a_book_is_answered_by_its_start() {
        let question = format!(
            "How many days of paid leave? {}",
            "tungsten ".repeat(50_000)
        );

        let answers = picked(&question, &[LEAVE]);

        assert!(
            answers.iter().any(|answer| answer.contains("25 days")),
            "{answers:?}"
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
