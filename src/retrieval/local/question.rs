//! A question: its words, what each is worth, and the query they make.

use std::collections::BTreeSet;

use tantivy::{
    Term,
    query::{
        BooleanQuery, BoostQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, Query, TermQuery,
    },
    schema::{Field, IndexRecordOption},
    tokenizer::Language,
};

use super::{
    index::Seen,
    schema::Fields,
    words::{self, Lexicon},
};

/// What a match counts for in each field; among the stems it is 1.
const EXACT: f32 = 0.3;
const TITLE: f32 = 0.3;
const HEADINGS: f32 = 0.4;
const PAIRS: f32 = 0.3;

/// What a word counts for that stands nowhere as it is written, where one stands that is spelt nearly so.
const NEARLY: f32 = 0.5;

/// How many words are looked for by their spelling: each walks through every word of the index.
const NEARLY_MAX: usize = 8;

/// Words of a question that count; more are a pasted document.
const WORDS_MAX: usize = 256;

/// A question, analysed against an index.
pub(super) struct Question {
    /// The words that carry meaning.
    words: Vec<Asked>,
    /// Neighbouring stems.
    pairs: BTreeSet<String>,
}

/// One word of a question.
struct Asked {
    /// As it was written, folded.
    word: String,
    /// Its stems in the languages of the index.
    stems: BTreeSet<String>,
    /// Its inverse document frequency, as BM25 has it.
    weight: f32,
    is_known: bool,
}

impl Question {
    /// Takes `text` apart.
    pub(super) fn new(
        seen: &Seen,
        fields: Fields,
        mut lexicon: Lexicon,
        text: &str,
    ) -> tantivy::Result<Self> {
        let said = words::split(text);
        let language = words::language_among(text, &seen.languages).unwrap_or(Language::English);
        let telling: Vec<&String> = said
            .iter()
            .filter(|word| lexicon.stem(word, language).is_some())
            .collect();
        // A question of nothing but stop words ("The Who") is searched for as it stands.
        let telling = if telling.is_empty() {
            said.iter().collect()
        } else {
            telling
        };
        let spoken: Vec<Language> = seen
            .languages
            .iter()
            .filter_map(|code| words::language_by_code(code))
            .collect();
        let mut known = BTreeSet::new();
        let mut asked = Vec::new();
        for word in telling
            .into_iter()
            .filter(|word| known.insert(word.as_str()))
            .take(WORDS_MAX)
        {
            let stems = spoken
                .iter()
                .filter_map(|&language| lexicon.stem(word, language))
                .collect();
            asked.push(Asked::new(seen, fields, words::fold(word), stems)?);
        }
        let pairs = spoken
            .iter()
            .flat_map(|&language| words::pairs(&lexicon.stems(&said, language)))
            .take(WORDS_MAX)
            .collect();
        Ok(Self {
            words: asked,
            pairs,
        })
    }

    /// The words as a query over all text fields; `None` when there is no word.
    pub(super) fn query(&self, fields: Fields) -> Option<Box<dyn Query>> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        let mut add = |query: Option<Box<dyn Query>>, weight: f32| {
            if let Some(query) = query {
                clauses.push((Occur::Should, Box::new(BoostQuery::new(query, weight))));
            }
        };
        let mut nearly_left = NEARLY_MAX;
        for asked in &self.words {
            if !asked.is_known {
                if nearly_left == 0 {
                    continue;
                }
                nearly_left -= 1;
                add(nearly(fields.exact, &asked.word), NEARLY * asked.weight);
                continue;
            }
            add(any_of(fields.exact, &[&asked.word]), EXACT);
            let stems: Vec<&String> = asked.stems.iter().collect();
            add(any_of(fields.stems, &stems), 1.0);
            add(any_of(fields.title, &stems), TITLE);
            add(any_of(fields.headings, &stems), HEADINGS);
        }
        for pair in &self.pairs {
            add(any_of(fields.pairs, &[pair]), PAIRS);
        }
        (!clauses.is_empty()).then(|| Box::new(BooleanQuery::new(clauses)) as Box<dyn Query>)
    }

    /// About what a passage of average length scores among the stems that says every word once.
    pub(super) fn ceiling(&self) -> f32 {
        self.words
            .iter()
            .map(|asked| asked.weight)
            .sum::<f32>()
            .max(f32::MIN_POSITIVE)
    }
}

impl Asked {
    fn new(
        seen: &Seen,
        fields: Fields,
        word: String,
        stems: BTreeSet<String>,
    ) -> tantivy::Result<Self> {
        let mut frequency = 0;
        for field in [fields.exact, fields.title, fields.headings] {
            frequency = frequency.max(
                seen.searcher
                    .doc_freq(&Term::from_field_text(field, &word))?,
            );
        }
        for stem in &stems {
            for field in [fields.stems, fields.title, fields.headings] {
                frequency = frequency.max(
                    seen.searcher
                        .doc_freq(&Term::from_field_text(field, stem))?,
                );
            }
        }
        let (passages, frequency) = (seen.searcher.num_docs() as f32, frequency as f32);
        let weight = (1.0 + ((passages - frequency).max(0.0) + 0.5) / (frequency + 0.5)).ln();
        Ok(Self {
            word,
            stems,
            weight,
            is_known: frequency > 0.0,
        })
    }
}

/// One word in any of its forms: the best form counts, not their sum.
fn any_of(field: Field, words: &[&String]) -> Option<Box<dyn Query>> {
    let term = |word: &&String| {
        Box::new(TermQuery::new(
            Term::from_field_text(field, word),
            IndexRecordOption::WithFreqs,
        )) as Box<dyn Query>
    };
    match words {
        [] => None,
        [only] => Some(term(only)),
        several => Some(Box::new(DisjunctionMaxQuery::new(
            several.iter().map(term).collect(),
        ))),
    }
}

/// Words spelt nearly like `word`; how nearly follows Elasticsearch's `fuzziness: AUTO`.
fn nearly(field: Field, word: &str) -> Option<Box<dyn Query>> {
    let distance = match word.chars().count() {
        0..=3 => return None,
        4..=5 => 1,
        _ => 2,
    };
    Some(Box::new(FuzzyTermQuery::new(
        Term::from_field_text(field, word),
        distance,
        true,
    )))
}
