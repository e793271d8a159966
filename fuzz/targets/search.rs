//! LightOn's answer: whatever it holds, only passages inside the scope and within the bounds reach a prompt, defused.

use groundwire::{
    access::Scope,
    config::WorkspaceId,
    rag::{
        defuse,
        passages::{Bounds, Selection, Style},
        tokens,
    },
    retrieval::{SearchQuery, lighton},
};

const MAX_RESULTS: u16 = 7;
const BUDGET: u32 = 400;

/// Checks one body.
pub(crate) fn check(body: &[u8]) {
    let query = SearchQuery {
        max_results: MAX_RESULTS,
        ..SearchQuery::new("a question")
    };
    let Some(found) = lighton::read_answer(body, &query) else {
        return;
    };
    assert!(found.passages.len() <= MAX_RESULTS.into());
    for passage in &found.passages {
        assert!(!passage.chunk_id.is_empty());
        assert!(passage.score.is_finite());
        assert_ne!(
            passage.source.page_start,
            Some(0),
            "pages are counted from 1"
        );
    }
    let scope = Scope::Only([WorkspaceId(42), WorkspaceId(43)].into());
    for style in [Style::Plain, Style::Numbered] {
        let bounds = Bounds {
            scope: &scope,
            min_relevance: 0.1,
            budget: BUDGET,
            style,
        };
        let mut selection = Selection::default();
        // Twice, as two searches of one conversation: what is known already keeps its number.
        for _ in 0..2 {
            let brought = selection.add(found.passages.clone(), &bounds);
            assert!(
                brought
                    .iter()
                    .all(|index| selection.source(*index).is_some())
            );
        }
        is_fit_for_a_prompt(&selection, &bounds);
        while selection.sources.len() > 1 {
            assert!(selection.halve(style));
            is_fit_for_a_prompt(&selection, &bounds);
        }
    }
}

fn is_fit_for_a_prompt(selection: &Selection, bounds: &Bounds<'_>) {
    for (number, source) in (1..).zip(&selection.sources) {
        assert_eq!(source.index, number, "passages are numbered once, from 1");
        let workspace = source
            .passage
            .workspace
            .as_ref()
            .map(|workspace| workspace.id);
        assert!(
            bounds.scope.holds(workspace),
            "{workspace:?} is outside the scope"
        );
        let block = source.block(bounds.style);
        let (head, text) = block.split_once('\n').unwrap_or_default();
        assert_eq!(head, source.head(bounds.style), "a head is one line");
        assert_eq!(
            defuse::defuse(text),
            (text.into(), false),
            "it was not defused"
        );
    }
    if selection.sources.len() > 1 {
        let used = tokens::estimate(&selection.context(bounds.style));
        assert!(used <= BUDGET + BUDGET / 4, "{used} tokens of {BUDGET}");
    }
}
