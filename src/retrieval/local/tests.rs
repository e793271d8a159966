//! What a search over the local index brings, and what it never does.

use super::*;
use crate::{
    config::{RelevanceScoring, SearchMode, WorkspaceId},
    retrieval::Passage,
};

fn document(file_id: i64, workspace: i64, title: &str, text: &str) -> Document {
    Document {
        file_id,
        workspace: Workspace {
            id: WorkspaceId(workspace),
            name: format!("workspace {workspace}"),
        },
        filename: format!("{}.md", title.to_lowercase().replace(' ', "-")),
        title: title.to_owned(),
        extension: "md".to_owned(),
        size_bytes: text.len() as u64,
        tags: Vec::new(),
        external_metadata: None,
        pages: vec![Page {
            number: None,
            text: text.to_owned(),
        }],
    }
}

fn index(documents: impl IntoIterator<Item = Document>) -> LocalIndex {
    let index = LocalIndex::new().unwrap();
    index.put_all(documents.into_iter().collect()).unwrap();
    index
}

fn find(index: &LocalIndex, text: &str) -> Vec<Passage> {
    index.find(&SearchQuery::new(text)).unwrap().passages
}

fn files(passages: &[Passage]) -> Vec<i64> {
    passages
        .iter()
        .map(|passage| passage.source.file_id)
        .collect()
}

const RETENTION: &str = "Customer records are retained for seven years after the contract ends.";
const HOLIDAYS: &str = "Every employee has thirty days of paid holidays each year.";

#[test]
fn the_passage_that_says_it_comes_first() {
    let index = index([
        document(1, 1, "Data policy", RETENTION),
        document(2, 1, "Leave", HOLIDAYS),
    ]);

    let found = find(
        &index,
        "How long do we retain the records of our customers?",
    );

    assert_eq!(found[0].content, RETENTION);
    assert_eq!(found[0].source.filename, "data-policy.md");
    assert_eq!(found[0].source.title.as_deref(), Some("Data policy"));
    assert_eq!(
        found[0].workspace.as_ref().map(|workspace| workspace.id),
        Some(WorkspaceId(1))
    );
}

#[test]
fn french_is_found_by_other_forms_of_its_words_and_without_accents() {
    let french = "Les données personnelles des salariés sont conservées pendant cinq années après leur départ de l'entreprise.";
    let index = index([
        document(1, 1, "Conservation", french),
        document(2, 1, "Leave", HOLIDAYS),
        document(3, 1, "Data policy", RETENTION),
    ]);

    for question in [
        "Combien de temps conserve-t-on les données du salarié ?",
        "conservation des donnees",
    ] {
        assert_eq!(files(&find(&index, question))[0], 1, "{question}");
    }
}

#[test]
fn a_document_put_again_replaces_itself() {
    let index = index([document(1, 1, "Data policy", RETENTION)]);

    index.put(document(1, 1, "Data policy", HOLIDAYS)).unwrap();

    assert!(find(&index, "contract").is_empty());
    assert_eq!(find(&index, "holidays")[0].content, HOLIDAYS);
    assert_eq!(
        index.size(),
        Size {
            documents: 1,
            passages: 1
        }
    );
}

#[test]
fn the_last_of_two_documents_with_one_number_wins_within_a_batch() {
    let index = index([
        document(1, 1, "Data policy", RETENTION),
        document(1, 1, "Leave", HOLIDAYS),
    ]);

    assert!(find(&index, "contract").is_empty());
    assert_eq!(find(&index, "holidays").len(), 1);
}

#[test]
fn a_removed_document_is_not_found() {
    let index = index([
        document(1, 1, "Data policy", RETENTION),
        document(2, 1, "Leave", HOLIDAYS),
    ]);

    index.remove(1).unwrap();
    index.remove(77).unwrap();

    assert!(find(&index, "records contract").is_empty());
    assert_eq!(index.size().documents, 1);
}

