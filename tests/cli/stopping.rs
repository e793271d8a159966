//! Starts that fail and ends that are asked for: a port in use, SIGTERM, Ctrl-C, and a second signal.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure"
)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use super::program::{Program, groundwire};

const BODY: &str = r#"{"model":"sandbox-extractive","messages":[{"role":"user","content":"What is our data retention policy?"}]}"#;

/// A connection with a request whose body has not come: the gateway can only wait for it.
fn open_request(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    // The interim answer says that the request is being handled.
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket
}

#[test]
fn a_terminated_gateway_finishes_what_it_has_begun() {
    let mut sandbox = Program::sandbox_with(&[("GROUNDWIRE_TIMEOUTS__DRAIN_DELAY", "0s")]);
    let mut socket = open_request(&sandbox.gateway());

    sandbox.signal("TERM");
    sandbox.says("stopping");
    socket.write_all(BODY.as_bytes()).unwrap();

    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("within 30 days"), "{answer}");
    let ended = sandbox.end();
    assert_eq!((ended.code(), &*ended.stdout), (Some(0), ""));
}

#[test]
fn an_interrupted_gateway_that_has_nothing_to_do_ends_without_delay() {
    let sandbox = Program::sandbox_with(&[("GROUNDWIRE_TIMEOUTS__DRAIN_DELAY", "1h")]);

    sandbox.signal("INT");

    let ended = sandbox.end();
    assert_eq!((ended.code(), &*ended.stdout), (Some(0), ""));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for delay in ["0s", "1h"] {
        let mut sandbox = Program::sandbox_with(&[
            ("GROUNDWIRE_TIMEOUTS__DRAIN_DELAY", delay),
            ("GROUNDWIRE_TIMEOUTS__SHUTDOWN", "1h"),
        ]);
        let mut socket = open_request(&sandbox.gateway());

        sandbox.signal("TERM");
        sandbox.says("stopping");
        sandbox.signal("TERM");

        let ended = sandbox.end();
        assert_eq!(ended.code(), Some(0), "{delay}: {}", ended.stderr);
        let mut rest = Vec::new();
        // The open request got no answer: its connection is closed, or reset.
        let _ = socket.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{delay}");
    }
}

#[test]
fn a_client_of_the_stand_ins_that_never_finishes_does_not_hold_them_up() {
    let mut sandbox = Program::sandbox();
    let _socket = open_request(&sandbox.services());

    sandbox.signal("INT");

    assert_eq!(sandbox.end().code(), Some(0));
}

#[test]
fn a_port_in_use_is_told_with_the_option_that_names_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (gateway, services, option) in [
        (&*taken, free, "--listen"),
        (free, &*taken, "--services-listen"),
    ] {
        let ended = groundwire(&[
            "sandbox",
            "--listen",
            gateway,
            "--services-listen",
            services,
        ])
        .run();

        assert_eq!((ended.code(), &*ended.stdout), (Some(1), ""));
        assert!(
            ended.stderr.contains(&format!("cannot listen on {taken}")),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(&format!(" with {option} ")),
            "{}",
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("listening on http"),
            "{}",
            ended.stderr
        );
    }
}
