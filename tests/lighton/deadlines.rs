//! Time: one deadline over everything, the pace, and callers who leave.

use std::{future::Future, time::Duration};

use futures_util::{FutureExt, future::join_all};
use groundwire::{
    config::Retry,
    retrieval::{Error, Retriever, SearchQuery, lighton::Options},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    LONG, client, options,
    support::{
        lighton::{FakeLightOn, found, refusal},
        reply::Reply,
    },
};

/// Short enough to wait for, long enough for a connection on this machine.
const SHORT: Duration = Duration::from_secs(1);

fn within(timeout: Duration) -> Options {
    Options {
        timeout,
        ..options()
    }
}

#[tokio::test]
async fn silence_at_any_point_ends_at_the_deadline() {
    let silent = [
        Reply::silence(),
        Reply::stream("application/json").hang(),
        Reply::stream("application/json")
            .piece("{\"results\"")
            .hang(),
        Reply::json(json!({})).header("content-length", 100).hang(),
    ];
    // Clients first: making one takes a while on a busy machine.
    let prepared = silent.map(|reply| {
        let lighton = FakeLightOn::new().then(reply.clone());
        let client = client(&lighton.url(), within(SHORT));
        (reply, lighton, client)
    });
    let ends = prepared.map(|(reply, lighton, client)| async move {
        let start = Instant::now();

        let error = client.search(&SearchQuery::new("q")).await.unwrap_err();

        assert!(
            matches!(error, Error::Timeout { after } if after == SHORT),
            "{reply:?} gave {error:?}"
        );
        assert!(start.elapsed() >= SHORT && start.elapsed() < LONG);
        lighton.closed().await;
    });
    join_all(ends).await;
}

#[tokio::test]
async fn the_deadline_holds_for_all_tries_together() {
    let lighton = FakeLightOn::new()
        .then(Reply::status(503))
        .then(Reply::silence());

    let error = client(&lighton.url(), within(SHORT))
        .search(&SearchQuery::new("q"))
        .await
        .unwrap_err();

    assert!(
        matches!(error, Error::Timeout { after } if after == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_wait_that_the_deadline_cannot_hold_is_not_begun() {
    let lighton = FakeLightOn::new()
        .then(refusal(429, "rate_limited", "Slow down").header("retry-after", 60));
    let retry = Retry {
        max_wait: Duration::from_secs(120),
        ..options().retry
    };
    let options = Options {
        retry,
        timeout: Duration::from_secs(20),
        ..options()
    };
    let start = Instant::now();

    let error = client(&lighton.url(), options)
        .search(&SearchQuery::new("q"))
        .await
        .unwrap_err();

    let minute = Some(Duration::from_secs(60));
    assert!(
        matches!(error, Error::RateLimited { retry_after, .. } if retry_after == minute),
        "{error:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_stuck_error_body_does_not_hide_the_refusal() {
    let lighton = FakeLightOn::new().then(
        Reply::stream("application/json")
            .with_status(401)
            .piece("{\"det")
            .hang(),
    );

    let error = client(&lighton.url(), options())
        .search(&SearchQuery::new("q"))
        .await
        .unwrap_err();

    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
}

#[tokio::test]
async fn requests_are_sent_at_the_pace_and_no_faster() {
    // Ten at once, then one each 101.5 ms.
    let replies = (0..12).fold(FakeLightOn::new(), |lighton, _| lighton.then(found([])));
    let paced = Options {
        requests_per_minute: 600,
        ..options()
    };
    let client = client(&replies.url(), paced);
    let query = SearchQuery::new("q");
    let start = Instant::now();

    let answers = join_all((0..12).map(|_| client.search(&query))).await;

    assert!(answers.iter().all(Result::is_ok));
    let sent: Vec<_> = replies
        .requests()
        .iter()
        .map(|request| request.at - start)
        .collect();
    assert!(
        sent[10] >= Duration::from_millis(101) && sent[11] >= Duration::from_millis(203),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_turn_that_comes_too_late_is_refused_at_once() {
    let lighton = FakeLightOn::new().then(found([]));
    let paced = Options {
        requests_per_minute: 1,
        timeout: Duration::from_secs(20),
        ..options()
    };
    let client = client(&lighton.url(), paced);
    let query = SearchQuery::new("q");
    client.search(&query).await.unwrap();
    let start = Instant::now();

    let error = client.search(&query).await.unwrap_err();

    let Error::RateLimited { retry_after, .. } = &error else {
        panic!("{error:?}");
    };
    let wait = retry_after.unwrap();
    assert!(
        wait > Duration::from_secs(30) && wait <= Duration::from_secs(61),
        "{wait:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(15));
}

// In the field: who got its turn in the last moments was told that the service is slow, which is not asked a second time.
#[tokio::test]
async fn a_turn_that_leaves_no_time_for_the_call_is_the_paces_fault() {
    let lighton = FakeLightOn::new().then(found([])).then(Reply::silence());
    let slow = Options {
        requests_per_minute: 60,
        ..within(Duration::from_millis(1500))
    };
    let client = client(&lighton.url(), slow);
    client.search(&SearchQuery::new("first")).await.unwrap();

    let error = client
        .search(&SearchQuery::new("second"))
        .await
        .unwrap_err();

    assert!(
        matches!(
            error,
            Error::RateLimited {
                retry_after: Some(_),
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_clone_shares_the_pace() {
    let lighton = FakeLightOn::new().then(found([]));
    let paced = Options {
        requests_per_minute: 1,
        ..options()
    };
    let one = client(&lighton.url(), paced);
    let other = one.clone();
    let query = SearchQuery::new("q");

    one.search(&query).await.unwrap();
    let second = other.search(&query).now_or_never();

    assert!(
        matches!(second, Some(Err(Error::RateLimited { .. }))),
        "{second:?}"
    );
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_request() {
    let lighton = FakeLightOn::new().then(Reply::silence());
    let client = client(&lighton.url(), options());
    let query = SearchQuery::new("q");
    let search = client.search(&query);

    leave_once(search, async {
        lighton.received(1).await;
    })
    .await;

    lighton.closed().await;
    lighton.all_closed().await;
}

#[tokio::test]
async fn a_caller_who_leaves_while_waiting_gives_its_turn_back() {
    let lighton = FakeLightOn::new().then(found([])).then(found([]));
    let paced = Options {
        requests_per_minute: 60,
        timeout: Duration::from_secs(4),
        ..options()
    };
    let client = client(&lighton.url(), paced);
    let query = SearchQuery::new("q");
    client.search(&query).await.unwrap();

    // Polled once, each of them holds the turn that comes a second after the first; were these lost, the last would come too late.
    for _ in 0..5 {
        assert!(client.search(&query).now_or_never().is_none());
    }
    client.search(&query).await.unwrap();

    assert_eq!(lighton.requests().len(), 2);
}

/// Polls `work` until `moment` has come, then drops it.
async fn leave_once<T>(work: impl Future<Output = T>, moment: impl Future<Output = ()>) {
    tokio::select! {
        _ = work => panic!("the work ended before its time"),
        () = moment => {}
    }
}