#[test]
fn a_search_stays_within_its_workspaces_files_and_tags() {
    let tagged = Document {
        tags: vec![Tag {
            id: 7,
            name: "legal".to_owned(),
        }],
        ..document(3, 3, "Third", RETENTION)
    };
    let index = index([
        document(1, 1, "First", RETENTION),
        document(2, 2, "Second", RETENTION),
        tagged,
    ]);
    let ask = |change: &dyn Fn(&mut SearchQuery)| {
        let mut query = SearchQuery::new("records");
        change(&mut query);
        let mut found = files(&index.find(&query).unwrap().passages);
        found.sort_unstable();
        found
    };

    assert_eq!(ask(&|_| {}), [1, 2, 3]);
    assert_eq!(
        ask(&|query| query.workspaces = Some([WorkspaceId(2), WorkspaceId(3)].into())),
        [2, 3]
    );
    assert_eq!(
        ask(&|query| query.workspaces = Some([WorkspaceId(9)].into())),
        [0_i64; 0]
    );
    assert_eq!(ask(&|query| query.workspaces = Some([].into())), [0_i64; 0]);
    assert_eq!(ask(&|query| query.file_id = vec![1, 3]), [1, 3]);
    assert_eq!(ask(&|query| query.tag_id = vec![7, 8]), [3]);
    let both = ask(&|query| {
        query.workspaces = Some([WorkspaceId(1)].into());
        query.tag_id = vec![7];
    });
    assert_eq!(both, [0_i64; 0]);
}

#[test]
fn scores_are_told_as_lighton_tells_them() {
    let index = index([
        document(1, 1, "Data policy", RETENTION),
        document(2, 1, "Leave", HOLIDAYS),
    ]);
    let ask = |relevance_scoring| {
        let query = SearchQuery {
            relevance_scoring,
            ..SearchQuery::new("paid holidays of employees with records")
        };
        index.find(&query).unwrap().passages
    };

    let judged = ask(RelevanceScoring::ScoringOnly);
    assert_eq!(files(&judged), [2, 1]);
    for passage in &judged {
        assert_eq!(Some(passage.score), passage.scores.relevance);
        assert!((0.0..=1.0).contains(&passage.score), "{}", passage.score);
        assert!(passage.scores.keyword.is_some_and(|keyword| keyword > 0.0));
        assert_eq!((passage.scores.text, passage.scores.vision), (None, None));
    }
    let plain = ask(RelevanceScoring::None);
    assert_eq!(files(&plain), [2, 1]);
    assert!(
        plain
            .iter()
            .all(|passage| passage.scores.relevance.is_none())
    );
    assert!(plain[0].score > plain[1].score);
}

#[test]
fn filtering_drops_what_is_far_below_the_best_and_never_everything() {
    let index = index([
        document(1, 1, "Data policy", RETENTION),
        document(2, 1, "Leave", HOLIDAYS),
    ]);
    let question = "customer records retained after the contract ends, each";

    let all = SearchQuery {
        relevance_scoring: RelevanceScoring::ScoringOnly,
        ..SearchQuery::new(question)
    };
    assert_eq!(files(&index.find(&all).unwrap().passages), [1]);
    let weak = "customer records retained after the contract ends, paid";
    let all = SearchQuery {
        text: weak.to_owned(),
        ..all
    };
    assert_eq!(files(&index.find(&all).unwrap().passages), [1, 2]);
    assert_eq!(files(&find(&index, weak)), [1]);
    assert_eq!(files(&find(&index, "paid giraffes of the savanna")), [2]);
}

#[test]
fn no_more_passages_come_than_were_asked_for() {
    let index = index((1..=30).map(|number| document(number, 1, "Data policy", RETENTION)));

    let query = SearchQuery {
        max_results: 7,
        ..SearchQuery::new("records")
    };

    assert_eq!(index.find(&query).unwrap().passages.len(), 7);
}

