//! How good the sandbox is on real documents and questions, asked as a user would: the built program over HTTP, streamed.
//!
//! Two figures: how often the paragraph that answers a question is the first source, or among the first five; and how often the streamed
//! answer of the extractive model, in at most three sentences, holds an answer that people gave.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::watch;

/// A question, the paragraph that answers it, and the spans of text that do.
#[derive(Deserialize)]
struct Question {
    question: String,
    answers: Vec<String>,
    filename: String,
    /// 1-based.
    paragraph: usize,
}

/// What came back for a question.
struct Outcome {
    /// Where the answering paragraph stands among the sources.
    rank: Option<usize>,
    holds: bool,
    sentences: usize,
}

#[tokio::test]
async fn the_sandbox_finds_and_answers() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wikipedia-qa");
    let paragraphs = paragraphs(&data.join("documents"));
    let questions: Vec<Question> = fs::read_to_string(data.join("questions.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sandbox = Sandbox::over(&data.join("documents"));

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let outcomes: Vec<Outcome> = stream::iter(&questions)
        .map(|asked| {
            let paragraph = &paragraphs[&asked.filename][asked.paragraph - 1];
            ask(&client, &sandbox.gateway, asked, paragraph)
        })
        .buffer_unordered(4)
        .collect()
        .await;

    let share = |holds: &dyn Fn(&Outcome) -> bool| {
        let count = outcomes.iter().filter(|outcome| holds(outcome)).count();
        100.0 * count as f64 / outcomes.len() as f64
    };
    let first = share(&|outcome| outcome.rank == Some(0));
    let five = share(&|outcome| outcome.rank.is_some_and(|rank| rank < 5));
    let right = share(&|outcome| outcome.holds);
    let sentences: usize = outcomes.iter().map(|outcome| outcome.sentences).sum();
    println!("{} questions through the sandbox:", outcomes.len());
    println!(
        "  the answering paragraph is first for {first:.1} %, among the first five for {five:.1} %"
    );
    println!(
        "  the streamed answer holds a gold answer for {right:.1} %, in {:.2} sentences on average",
        sentences as f64 / outcomes.len() as f64
    );
    assert!(first >= 92.0, "first for {first:.1} % only");
    assert!(five >= 98.5, "among five for {five:.1} % only");
    assert!(right >= 80.0, "right for {right:.1} % only");
    assert!(outcomes.iter().all(|outcome| outcome.sentences <= 3));
}

async fn ask(
    client: &reqwest::Client,
    gateway: &str,
    asked: &Question,
    paragraph: &str,
) -> Outcome {
    let body = json!({
        "model": "sandbox-extractive", "stream": true,
        "messages": [{"role": "user", "content": asked.question}],
    });
    let request = client.post(format!("{gateway}/v1/chat/completions"));
    let request = request.header("content-type", "application/json");
    let request = request.body(body.to_string());
    let response = watch::send(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    let events = response.text().await.unwrap();
    let chunks: Vec<Value> = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .map(|chunk| serde_json::from_str(&format!("{{{chunk}")).unwrap())
        .collect();
    assert!(events.ends_with("data: [DONE]\n\n"));
    let sources = chunks
        .iter()
        .find_map(|chunk| chunk.pointer("/rag/sources")?.as_array());
    let rank = sources
        .unwrap()
        .iter()
        .position(|source| source["content"].as_str().unwrap().contains(paragraph));
    let answer: String = chunks
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str())
        .collect();
    Outcome {
        rank,
        holds: asked.answers.iter().any(|gold| answer.contains(gold)),
        sentences: cited_sentences(&answer),
    }
}

/// How many sentences an answer has: each ends in the number of its passage.
fn cited_sentences(answer: &str) -> usize {
    let is_marker = |tail: &str| {
        let number = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        number.len() < tail.len() && number.starts_with(']')
    };
    answer
        .match_indices(" [")
        .filter(|(at, _)| is_marker(&answer[at + 2..]))
        .count()
}

/// The paragraphs of each document, by file name.
fn paragraphs(folder: &Path) -> HashMap<String, Vec<String>> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("\n\n").map(str::trim);
        let body = blocks.filter(|block| !block.is_empty() && !block.starts_with("# "));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, body.map(str::to_owned).collect())
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|file| read(file.unwrap().path()))
        .collect()
}

/// The running program; it is killed when this is dropped.
struct Sandbox {
    child: Child,
    gateway: String,
}

impl Sandbox {
    fn over(documents: &Path) -> Self {
        let mut child = watch::program()
            .args([
                "sandbox",
                "--listen",
                "127.0.0.1:0",
                "--services-listen",
                "127.0.0.1:0",
                "--documents",
            ])
            .arg(documents)
            .env_clear()
            .env("GROUNDWIRE_LOG__LEVEL", "warn")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        let gateway = lines
            .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
            .unwrap();
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(|line| watch::look("the log", line.as_bytes())));
        Self { child, gateway }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
