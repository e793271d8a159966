//! Lines as they are read: the same as those of `tracing_subscriber::fmt`, whatever is in them.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use regex::Regex;
use tracing::{
    Level, debug, error, error_span, event, field, info, info_span, trace, trace_span, warn,
};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt};

use super::{
    filter::Filter,
    lines::{Form, Lines},
    queue::Queue,
    text::Ink,
};

/// What was written.
#[derive(Clone, Default)]
pub(super) struct Paper(pub(super) Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `log` leaves in our log, without its times.
fn ours(form: Form, log: impl FnOnce()) -> String {
    let paper = Paper::default();
    let queue = Queue::start(paper.clone()).unwrap();
    let lines = Lines {
        form,
        queue: queue.clone(),
    };
    tracing::subscriber::with_default(Registry::default().with(lines), log);
    queue.end(Duration::from_secs(10));
    timeless(&paper.text())
}

/// What it leaves in that of `tracing-subscriber`.
fn theirs(form: Form, log: impl FnOnce()) -> String {
    let paper = Paper::default();
    let out = paper.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || out.clone());
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match form {
        Form::Json => {
            let lines = lines.json().flatten_event(true);
            lines.with_current_span(true).with_span_list(false).boxed()
        }
        Form::Text(ink) => lines
            .with_target(false)
            .with_ansi(ink == Ink::Coloured)
            .boxed(),
    };
    tracing::subscriber::with_default(Registry::default().with(layer), log);
    let text = timeless(&paper.text());
    match form {
        Form::Json => spelt(&text),
        Form::Text(_) => text,
    }
}

/// Control characters that JSON has no need to spell, spelt as ours are.
fn spelt(json: &str) -> String {
    let control = Regex::new(r"[\x7f-\u{9f}]").unwrap();
    let spell = |found: &regex::Captures<'_>| {
        let c = found[0].chars().next().unwrap();
        format!("\\u{:04x}", u32::from(c))
    };
    control.replace_all(json, spell).into_owned()
}

fn timeless(lines: &str) -> String {
    let time = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").unwrap();
    time.replace_all(lines, "TIME").into_owned()
}

const FORMS: [Form; 3] = [
    Form::Text(Ink::Black),
    Form::Text(Ink::Coloured),
    Form::Json,
];

#[track_caller]
fn are_the_same(log: fn()) {
    for form in FORMS {
        let (ours, theirs) = (ours(form, log), theirs(form, log));
        assert!(!theirs.is_empty());
        for (our, their) in ours.lines().zip(theirs.lines()) {
            assert_eq!(our, their, "{form:?}");
        }
        assert_eq!(ours, theirs, "{form:?}");
    }
}