#[test]
fn what_the_index_has_no_means_for_finds_nothing_and_says_so() {
    let index = index([document(1, 1, "Data policy", RETENTION)]);
    let vision = SearchQuery {
        mode: SearchMode::Vision,
        ..SearchQuery::new("records")
    };
    let typed = SearchQuery {
        content_type: vec!["legal:contract".to_owned()],
        ..SearchQuery::new("records")
    };
    let valued = SearchQuery {
        attribute: vec!["year:2023".to_owned()],
        ..SearchQuery::new("records")
    };

    for query in [vision, typed, valued] {
        let found = index.find(&query).unwrap();
        assert!(found.passages.is_empty());
        assert_eq!(found.warnings.len(), 1);
    }
}

#[test]
fn a_typing_error_still_finds_the_word() {
    let index = index([
        document(1, 1, "Data policy", RETENTION),
        document(2, 1, "Leave", HOLIDAYS),
    ]);

    assert_eq!(files(&find(&index, "retension of custommer data")), [1]);
    assert_eq!(files(&find(&index, "holidais")), [2]);
}

#[test]
fn names_codes_and_stop_words_are_found_as_they_stand() {
    let index = index([
        document(1, 1, "Errors", "Error E-4711 means that the pump is dry."),
        document(2, 1, "Errors", "Error E-4712 means that the valve is shut."),
        document(3, 1, "Music", "The band is called The Who."),
    ]);

    assert_eq!(files(&find(&index, "E-4712"))[0], 2);
    assert_eq!(files(&find(&index, "the who"))[0], 3);
}

#[test]
fn words_that_stand_together_are_worth_more_than_apart() {
    let apart =
        "Rules for travel were written when the budget was decided, and expenses had another form.";
    let together =
        "Rules for the year: the travel budget is decided, and expenses have another form too.";
    let index = index([document(1, 1, "A", apart), document(2, 1, "B", together)]);

    assert_eq!(files(&find(&index, "travel budget")), [2, 1]);
}

#[test]
fn titles_and_headings_find_what_stands_under_them() {
    let text = "# Handbook\n\n## Sabbatical\n\nAfter five years anybody may stay away for a while, and comes back to the same desk.\n\n## Parking\n\nAfter five o'clock anybody may use the yard, whoever comes first has the place at the door.";
    let index = index([document(1, 1, "Handbook", text)]);

    let found = find(&index, "sabbatical");

    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .content
            .starts_with("## Sabbatical\n\nAfter five years")
    );
}

#[test]
fn questions_without_words_find_nothing() {
    let index = index([document(1, 1, "Data policy", RETENTION)]);

    for text in ["?!", " \u{0} ", "🙂", "\u{301}"] {
        assert!(find(&index, text).is_empty(), "{text:?}");
    }
    assert!(find(&LocalIndex::new().unwrap(), "records").is_empty());
}

#[test]
fn passage_ids_are_the_same_in_every_run() {
    let ids = || {
        let index = index([document(1, 1, "Data policy", RETENTION)]);
        find(&index, "records")[0].chunk_id.clone()
    };

    assert_eq!(ids(), ids());
    assert_eq!(uuid::Uuid::parse_str(&ids()).unwrap().get_version_num(), 5);
}

#[test]
fn the_retriever_answers_and_gives_up_at_its_deadline() {
    // The runtime has one blocking thread, which is busy until `free` is dropped: the search cannot begin before.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (free, busy) = std::sync::mpsc::channel::<()>();
    let local = |timeout| Local {
        index: Arc::new(index([document(1, 1, "Data policy", RETENTION)])),
        timeout,
    };
    let query = SearchQuery::new("records");

    runtime.block_on(async {
        let blocked = tokio::task::spawn_blocking(move || busy.recv());
        let after = Duration::from_millis(1);
        let late = local(after).search(&query).await;
        assert!(
            matches!(late, Err(crate::retrieval::Error::Timeout { after: told }) if told == after)
        );

        drop(free);
        let _disconnected = blocked.await.unwrap();
        let found = local(Duration::from_secs(60)).search(&query).await.unwrap();
        assert_eq!(files(&found.passages), [1]);
    });
}
