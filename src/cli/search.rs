//! `groundwire search`: the passages that a question would bring, straight from the configured search.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Failure,
    arguments::{Search, Where},
    label, load,
    terminal::{self, BOLD, DIM},
    warn,
};
use crate::{
    app::App,
    config::{Config, Environment, Log, Purpose, Rag, WorkspaceId},
    retrieval::{Passage, SearchQuery},
    telemetry,
};

/// Searches, and shows what was found.
pub(super) async fn run(args: Search, env: &Environment) -> Result<(), Failure> {
    let text = args.query.trim();
    if text.is_empty() {
        return Err(Failure::Usage("the query is empty".to_owned()));
    }
    let config = load(&args.source, None, Purpose::Search, env)?.config;
    let _log = start_quiet_log(&config);
    let query = query(text, args.place, &config.rag);
    let min_relevance = config.rag.min_relevance;

    let building = tokio::task::spawn_blocking(move || App::build(config)).await;
    let app = building
        .map_err(|error| Failure::running("the search died", error))?
        .map_err(|error| Failure::Running(error.to_string()))?;
    let found = app.gateway_search().reach.retriever.search(&query).await;
    let found = found.map_err(|error| Failure::Running(error.to_string()))?;

    for warning in &found.warnings {
        warn(warning);
    }
    if args.json {
        return terminal::json(&found.passages.iter().map(to_json).collect());
    }
    if found.passages.is_empty() {
        terminal::talk("nothing was found");
    }
    for (number, passage) in (1..).zip(&found.passages) {
        if number > 1 {
            terminal::data("")?;
        }
        terminal::data(&heading(number, passage, min_relevance))?;
        terminal::data(&body(passage))?;
    }
    Ok(())
}

/// Notes of everyday business would stand between a person and the passages.
fn start_quiet_log(config: &Config) -> telemetry::Running {
    telemetry::start(&Log {
        format: config.log.format,
        level: "warn".to_owned(),
        sources: false,
    })
}

/// The query that a request without settings of its own would make.
fn query(text: &str, place: Where, rag: &Rag) -> SearchQuery {
    let workspaces: BTreeSet<WorkspaceId> = if place.workspaces.is_empty() {
        rag.workspace_id.iter().copied().collect()
    } else {
        place.workspaces.into_iter().map(WorkspaceId).collect()
    };
    SearchQuery {
        max_results: place.max_results.unwrap_or(rag.max_results),
        workspaces: (!workspaces.is_empty()).then_some(workspaces),
        mode: rag.search_mode,
        relevance_scoring: rag.relevance_scoring,
        ..SearchQuery::new(text)
    }
}

fn heading(number: usize, passage: &Passage, min_relevance: f64) -> String {
    let source = &passage.source;
    let name = label(
        &source.filename,
        source.page_start.map(u64::from),
        source.page_end.map(u64::from),
    );
    let mut facts = vec![format!("score {:.3}", passage.score)];
    if let Some(workspace) = &passage.workspace {
        let told = format!("workspace {} {}", workspace.id, workspace.name);
        facts.push(terminal::tame(told.trim_end()));
    }
    if passage
        .scores
        .relevance
        .is_some_and(|known| known < min_relevance)
    {
        facts.push("below min_relevance: no question gets it".to_owned());
    }
    let facts = facts.join(" · ");
    format!("{BOLD}[{number}] {name}{BOLD:#} {DIM}· {facts}{DIM:#}")
}

fn body(passage: &Passage) -> String {
    if passage.content.trim().is_empty() {
        return "    (no text: the image of a page)".to_owned();
    }
    let text = terminal::tame(passage.content.trim());
    terminal::wrapped(&text, 4, terminal::width())
}

/// A result of LightOn's search (`POST /api/v3/search`), whichever search found it.
fn to_json(passage: &Passage) -> Value {
    let (source, scores) = (&passage.source, &passage.scores);
    let tags = source.tags.iter();
    let tags: Value = tags
        .map(|tag| json!({"id": tag.id, "name": tag.name}))
        .collect();
    let workspace = passage.workspace.as_ref();
    json!({
        "chunk_id": passage.chunk_id,
        "content": passage.content,
        "score": passage.score,
        "scores": {
            "text": scores.text,
            "vision": scores.vision,
            "keyword": scores.keyword,
            "multivector": scores.multivector,
            "relevance": scores.relevance,
        },
        "source": {
            "file_id": source.file_id,
            "filename": source.filename,
            "title": source.title,
            "mime_type": source.mime_type,
            "size_bytes": source.size_bytes,
            "page_start": source.page_start,
            "page_end": source.page_end,
            "total_pages": source.total_pages,
            "tags": tags,
            "content_types": source.content_types,
            "external_metadata": source.external_metadata,
        },
        "workspace": workspace.map(|workspace| json!({"id": workspace.id, "name": workspace.name})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::SearchMode, retrieval::Source};

    #[test]
    fn the_settings_of_questions_hold_unless_the_command_line_says_otherwise() {
        let rag = Rag {
            workspace_id: vec![WorkspaceId(7)],
            max_results: 3,
            search_mode: SearchMode::Vision,
            ..Rag::default()
        };
        let place = |workspaces: &[i64], max_results| Where {
            workspaces: workspaces.to_vec(),
            max_results,
        };

        let plain = query("x", place(&[], None), &rag);
        let asked = query("x", place(&[8, 9], Some(1)), &rag);
        let everywhere = query("x", place(&[], None), &Rag::default());

        assert_eq!(plain.workspaces, Some(BTreeSet::from([WorkspaceId(7)])));
        assert_eq!((plain.max_results, plain.mode), (3, SearchMode::Vision));
        assert_eq!(asked.max_results, 1);
        assert_eq!(
            asked.workspaces,
            Some(BTreeSet::from([WorkspaceId(8), WorkspaceId(9)]))
        );
        assert_eq!(everywhere.workspaces, None);
    }

    #[test]
    fn a_passage_that_no_question_gets_says_so() {
        let mut passage = Passage {
            chunk_id: "c".into(),
            content: "Five years.".into(),
            score: 0.25,
            scores: crate::retrieval::Scores {
                relevance: Some(0.25),
                ..Default::default()
            },
            source: Source {
                filename: "policy.pdf".into(),
                page_start: Some(3),
                page_end: Some(4),
                ..Source::default()
            },
            workspace: None,
            image: None,
            bboxes: None,
        };
        let plain = |passage: &Passage, bound| {
            anstream::adapter::strip_str(&heading(1, passage, bound)).to_string()
        };

        assert_eq!(plain(&passage, 0.2), "[1] policy.pdf, p.3-4 · score 0.250");
        assert_eq!(
            plain(&passage, 0.3),
            "[1] policy.pdf, p.3-4 · score 0.250 · below min_relevance: no question gets it"
        );
        passage.scores.relevance = None;
        assert!(!plain(&passage, 0.3).contains("below"));
    }
}
