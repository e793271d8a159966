//! Faults of an upstream before its first event, or before the end of a whole answer: the client gets a status that it can act on.

#![expect(
    clippy::disallowed_methods,
    reason = "the task of the upstream that resets ends with its test's runtime"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{
    kind::Kind,
    stage::{QUESTION, Stage, TWICE, each},
    support::{
        lighton::maintenance,
        reply::{Reply, sse_unfinished},
        server::nobody,
        upstream::refuses,
    },
};

/// The fault comes as often as it is asked for, which is twice, and then it is the answer.
fn tried_twice(fault: impl Fn(Kind) -> Reply + Sync, status: u16, error: &str, code: &str) {
    each(&Kind::ALL, async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let heard = stage.suffers([fault(kind), fault(kind)]).await;

        heard.refused(status, error, code);
        heard.is_final();
        stage.nothing_is_left().await;
    });
}

/// One try later the upstream answers, and the client never learns of the fault.
fn mended_by_another_try(fault: impl Fn(Kind) -> Reply + Sync) {
    each(&Kind::ALL, async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let heard = stage.suffers([fault(kind), kind.answer()]).await;

        heard.answered();
        stage.nothing_is_left().await;
    });
}

/// The upstream says nothing more, the deadline passes, and no second call makes the client wait for as long again.
fn timed_out(fault: impl Fn(Kind) -> Reply + Sync) {
    let settings = format!("{TWICE}timeouts = {{ first_event = \"1s\", answer = \"1s\" }}\n");
    each(&Kind::ALL, async |kind| {
        let stage = Stage::new(kind, &settings).await;

        let heard = stage.suffers([fault(kind)]).await;

        heard.refused(504, "upstream_error", "upstream_timeout");
        stage.upstream.closed().await;
        stage.nothing_is_left().await;
    });
}

#[test]
fn refused() {
    each(&Kind::ALL, async |kind| {
        let stage = Stage::beside(kind, TWICE, nobody()).await;

        let body = kind.question("other", QUESTION);
        if kind.mode() == "inject" {
            stage.prepared();
        }
        let heard = stage.hears(stage.request(kind, &body)).await;

        heard.refused(502, "upstream_error", "upstream_unreachable");
        heard.is_final();
        stage.nothing_is_left().await;
    });
}

#[test]
fn reset_while_sending() {
    each(&Kind::ALL, async |kind| {
        let (address, connections) = resetting().await;
        let stage = Stage::beside(kind, TWICE, address).await;

        // More than the buffers of two sockets hold, so that the reset comes while it is sent.
        let mut body = kind.question("other", QUESTION);
        body["user"] = json!("x".repeat(8 << 20));
        if kind.mode() == "inject" {
            stage.prepared();
        }
        let heard = stage.hears(stage.request(kind, &body)).await;

        heard.refused(502, "upstream_error", "upstream_unreachable");
        heard.is_final();
        assert_eq!(connections.load(Ordering::Relaxed), 2);
        stage.nothing_is_left().await;
    });
}

/// An upstream that resets each connection at the first bytes of a request; how often it did.
async fn resetting() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = socket.read(&mut [0; 64]).await;
            let _ = socket.set_zero_linger();
        }
    });
    (address, count)
}

#[test]
fn reset_before_the_head() {
    tried_twice(
        |_| Reply::refused(),
        502,
        "upstream_error",
        "upstream_unreachable",
    );
}

#[test]
fn slow_head() {
    timed_out(|_| Reply::silence());
}

#[test]
fn slow_first_event() {
    timed_out(|kind| {
        if kind.streams() {
            // What keeps the connection alive is no event.
            Reply::stream("text/event-stream").repeat(": ping\n\n")
        } else {
            kind.begun().hang()
        }
    });
}

#[test]
fn status_408() {
    let fault = |_| Reply::status(408);
    tried_twice(fault, 408, "invalid_request_error", "upstream_error");
    mended_by_another_try(fault);
}

#[test]
fn status_429_that_asks_for_seconds() {
    let fault = |_| refuses(429, "slow down").header("retry-after", 0);
    mended_by_another_try(fault);
    wait_is_the_clients("60".to_owned());
}

#[test]
fn status_429_that_asks_for_a_date() {
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    mended_by_another_try(|_| refuses(429, "slow down").header("retry-after", past));
    let hour = SystemTime::now() + Duration::from_secs(3600);
    wait_is_the_clients(httpdate::fmt_http_date(hour));
}

