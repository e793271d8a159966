//! What kind of answer a question asks for, and whether a sentence holds one of that kind.

use super::words::{fold, split};

/// The kind of answer a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// When: a date, a year, a century.
    Time,
    /// How many, how much, how long: a number.
    Amount,
    /// Who or where: a name.
    Name,
    /// Why: a reason.
    Reason,
    /// Anything else.
    Open,
}

/// Runs of words that tell the kind, English and French, without accents but where a word is another one without them (`où`).
/// The first row with a match wins.
const CUES: &[(Kind, &[&str])] = &[
    (
        Kind::Time,
        &[
            "when",
            "what year",
            "which year",
            "what date",
            "which date",
            "what day",
            "which day",
            "what month",
            "which month",
            "what century",
            "which century",
            "what decade",
            "which decade",
            "what time",
            "deadline",
            "quand",
            "quelle annee",
            "quelle date",
            "quel jour",
            "quel mois",
            "quel siecle",
            "quelle heure",
            "depuis quand",
        ],
    ),
    (
        Kind::Amount,
        &[
            "how many",
            "how much",
            "how long",
            "how old",
            "how far",
            "how tall",
            "how large",
            "how big",
            "how high",
            "how often",
            "how fast",
            "how deep",
            "how wide",
            "how soon",
            "what percentage",
            "what percent",
            "what number",
            "what amount",
            "what proportion",
            "combien",
            "quel age",
            "quel nombre",
            "quel montant",
            "quel pourcentage",
            "quelle duree",
            "quel delai",
            "quelle quantite",
        ],
    ),
    (
        Kind::Reason,
        &["why", "pourquoi", "what reason", "quelle raison"],
    ),
    (
        Kind::Name,
        &[
            "who",
            "whom",
            "whose",
            "where",
            "what city",
            "which city",
            "what country",
            "which country",
            "what place",
            "which place",
            "what state",
            "which state",
            "what region",
            "which region",
            "what company",
            "which company",
            "what person",
            "which person",
            "qui",
            "où",
            "ou est",
            "ou sont",
            "ou se",
            "quelle ville",
            "quel pays",
            "quelle region",
            "quelle societe",
            "quelle entreprise",
        ],
    ),
];

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "janvier",
    "fevrier",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "aout",
    "septembre",
    "octobre",
    "novembre",
    "decembre",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "lundi",
    "mardi",
    "mercredi",
    "jeudi",
    "vendredi",
    "samedi",
    "dimanche",
];

const NUMBERS: &[&str] = &[
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "fifteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "billion",
    "dozen",
    "half",
    "third",
    "quarter",
    "single",
    "once",
    "twice",
    "deux",
    "trois",
    "quatre",
    "cinq",
    "sept",
    "huit",
    "neuf",
    "dix",
    "onze",
    "douze",
    "quinze",
    "vingt",
    "trente",
    "quarante",
    "cinquante",
    "soixante",
    "cent",
    "cents",
    "mille",
    "millions",
    "milliard",
    "moitie",
    "tiers",
    "quart",
];

const REASONS: &[&str] = &[
    "because",
    "due to",
    "since",
    "so that",
    "in order",
    "as a result",
    "therefore",
    "caused",
    "reason",
    "led to",
    "parce",
    "car",
    "afin",
    "en raison",
    "grace a",
    "a cause",
    "pour que",
    "donc",
];

impl Kind {
    /// Tells the kind of `question`.
    pub(super) fn of(question: &str) -> Self {
        let (words, written) = (plain(question), split(question));
        CUES.iter()
            .find(|(_, cues)| {
                cues.iter()
                    .any(|cue| has(&words, cue) || has(&written, cue))
            })
            .map_or(Self::Open, |&(kind, _)| kind)
    }

    /// Tells whether `sentence` holds something of this kind that `question` did not bring itself.
    pub(super) fn is_held_by(self, sentence: &str, question: &str) -> bool {
        match self {
            Self::Time => plain(sentence).iter().any(|word| is_date(word)),
            Self::Amount => plain(sentence).iter().any(|word| {
                word.starts_with(|c: char| c.is_ascii_digit()) || NUMBERS.contains(&word.as_str())
            }),
            Self::Name => holds_new_name(sentence, question),
            Self::Reason => {
                let words = plain(sentence);
                REASONS.iter().any(|cue| has(&words, cue))
            }
            Self::Open => false,
        }
    }
}

fn plain(text: &str) -> Vec<String> {
    split(text).iter().map(|word| fold(word)).collect()
}

/// Whether `words` hold the run of words `cue`.
fn has(words: &[String], cue: &str) -> bool {
    let cue: Vec<&str> = cue.split(' ').collect();
    words.windows(cue.len()).any(|run| run == cue.as_slice())
}

fn is_date(word: &str) -> bool {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    let year = number && (3..=4).contains(&digits.len());
    let ordinal = number
        && digits.len() <= 2
        && ["st", "nd", "rd", "th", "er", "h"]
            .iter()
            .any(|end| word.len() > digits.len() && word.ends_with(end));
    year || ordinal
        || MONTHS.contains(&word)
        || word.starts_with("centur")
        || word.starts_with("siecle")
}

/// Whether a capitalised word other than the first stands in `sentence` and not in `question`.
fn holds_new_name(sentence: &str, question: &str) -> bool {
    let asked = plain(question);
    let inner = sentence.split_whitespace().skip(1);
    inner
        .filter(|word| {
            word.trim_start_matches(['"', '“', '«', '(', '\''])
                .starts_with(char::is_uppercase)
        })
        .any(|word| {
            let name = plain(word);
            name.iter().any(|part| !asked.contains(part))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_tells_its_kind_in_english_and_french() {
        for (question, kind) in [
            ("When did it start?", Kind::Time),
            ("In what year was it built?", Kind::Time),
            ("En quelle année ?", Kind::Time),
            ("How many days of leave are there?", Kind::Amount),
            ("Combien de jours de congé ?", Kind::Amount),
            ("Quelle durée de conservation ?", Kind::Amount),
            ("Who approves it?", Kind::Name),
            ("Où se trouve le siège ?", Kind::Name),
            ("Why is it so?", Kind::Reason),
            ("What is our data retention policy?", Kind::Open),
        ] {
            assert_eq!(Kind::of(question), kind, "{question}");
        }
    }

    #[test]
    fn a_sentence_holds_what_is_asked_for_or_does_not() {
        for (kind, sentence, held) in [
            (Kind::Time, "It opened on 5 May 1999.", true),
            (Kind::Time, "Ouvert au XXe siècle.", true),
            (Kind::Time, "It has 12 rooms.", false),
            (Kind::Amount, "It has 12 rooms.", true),
            (Kind::Amount, "It has twelve rooms.", true),
            (Kind::Amount, "It has rooms.", false),
            (Kind::Name, "The head is Ada Lovelace.", true),
            (Kind::Name, "The head of Acme signs.", false),
            (Kind::Reason, "Closed due to rain.", true),
            (Kind::Reason, "Closed.", false),
            (Kind::Open, "Anything 1999.", false),
        ] {
            assert_eq!(
                kind.is_held_by(sentence, "Who heads Acme?"),
                held,
                "{kind:?}: {sentence}"
            );
        }
    }
}
