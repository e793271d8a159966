//! How often the streamed answer of the sandbox's extractive model, in at most three sentences, holds an answer that people gave.

use std::{fs, path::Path};

use axum::body::{Body, to_bytes};
use groundwire::{
    retrieval::{Passage, SearchQuery},
    sandbox::model,
};
use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::retrieval::indexed;

/// A question, and the spans of text that answer it.
#[derive(Deserialize)]
struct Question {
    question: String,
    answers: Vec<String>,
}

#[tokio::test]
async fn the_extractive_model_answers_with_the_right_sentences() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wikipedia-qa");
    let (index, _) = indexed(&data.join("documents"));
    let questions: Vec<Question> = fs::read_to_string(data.join("questions.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let (mut right, mut right_first, mut sentences, mut refused) = (0, 0, 0, 0);
    for asked in &questions {
        let query = SearchQuery {
            max_results: 5,
            ..SearchQuery::new(&asked.question)
        };
        let found = index.find(&query).unwrap().passages;
        let answer = streamed_answer(&found, &asked.question).await;
        let told = cited_sentences(&answer);
        assert!(told.len() <= 3, "more than three sentences: {answer}");
        let holds = |text: &str| asked.answers.iter().any(|gold| text.contains(gold));
        right += usize::from(holds(&answer));
        right_first += usize::from(told.first().is_some_and(|first| holds(first)));
        sentences += told.len();
        refused += usize::from(told.is_empty());
    }

    let share = |part: usize| 100.0 * part as f64 / questions.len() as f64;
    println!(
        "answers to {} questions: {:.1} % hold a gold answer, {:.1} % in their first sentence, {:.2} sentences on average, {:.1} % \
         say that the context is not enough",
        questions.len(),
        share(right),
        share(right_first),
        sentences as f64 / questions.len() as f64,
        share(refused)
    );
    assert!(
        share(right) >= 80.0,
        "a gold answer is in {:.1} % only",
        share(right)
    );
}

/// Asks the model as the gateway does, with `found` as numbered context, and puts the streamed pieces together.
async fn streamed_answer(found: &[Passage], question: &str) -> String {
    let context: Vec<String> = found.iter().enumerate().map(block).collect();
    let system = format!(
        "You are a helpful assistant. Answer the user's question using only the provided context. If the context does not contain \
         enough information, say so. Cite the number of each passage you rely on, like [1].\n\nContext:\n{}",
        context.join("\n\n")
    );
    let messages =
        json!([{"role": "system", "content": system}, {"role": "user", "content": question}]);
    let body = json!({"model": "sandbox-extractive", "stream": true, "messages": messages});
    let request = Request::post("/v1/chat/completions")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = model::router().oneshot(request).await.unwrap();
    let events = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    std::str::from_utf8(&events)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .filter_map(|chunk| {
            let chunk: Value = serde_json::from_str(&format!("{{{chunk}")).unwrap();
            let content = chunk.pointer("/choices/0/delta/content");
            content.and_then(Value::as_str).map(str::to_owned)
        })
        .collect()
}

fn block((at, passage): (usize, &Passage)) -> String {
    let source = &passage.source;
    let page = source
        .page_start
        .map_or(String::new(), |page| format!(", p.{page}"));
    format!(
        "[{}] [{}{page}]\n{}",
        at + 1,
        source.filename,
        passage.content
    )
}

/// The sentences of `answer`: each ends in the number of its passage.
fn cited_sentences(answer: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, _) in answer.match_indices(" [") {
        let number = &answer[at + 2..];
        let digits = number.len()
            - number
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        if digits > 0 && number[digits..].starts_with(']') {
            sentences.push(answer[start..at].trim());
            start = at + digits + 3;
        }
    }
    sentences
}
