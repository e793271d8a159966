//! Faults of the client: it leaves, wherever its answer stands, and all that was done for it ends with it.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    kind::Kind,
    program::Program,
    stage::{QUESTION, Stage, TWICE, becomes, each},
    support::{reply::Reply, server::Server},
    watch,
};

/// Sends the request and leaves when `there` is over, without having heard a whole answer.
async fn leaves(stage: &Stage, there: impl Future) {
    let asking = async {
        let mut response = watch::send(stage.ask()).await.unwrap();
        while response.chunk().await.unwrap().is_some() {}
        panic!("the answer ended");
    };
    tokio::select! {
        () = asking => {}
        _ = there => {}
    }
}

#[test]
fn client_leaves_during_the_search() {
    each(&Kind::those(Kind::searches), async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        if kind.calls() {
            stage.upstream.push(kind.call());
        }
        stage.lighton.push(Reply::silence());

        leaves(&stage, stage.lighton.received(2)).await;

        stage.lighton.closed().await;
        stage.nothing_is_left().await;
    });
}

#[test]
fn client_leaves_before_the_head() {
    each(&Kind::ALL, async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        let turns = stage.prepared();
        stage.upstream.push(Reply::silence());

        leaves(&stage, stage.upstream.received(turns + 2)).await;

        stage.upstream.closed().await;
        stage.nothing_is_left().await;
    });
}

#[test]
fn client_leaves_in_mid_stream() {
    each(&Kind::those(Kind::streams), async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        stage.prepared();
        stage.upstream.push(kind.begun().hang());

        let mut response = watch::send(stage.ask()).await.unwrap();
        while kind.said(&first_event(&response.chunk().await.unwrap().unwrap())) != "a" {}
        assert_eq!(stage.gateway.app().metrics.open_streams.get(), 1);
        drop(response);

        stage.upstream.closed().await;
        stage.nothing_is_left().await;
    });
}

/// The first event of a piece; null where it holds none.
fn first_event(piece: &[u8]) -> Value {
    let text = String::from_utf8_lossy(piece);
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    data.map_or(Value::Null, |data| serde_json::from_str(data).unwrap())
}

#[test]
fn client_leaves_while_the_answer_flows_and_is_not_read() {
    each(&Kind::those(Kind::streams), async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        stage.prepared();
        let event = format!("data: {}\n\n", kind.chunk(&"b".repeat(1 << 16)));
        stage.upstream.push(kind.begun().repeat(event));

        // The head alone is read: what comes behind it fills the buffers, and then nothing moves.
        let response = watch::send(stage.ask()).await.unwrap();
        drop(response);

        stage.upstream.closed().await;
        stage.nothing_is_left().await;
    });
}

#[test]
fn client_leaves_during_a_tool_turn() {
    each(&Kind::those(Kind::calls), async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        // The turn that would ask for the search stops before its end.
        let turn = if kind.streams() {
            let event = r#"{"id":"up","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"lighton_search","arguments":"{\"que"}}]}}]}"#;
            Reply::stream("text/event-stream").piece(format!("data: {event}\n\n"))
        } else {
            kind.begun()
        };
        stage.upstream.push(turn.hang());

        leaves(&stage, stage.upstream.received(2)).await;

        stage.upstream.closed().await;
        assert_eq!(
            stage.lighton.requests().len(),
            1,
            "nothing was searched for"
        );
        stage.nothing_is_left().await;
    });
}

#[test]
fn half_closed_client() {
    each(&Kind::ALL, async |kind| {
        let stage = Stage::new(kind, TWICE).await;
        let turns = stage.prepared();
        stage.upstream.push(kind.begun().hang());

        let mut socket = TcpStream::connect(stage.gateway.address()).await.unwrap();
        socket.write_all(&request(kind, "m")).await.unwrap();
        stage.upstream.received(turns + 2).await;
        socket.shutdown().await.unwrap();

        stage.upstream.closed().await;
        let mut heard = Vec::new();
        // Its end, in good order or not: nobody is there to care.
        let _ = socket.read_to_end(&mut heard).await;
        stage.nothing_is_left().await;
    });
}

/// A request as bytes.
fn request(kind: Kind, model: &str) -> Vec<u8> {
    let body = kind.question(model, QUESTION).to_string();
    let head = format!(
        "POST /v1{} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        kind.path(),
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

#[tokio::test]
async fn the_program_keeps_no_socket_of_clients_that_left() {
    let upstream = Server::new();
    let program = Program::serve(&format!(
        "search.api_key = \"md-secret-k\"\n[upstreams.model]\nbase_url = \"{}/v1\"\napi_key = \"md-secret-k\"\nmodels = [\"m\"]\n",
        upstream.url()
    ))
    .await;
    let before = program.sockets();
    let kinds = [Kind::RelayedWhole, Kind::RelayedStream];

    for (count, kind) in kinds.into_iter().enumerate() {
        for half in [true, false] {
            upstream.push(kind.begun().hang());
            let mut socket = TcpStream::connect(program.authority()).await.unwrap();
            socket.write_all(&request(kind, "m")).await.unwrap();
            upstream.received(2 * count + usize::from(!half) + 1).await;
            if half {
                socket.shutdown().await.unwrap();
                let _ = socket.read_to_end(&mut Vec::new()).await;
            }
        }
    }

    upstream.settled().await;
    if let Some(before) = before {
        let sockets = || program.sockets().unwrap_or_default();
        becomes(before, sockets, "sockets").await;
    }
}
