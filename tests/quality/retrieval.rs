//! How often the paragraph that answers a question is found first, and among the first five.

use std::{collections::HashMap, fs, path::Path};

use groundwire::{
    config::WorkspaceId,
    retrieval::{
        SearchQuery, Workspace,
        local::{Document, LocalIndex, documents},
    },
};
use serde::Deserialize;

/// A question and the paragraph that answers it.
#[derive(Deserialize)]
struct Question {
    question: String,
    filename: String,
    /// 1-based.
    paragraph: usize,
}

#[test]
fn the_answering_paragraph_is_found_first_or_soon() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wikipedia-qa");
    let (index, paragraphs) = indexed(&data.join("documents"));
    let questions: Vec<Question> = fs::read_to_string(data.join("questions.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let mut ranks = Vec::new();
    for asked in &questions {
        let answer = &paragraphs[&asked.filename][asked.paragraph - 1];
        let query = SearchQuery {
            max_results: 5,
            ..SearchQuery::new(&asked.question)
        };
        let found = index.find(&query).unwrap().passages;
        let rank = found
            .iter()
            .position(|passage| passage.content.contains(answer.as_str()));
        ranks.push(rank);
    }

    let share = |within: usize| {
        100.0
            * ranks
                .iter()
                .filter(|rank| rank.is_some_and(|rank| rank < within))
                .count() as f64
            / ranks.len() as f64
    };
    let mean: f64 = ranks
        .iter()
        .flatten()
        .map(|&rank| 1.0 / (rank + 1) as f64)
        .sum::<f64>()
        / ranks.len() as f64;
    println!(
        "retrieval over {} questions: first {:.1} %, among five {:.1} %, MRR@5 {mean:.3}",
        ranks.len(),
        share(1),
        share(5)
    );
    assert!(
        share(1) >= 92.0,
        "the answering paragraph is first for {:.1} % only",
        share(1)
    );
    assert!(
        share(5) >= 98.5,
        "the answering paragraph is among five for {:.1} % only",
        share(5)
    );
}

/// The documents of `folder` in an index, and their paragraphs by file name.
pub(super) fn indexed(folder: &Path) -> (LocalIndex, HashMap<String, Vec<String>>) {
    let mut paragraphs = HashMap::new();
    let mut all = Vec::new();
    for (number, file) in fs::read_dir(folder).unwrap().enumerate() {
        let path = file.unwrap().path();
        let filename = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let body = text
            .split("\n\n")
            .map(str::trim)
            .filter(|block| !block.is_empty() && !block.starts_with("# "));
        paragraphs.insert(filename.clone(), body.map(str::to_owned).collect());
        let pages = documents::read(&filename, &bytes).unwrap();
        all.push(Document {
            file_id: number as i64 + 1,
            workspace: Workspace {
                id: WorkspaceId(1),
                name: "wikipedia".to_owned(),
            },
            title: pages.title.unwrap_or_else(|| filename.clone()),
            filename,
            extension: "md".to_owned(),
            size_bytes: bytes.len() as u64,
            tags: Vec::new(),
            external_metadata: None,
            pages: pages.pages,
        });
    }
    let index = LocalIndex::new().unwrap();
    index.put_all(all).unwrap();
    (index, paragraphs)
}