#[test]
fn status_429_that_asks_for_nothing() {
    let fault = |_| Reply::status(429);
    tried_twice(fault, 429, "rate_limit_error", "upstream_error");
    mended_by_another_try(fault);
}

/// A wait beyond `max_wait` is not waited here: one call, and the client is told how long.
fn wait_is_the_clients(retry_after: String) {
    each(&Kind::ALL, async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let fault = Reply::status(429).header("retry-after", &retry_after);
        let heard = stage.suffers([fault]).await;

        heard.refused(429, "rate_limit_error", "upstream_error");
        assert_eq!(heard.answer.header("retry-after"), Some(&*retry_after));
        stage.nothing_is_left().await;
    });
}

#[test]
fn status_500_with_a_page_of_html() {
    let fault = |_| Reply::body("text/html", "<h1>Oops</h1>").with_status(500);
    tried_twice(fault, 500, "upstream_error", "upstream_error");
    mended_by_another_try(fault);
}

#[test]
fn status_502() {
    let fault = |_| Reply::status(502);
    tried_twice(fault, 502, "upstream_error", "upstream_error");
    mended_by_another_try(fault);
}

#[test]
fn status_503_for_maintenance() {
    let fault = |_| maintenance();
    tried_twice(fault, 503, "upstream_error", "service_maintenance");
    mended_by_another_try(fault);
}

#[test]
fn status_504() {
    let fault = |_| Reply::status(504);
    tried_twice(fault, 504, "upstream_error", "upstream_error");
    mended_by_another_try(fault);
}

#[test]
fn wrong_content_type() {
    let fault = |_| Reply::body("text/html", "<html>hello</html>");
    tried_twice(fault, 502, "upstream_error", "upstream_invalid_response");
    mended_by_another_try(fault);
}

#[test]
fn json_error_under_200() {
    let fault = |_| {
        let error = json!({"message": "overloaded", "type": "server_error", "code": 503});
        Reply::json(json!({ "error": error }))
    };
    tried_twice(fault, 503, "server_error", "503");
    mended_by_another_try(fault);
}

#[test]
fn json_error_in_place_of_the_first_event() {
    let error = json!({"error": {"message": "overloaded", "type": "server_error", "code": 503}});
    each(&Kind::those(Kind::streams), async |kind| {
        let stage = Stage::new(kind, TWICE).await;

        let fault = || sse_unfinished([&error]);
        let heard = stage.suffers([fault(), fault()]).await;

        heard.refused(503, "server_error", "503");
        heard.is_final();
        stage.nothing_is_left().await;
    });
}

#[test]
fn cut_before_the_first_event_or_in_the_middle_of_a_whole_answer() {
    let fault = |kind: Kind| {
        if kind.streams() {
            Reply::stream("text/event-stream")
                .half_chunk("data: {\"choi")
                .cut()
        } else {
            kind.begun().cut()
        }
    };
    tried_twice(fault, 502, "upstream_error", "upstream_unreachable");
    mended_by_another_try(fault);
}

#[test]
fn two_objects_in_place_of_one() {
    let fault = |kind: Kind| {
        if kind.streams() {
            Reply::stream("text/event-stream").piece("data: {\"a\":1}{\"b\":2}\n\n")
        } else {
            Reply::body("application/json", "{\"a\":1}{\"b\":2}")
        }
    };
    tried_twice(fault, 502, "upstream_error", "upstream_invalid_response");
}

#[test]
fn endless_first_line() {
    let settings = format!("{TWICE}limits.event = \"4KB\"\n");
    each(&Kind::those(Kind::streams), async |kind| {
        let stage = Stage::new(kind, &settings).await;

        let fault = || Reply::stream("text/event-stream").repeat("x".repeat(1000));
        let heard = stage.suffers([fault(), fault()]).await;

        heard.refused(502, "upstream_error", "upstream_invalid_response");
        heard.is_final();
        stage.nothing_is_left().await;
    });
}

#[test]
fn invalid_utf8_in_the_first_event_or_in_a_whole_answer() {
    let fault = |kind: Kind| {
        if kind.streams() {
            Reply::stream("text/event-stream").piece(b"data: {\"a\":\"\xFF\"}\n\n".to_vec())
        } else {
            Reply::body("application/json", b"{\"a\": \"\xFF\"}".to_vec())
        }
    };
    tried_twice(fault, 502, "upstream_error", "upstream_invalid_response");
}
