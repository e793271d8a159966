//! Equal searches: sent once while they are in flight, answered from memory for a while after that, and never across scopes.

use std::{sync::Arc, time::Duration};

use groundwire::{
    config::{RelevanceScoring, Retry, SearchCache, SearchMode, Secret, WorkspaceId},
    retrieval::{
        Error, Retriever, SearchQuery,
        cached::Cached,
        lighton::{LightOn, Options},
    },
};
use serde_json::Value;

use crate::{
    question,
    support::{
        gateway::Gateway,
        lighton::{FakeLightOn, found, result},
        reply::{Gate, Reply},
        server::Server,
        upstream::says,
    },
};

const LONG: Duration = Duration::from_secs(30);

/// The setting that the other tests turn off.
const CACHED: &str = "[search]\ncache_ttl = \"60s\"\n";

fn cached(lighton: &Server) -> Arc<Cached<LightOn>> {
    let options = Options {
        connect: LONG,
        timeout: LONG,
        requests_per_minute: u32::MAX,
        retry: Retry {
            attempts: 1,
            max_wait: Duration::ZERO,
            ..Retry::default()
        },
    };
    let url = lighton.url().parse().unwrap();
    let client = LightOn::new(&url, Secret::new("k"), options).unwrap();
    let settings = SearchCache {
        ttl: LONG,
        entries: 100,
    };
    Arc::new(Cached::new(Arc::new(client), settings))
}

fn within(text: &str, workspaces: &[i64]) -> SearchQuery {
    SearchQuery {
        workspaces: Some(workspaces.iter().copied().map(WorkspaceId).collect()),
        ..SearchQuery::new(text)
    }
}

#[tokio::test]
async fn an_equal_search_is_answered_from_memory_and_says_so() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let cached = cached(&lighton);
    let query = SearchQuery::new("retention");

    let first = cached.search(&query).await.unwrap();
    let second = cached.search(&query).await.unwrap();

    assert_eq!((first.cached, second.cached), (false, true));
    assert_eq!(first.passages, second.passages);
    assert_eq!(lighton.requests().len(), 1);
}

#[tokio::test]
async fn whatever_decides_the_result_makes_another_search() {
    let base = within("retention", &[42]);
    let others = [
        within("retention", &[43]),
        within("retention", &[42, 43]),
        SearchQuery {
            workspaces: None,
            ..base.clone()
        },
        within("Retention", &[42]),
        SearchQuery {
            max_results: 11,
            ..base.clone()
        },
        SearchQuery {
            tag_id: vec![1],
            ..base.clone()
        },
        SearchQuery {
            file_id: vec![1],
            ..base.clone()
        },
        SearchQuery {
            content_type: vec!["a".into()],
            ..base.clone()
        },
        SearchQuery {
            attribute: vec!["a".into()],
            ..base.clone()
        },
        SearchQuery {
            mode: SearchMode::Vision,
            ..base.clone()
        },
        SearchQuery {
            relevance_scoring: RelevanceScoring::None,
            ..base.clone()
        },
        SearchQuery {
            include_image: true,
            ..base.clone()
        },
        SearchQuery {
            include_bboxes: true,
            ..base.clone()
        },
    ];
    let lighton = FakeLightOn::new().always("POST /api/v3/search", found([result("x")]));
    let cached = cached(&lighton);
    cached.search(&base).await.unwrap();

    for (count, other) in (2..).zip(&others) {
        assert!(!cached.search(other).await.unwrap().cached, "{other:?}");
        assert_eq!(lighton.requests().len(), count, "{other:?}");
    }
}

#[tokio::test]
async fn failures_nothing_and_degraded_results_are_not_kept() {
    let degraded: Value = serde_json::json!({
        "results": [result("x")],
        "warnings": [{"code": "degraded", "reason": "scoring was skipped"}],
    });
    let lighton = FakeLightOn::new()
        .then(Reply::status(500))
        .finds([])
        .then(Reply::json(degraded))
        .finds([result("x")]);
    let cached = cached(&lighton);
    let query = SearchQuery::new("retention");

    assert!(cached.search(&query).await.is_err());
    assert!(cached.search(&query).await.unwrap().passages.is_empty());
    assert!(!cached.search(&query).await.unwrap().warnings.is_empty());
    let good = cached.search(&query).await.unwrap();

    assert!(!good.cached && good.warnings.is_empty());
    assert_eq!(lighton.requests().len(), 4);
}

#[tokio::test]
async fn equal_searches_in_flight_are_sent_once_and_all_get_the_answer() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(found([result("x")]).head_after(&gate));
    let cached = cached(&lighton);
    let query = SearchQuery::new("retention");

    let all = async { tokio::join!(cached.search(&query), cached.search(&query)) };
    let opening = async {
        lighton.received(1).await;
        gate.open();
    };
    let ((first, second), ()) = tokio::join!(all, opening);

    assert_eq!(
        first.unwrap().passages.len() + second.unwrap().passages.len(),
        2
    );
    assert_eq!(lighton.requests().len(), 1);
}

#[tokio::test]
async fn a_failure_reaches_everybody_who_waited_for_it() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(Reply::refused().head_after(&gate));
    let cached = cached(&lighton);
    let query = SearchQuery::new("retention");

    let all = async { tokio::join!(cached.search(&query), cached.search(&query)) };
    let opening = async {
        lighton.received(1).await;
        gate.open();
    };
    let ((first, second), ()) = tokio::join!(all, opening);

    for error in [first.unwrap_err(), second.unwrap_err()] {
        let Error::Unavailable {
            source: Some(source),
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert!(!source.to_string().is_empty());
    }
    assert_eq!(lighton.requests().len(), 1);
}

