//! A client that leaves ends everything that was done for it, wherever it stands.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{
    edge::{Edge, Way, finds_policy, question},
    support::{
        lighton::FakeLightOn,
        reply::{Gate, Reply},
        server::Server,
    },
    turns::{chunk, search, searches},
};

/// What the contract allows.
const SOON: Duration = Duration::from_secs(1);

/// Where the answer stands when the client leaves; the neighbour that hangs then, and how many requests it has by then.
enum Stand {
    Model(Server, usize),
    Search(FakeLightOn, Server),
}

fn stands(way: Way) -> Vec<(&'static str, Stand)> {
    let hangs = || match way {
        Way::Whole => Reply::stream("application/json").piece("{\"id\":").hang(),
        Way::Streamed => Reply::stream("text/event-stream")
            .piece(format!(
                "data: {}\n\n",
                chunk(json!({"role": "assistant", "content": "Let"}))
            ))
            .hang(),
    };
    let mut calls = search("c1", "one");
    calls["index"] = json!(0);
    let calls = Reply::stream("text/event-stream")
        .piece(format!(
            "data: {}\n\n",
            chunk(json!({"tool_calls": [calls]}))
        ))
        .hang();
    let looks = || searches(way, "one");
    let mut stands = vec![
        (
            "the first turn's head",
            Stand::Model(Server::new().then(Reply::silence()), 1),
        ),
        (
            "the first turn",
            Stand::Model(Server::new().then(hangs()), 1),
        ),
        (
            "a search",
            Stand::Search(
                FakeLightOn::new().then(Reply::silence()),
                Server::new().then(looks()),
            ),
        ),
        (
            "the second turn's head",
            Stand::Model(Server::new().then(looks()).then(Reply::silence()), 2),
        ),
        (
            "the second turn",
            Stand::Model(Server::new().then(looks()).then(hangs()), 2),
        ),
    ];
    if way == Way::Streamed {
        stands.push((
            "a call of the first turn",
            Stand::Model(Server::new().then(calls), 1),
        ));
    }
    stands
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_turn_and_the_search() {
    for way in Way::BOTH {
        for (what, stand) in stands(way) {
            println!("{way:?}: {what}");
            let (lighton, model, requests) = match &stand {
                Stand::Model(model, requests) => (&finds_policy(), model, *requests),
                Stand::Search(lighton, model) => (lighton, model, 1),
            };
            let edge = Edge::start(lighton, model).await;
            let body = question(json!({"stream": way == Way::Streamed}));
            let asking = async {
                let mut response = edge.send(&body).await;
                while response.chunk().await.unwrap().is_some() {}
                panic!("the answer ended");
            };
            let there = async {
                model.received(requests).await;
                if let Stand::Search(lighton, _) = &stand {
                    lighton.received(1).await;
                }
            };

            tokio::select! {
                () = asking => {}
                () = there => {}
            }
            // The request was dropped with its future: the client has left.
            let left = Instant::now();

            let closed = async {
                match &stand {
                    Stand::Model(model, _) => model.closed().await,
                    Stand::Search(lighton, _) => lighton.closed().await,
                }
            };
            assert!(timeout(SOON * 10, closed).await.is_ok(), "{what}");
            assert!(left.elapsed() < SOON, "{what}: {:?}", left.elapsed());
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_after_text_came_ends_the_turn() {
    let gate = Gate::new();
    let model = Server::new().then(
        Reply::stream("text/event-stream")
            .piece(format!(
                "data: {}\n\n",
                chunk(json!({"role": "assistant", "content": "Let"}))
            ))
            .wait(&gate),
    );
    let lighton = finds_policy();
    let edge = Edge::start(&lighton, &model).await;

    let mut response = edge.send(&question(json!({"stream": true}))).await;
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    let left = Instant::now();

    model.closed().await;
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
}
