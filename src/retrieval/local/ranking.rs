//! Ranking: which passages fit a question, best first, and how well.
//!
//! A passage's BM25 score is the weighted sum over the fields of [`Fields`]; its neighbours in the document lend it a little of theirs, because
//! a paragraph often leaves unsaid what the one before it said.

use std::collections::{BTreeMap, HashMap, btree_map::Entry as MapEntry};

use tantivy::{
    Term,
    collector::TopDocs,
    query::{BooleanQuery, ConstScoreQuery, Occur, Query, TermSetQuery},
    schema::Field,
};

use super::{index::Seen, question::Question, schema::Fields, words::Lexicon};
use crate::{
    config::RelevanceScoring,
    retrieval::{Passage, Scores, SearchQuery, Source},
};

/// The share of its better neighbour's score that a passage gains.
const LENT: f32 = 0.3;

/// Passages with less than this share of the best one's score are dropped where filtering is asked for.
const FLOOR: f32 = 0.3;

/// How many candidates are ranked with their neighbours, for each passage asked for.
const CANDIDATES: usize = 4;

/// A candidate.
struct Hit {
    file_id: i64,
    ordinal: u64,
    keyword: f32,
    score: f32,
}

/// Finds the passages for `query`, best first.
pub(super) fn find(
    seen: &Seen,
    fields: Fields,
    lexicon: Lexicon,
    query: &SearchQuery,
) -> tantivy::Result<Vec<Passage>> {
    let question = Question::new(seen, fields, lexicon, &query.text)?;
    let Some(words) = question.query(fields) else {
        return Ok(Vec::new());
    };
    let Some(query_in_scope) = scoped(words, fields, query) else {
        return Ok(Vec::new());
    };
    let wanted = usize::from(query.max_results.max(1));
    let mut hits = candidates(seen, &*query_in_scope, wanted * CANDIDATES + 20)?;
    lend(&mut hits);
    hits.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| (a.file_id, a.ordinal).cmp(&(b.file_id, b.ordinal)))
    });
    hits.truncate(wanted);
    let ceiling = question.ceiling();
    let floor = match query.relevance_scoring {
        RelevanceScoring::ScoringAndFiltering => {
            hits.first().map_or(0.0, |best| best.score * FLOOR)
        }
        RelevanceScoring::ScoringOnly | RelevanceScoring::None => 0.0,
    };
    hits.retain(|hit| hit.score >= floor);
    Ok(hits
        .iter()
        .filter_map(|hit| passage(seen, hit, ceiling, query.relevance_scoring))
        .collect())
}

/// `words` within the scope of `query`; `None` when the scope is empty.
fn scoped(words: Box<dyn Query>, fields: Fields, query: &SearchQuery) -> Option<Box<dyn Query>> {
    let mut clauses = vec![(Occur::Must, words)];
    let mut within = |field: Field, numbers: &mut dyn Iterator<Item = i64>| {
        let terms: Vec<Term> = numbers
            .map(|number| Term::from_field_i64(field, number))
            .collect();
        clauses.push((
            Occur::Must,
            Box::new(ConstScoreQuery::new(
                Box::new(TermSetQuery::new(terms)),
                0.0,
            )),
        ));
    };
    if let Some(workspaces) = &query.workspaces {
        if workspaces.is_empty() {
            return None;
        }
        within(
            fields.workspace,
            &mut workspaces.iter().map(|workspace| workspace.0),
        );
    }
    if !query.file_id.is_empty() {
        within(fields.file, &mut query.file_id.iter().copied());
    }
    if !query.tag_id.is_empty() {
        within(fields.tag, &mut query.tag_id.iter().copied());
    }
    Some(Box::new(BooleanQuery::new(clauses)))
}

fn candidates(seen: &Seen, query: &dyn Query, limit: usize) -> tantivy::Result<Vec<Hit>> {
    let found = seen
        .searcher
        .search(query, &TopDocs::with_limit(limit).order_by_score())?;
    let mut columns = BTreeMap::new();
    let mut hits = Vec::with_capacity(found.len());
    for (score, address) in found {
        let (files, ordinals) = match columns.entry(address.segment_ord) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(new) => {
                let segment = seen.searcher.segment_reader(address.segment_ord);
                let fast = segment.fast_fields();
                new.insert((fast.i64("file")?, fast.u64("ordinal")?))
            }
        };
        let (Some(file_id), Some(ordinal)) =
            (files.first(address.doc_id), ordinals.first(address.doc_id))
        else {
            continue;
        };
        hits.push(Hit {
            file_id,
            ordinal,
            keyword: score,
            score,
        });
    }
    Ok(hits)
}

/// Gives each candidate a share of its neighbours' scores.
fn lend(hits: &mut [Hit]) {
    let scores: HashMap<(i64, u64), f32> = hits
        .iter()
        .map(|hit| ((hit.file_id, hit.ordinal), hit.keyword))
        .collect();
    for hit in hits {
        let of = |ordinal: u64| scores.get(&(hit.file_id, ordinal)).copied().unwrap_or(0.0);
        let before = hit.ordinal.checked_sub(1).map_or(0.0, of);
        hit.score = hit.keyword + LENT * before.max(of(hit.ordinal + 1));
    }
}

fn passage(seen: &Seen, hit: &Hit, ceiling: f32, scoring: RelevanceScoring) -> Option<Passage> {
    let entry = seen.documents.get(&hit.file_id)?;
    let shown = entry.passages.get(usize::try_from(hit.ordinal).ok()?)?;
    let relevance = match scoring {
        RelevanceScoring::None => None,
        RelevanceScoring::ScoringOnly | RelevanceScoring::ScoringAndFiltering => {
            Some(relevance(hit.score, ceiling))
        }
    };
    Some(Passage {
        chunk_id: shown.chunk_id.clone(),
        content: shown.piece.content.clone(),
        score: relevance.unwrap_or_else(|| f64::from(hit.score)),
        scores: Scores {
            keyword: Some(f64::from(hit.keyword)),
            relevance,
            ..Scores::default()
        },
        source: Source {
            page_start: shown.piece.page_start,
            page_end: shown.piece.page_end,
            ..entry.source.clone()
        },
        workspace: Some(entry.workspace.clone()),
        image: None,
        bboxes: None,
    })
}

/// The place of `score` between 0 and 1: half when a passage scores half of what one would that says every word of the question once.
fn relevance(score: f32, ceiling: f32) -> f64 {
    f64::from(score) / (f64::from(score) + f64::from(ceiling) / 2.0)
}