#[tokio::test]
async fn the_first_caller_may_leave_without_taking_the_search_along() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new().then(found([result("x")]).head_after(&gate));
    let cached = cached(&lighton);
    let query = SearchQuery::new("retention");

    let mut first = cached.search(&query);
    tokio::select! {
        _ = &mut first => panic!("the gate was closed"),
        _ = lighton.received(1) => {}
    }
    let second = cached.search(&query);
    drop(first);
    gate.open();

    assert!(second.await.unwrap().cached);
    assert_eq!(lighton.requests().len(), 1);
}

#[tokio::test]
async fn a_search_that_nobody_waits_for_any_longer_ends() {
    let lighton = FakeLightOn::new()
        .then(Reply::silence())
        .finds([result("x")]);
    let cached = cached(&lighton);
    let query = SearchQuery::new("retention");

    let (mut first, mut second) = (cached.search(&query), cached.search(&query));
    tokio::select! {
        _ = &mut first => panic!("nothing was answered"),
        _ = &mut second => panic!("nothing was answered"),
        _ = lighton.received(1) => {}
    }
    drop(first);
    drop(second);

    lighton.closed().await;
    assert!(!cached.search(&query).await.unwrap().cached);
}

#[tokio::test]
async fn a_changed_workspace_forgets_its_searches_and_the_unscoped_ones() {
    let lighton = FakeLightOn::new().always("POST /api/v3/search", found([result("x")]));
    let cached = cached(&lighton);
    let (its, other) = (within("retention", &[42, 7]), within("retention", &[43]));
    let unscoped = SearchQuery::new("retention");
    for query in [&its, &other, &unscoped] {
        cached.search(query).await.unwrap();
    }

    cached.invalidate(WorkspaceId(42));

    let mut kept = Vec::new();
    for query in [&its, &other, &unscoped] {
        kept.push(cached.search(query).await.unwrap().cached);
    }
    assert_eq!(kept, [false, true, false]);
}

#[tokio::test]
async fn of_a_workspace_with_a_new_file_nothing_is_kept_for_a_while() {
    let lighton = FakeLightOn::new().always("POST /api/v3/search", found([result("x")]));
    let cached = cached(&lighton);

    cached.unsettle(WorkspaceId(42));

    for (query, keeps) in [
        (within("retention", &[42, 7]), false),
        (within("retention", &[43]), true),
        (SearchQuery::new("retention"), false),
    ] {
        cached.search(&query).await.unwrap();
        assert_eq!(cached.search(&query).await.unwrap().cached, keeps);
    }
}

#[tokio::test]
async fn what_was_searched_before_a_change_is_neither_kept_nor_joined_after_it() {
    let gate = Gate::new();
    let lighton = FakeLightOn::new()
        .then(found([result("old")]).head_after(&gate))
        .finds([result("new")]);
    let cached = cached(&lighton);
    let query = within("retention", &[42]);

    let mut before = cached.search(&query);
    tokio::select! {
        _ = &mut before => panic!("the gate was closed"),
        _ = lighton.received(1) => {}
    }
    cached.invalidate(WorkspaceId(42));
    let after = cached.search(&query).await.unwrap();
    gate.open();
    let before = before.await.unwrap();
    let later = cached.search(&query).await.unwrap();

    let text = |found: &groundwire::retrieval::Found| found.passages[0].content.clone();
    assert_eq!(
        [text(&before), text(&after), text(&later)],
        ["old", "new", "new"]
    );
    assert!(!after.cached && later.cached);
}

#[tokio::test]
async fn the_answer_counts_the_searches_that_the_cache_answered() {
    let lighton = FakeLightOn::new().finds([result("Seven years.")]);
    let upstream = Server::new().always("/v1/chat/completions", says("Seven [1]."));
    let gateway = Gateway::start(&lighton, &upstream, CACHED).await;

    let first = gateway.ask(&question("How long?")).await.json();
    let second = gateway.ask(&question("How long?")).await.json();

    assert_eq!(first["rag"]["usage"]["cached"], 0);
    assert_eq!(second["rag"]["usage"]["cached"], 1);
    assert_eq!(second["rag"]["usage"]["searches"], 1);
    assert_eq!(first["rag"]["sources"], second["rag"]["sources"]);
}

#[tokio::test]
async fn changed_documents_are_searched_again_through_the_gateway() {
    let lighton = FakeLightOn::new().finds([result("a")]).finds([result("b")]);
    let upstream = Server::new().always("/v1/chat/completions", says("x"));
    let gateway = Gateway::start(&lighton, &upstream, CACHED).await;

    gateway.ask(&question("How long?")).await.json();
    gateway.app().documents_changed(WorkspaceId(42));
    let second = gateway.ask(&question("How long?")).await.json();

    assert_eq!(second["rag"]["usage"]["cached"], 0);
    assert_eq!(second["rag"]["sources"][0]["content"], "b");
}

#[tokio::test]
async fn a_time_to_live_of_nothing_turns_the_cache_off() {
    let lighton = FakeLightOn::new().always("POST /api/v3/search", found([result("x")]));
    let upstream = Server::new().always("/v1/chat/completions", says("x"));
    let gateway = Gateway::start(&lighton, &upstream, "[search]\ncache_ttl = \"0s\"\n").await;

    for _ in 0..2 {
        let answer = gateway.ask(&question("How long?")).await.json();
        assert_eq!(answer["rag"]["usage"]["cached"], 0);
    }

    assert_eq!(lighton.requests().len(), 2);
}