#[derive(Debug, thiserror::Error)]
#[error("outer \x1b[31mred")]
struct Outer(#[source] Middle);

#[derive(Debug, thiserror::Error)]
#[error("middle")]
struct Middle(#[source] fmt::Error);

#[test]
fn values_of_every_type_look_as_they_did() {
    are_the_same(|| {
        info!(
            a = 0u8,
            b = u64::MAX,
            c = i64::MIN,
            d = -1i8,
            e = 7usize,
            "numbers"
        );
        info!(a = u128::MAX, b = i128::MIN, "large numbers");
        info!(a = true, b = false, c = ?'x', d = ?'\n', "small things");
        info!(
            a = Some(1),
            b = None::<u32>,
            c = Some("x"),
            d = field::Empty,
            "options"
        );
        info!(
            a = "plain",
            b = "",
            c = String::from("owned"),
            d = &"borrowed",
            "texts"
        );
        info!(
            a = "say \"hi\"",
            b = "back\\slash",
            c = "it's",
            d = "two\nlines\r\tmore\0\x7f\x1b[0m",
            "escapes"
        );
        info!(
            a = "größer",
            b = "日本語",
            c = "🦀",
            d = "e\u{301}",
            e = "\u{301}",
            f = "\u{200b}\u{85}\u{a0}",
            "beyond ASCII"
        );
        info!(a = ?"debug \"quoted\"", b = %"display", c = ?[1, 2], d = ?Some("x"), e = ?(1, "y"), "formatted");
        info!(a = ?Duration::from_millis(1500), b = %"größer 日本語", c = ?vec!["a\nb"; 2], "formatted");
        info!(bytes = &b"\x00\xff"[..], "bytes");
        let error = Outer(Middle(fmt::Error));
        info!(error = &error as &(dyn Error + 'static), next = 1, "errors");
        info!(error = &fmt::Error as &(dyn Error + 'static), "errors");
        info!(error = %fmt::Error, again = ?fmt::Error, "errors");
        for length in 0..40 {
            let text = "x".repeat(length);
            info!(text, quoted = format!("{text}\""), "{text}");
        }
    });
}

#[test]
fn floats_look_as_they_did() {
    are_the_same(|| {
        let odd = [
            0.0,
            -0.0,
            0.1,
            -0.1,
            0.05,
            1.0,
            12.3,
            1234.5,
            1e13,
            99_999_999_999_999.9,
            1e14,
            1e15,
            1e16,
            1.5e16,
            1e21,
            1e300,
            1e-4,
            1e-5,
            1e-7,
            0.30000000000000004,
            123_456.75,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::EPSILON,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        for value in odd {
            info!(value, narrow = value as f32, "{value}");
        }
        for tenths in (0..20_000u32).step_by(7) {
            let value = f64::from(tenths) / 10.0;
            info!(value, sum = value + 0.1);
        }
    });
}

#[test]
fn messages_and_names_look_as_they_did() {
    are_the_same(|| {
        info!("a literal");
        info!("");
        info!(message = "a field");
        info!(message = %"a field that is displayed", other = 1);
        info!(message = 5, other = 1);
        info!(alone = 1);
        let (method, path) = ("GET", "/v1/models?x=\"y\"\\");
        info!(status = 200u16, "{method} {path}");
        info!("\x1b[31mred\x07\x08\x0c\x7f \u{9b}31m, a\ttab, größer Â");
        info!(http.method = "GET", "quoted name" = 1, r#type = 2, "a name");
        let names = (1, 2);
        info!(?names);
        trace!(a = 1, "trace");
        debug!(a = 1, "debug");
        warn!(a = 1, "warn");
        error!(a = 1, "error");
        event!(target: "elsewhere::\"here\"", Level::INFO, "a target of its own");
        info!(name: "named", "an event with a name");
    });
}

#[test]
fn spans_look_as_they_did() {
    are_the_same(|| {
        let request = info_span!("request", id = %"req_1");
        request.in_scope(|| {
            info!("inside");
            warn!(status = 502, "a neighbour failed");
            let plain = trace_span!("without fields");
            plain.in_scope(|| {
                info!("deeper");
                let more = error_span!("more", z = 1, a = "x \"y\"", m = 0.5, empty = field::Empty);
                more.in_scope(|| {
                    info!("deepest");
                    more.record("empty", 7);
                    info!("with what was recorded");
                    more.record("a", "again");
                    info!("twice");
                });
                info!(parent: &request, "for another");
                info!(parent: None, "for nobody");
            });
            request.in_scope(|| info!("entered twice"));
            let root = info_span!(parent: None, "root", late = field::Empty);
            root.record("late", field::debug("x\"y"));
            info!(parent: &root, "a root");
        });
        info!(parent: &request, "outside, for it");
        info!("outside");
        let odd = info_span!(
            "odd \"name\"",
            big = u64::MAX,
            small = i64::MIN,
            none = None::<u8>,
            yes = true,
            not = f64::NAN,
            huge = u128::MAX
        );
        odd.in_scope(|| info!("in an odd one"));
    });
}

#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    let log = || {
        let forged = "gone\r\nTIME ERROR forged\x1b[2J\u{85}\0";
        let span = info_span!("request", id = %forged);
        span.in_scope(|| warn!(error = %forged, debug = ?forged, text = forged, "{forged}"));
        let error = Outer(Middle(fmt::Error));
        info!(error = &error as &(dyn Error + 'static), "{}", forged);
    };
    let seen = r"gone\r\nTIME ERROR forged\x1b[2J\u{85}\x00";

    for form in FORMS {
        let lines = ours(form, log);

        assert_eq!(lines.lines().count(), 2, "{lines}");
        let stray = |c: char| c.is_control() && !matches!(c, '\n' | '\x1b');
        assert!(!lines.contains(stray), "{lines:?}");
        assert!(!lines.contains("\x1b[2J"), "{lines:?}");
        if matches!(form, Form::Json) {
            for line in lines.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(event["message"], "gone\r\nTIME ERROR forged\x1b[2J\u{85}\0");
            }
        }
    }
    let text = ours(Form::Text(Ink::Black), log);
    let expected = format!("TIME  WARN request{{id={seen}}}: {seen} error={seen} debug=");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn the_level_is_followed_with_spans_and_without() {
    let paper = Paper::default();
    let queue = Queue::start(paper.clone()).unwrap();
    let (filter, handle) = Filter::new("info");
    let lines = Lines {
        form: Form::Text(Ink::Black),
        queue: queue.clone(),
    };
    let log = |when: &str| {
        debug!("{when}: outside");
        info_span!("request", id = 1).in_scope(|| debug!("{when}: in request 1"));
        info_span!("request", id = 2).in_scope(|| debug!("{when}: in request 2"));
        info_span!("other").in_scope(|| debug!("{when}: in another"));
        info!("{when}: info");
    };
    let subscriber = Registry::default().with(filter).with(lines);

    tracing::subscriber::with_default(subscriber, || {
        log("info");
        handle.set("debug");
        log("debug");
        handle.set("info,[request]=debug");
        log("in spans");
        handle.set("warn,[request{id=2}]=debug");
        log("in one span");
        handle.set("off,groundwire::telemetry=info");
        log("of a module");
        handle.set("off");
        log("off");
    });
    queue.end(Duration::from_secs(10));

    let text = timeless(&paper.text());
    let told: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.split_once("O ")
                .or_else(|| line.split_once("G "))
                .map(|(_, told)| told)
        })
        .collect();
    let expected = [
        "info: info",
        "debug: outside",
        "request{id=1}: debug: in request 1",
        "request{id=2}: debug: in request 2",
        "other: debug: in another",
        "debug: info",
        "request{id=1}: in spans: in request 1",
        "request{id=2}: in spans: in request 2",
        "in spans: info",
        "request{id=2}: in one span: in request 2",
        "of a module: info",
    ];
    assert_eq!(told, expected);
}
