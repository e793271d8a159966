//! The event stream decoder: any bytes, cut anywhere, and what it promises about them.

use bytes::Bytes;
use groundwire::sse::{DecodeError, Decoder, Event, Payload};

const NO_LIMIT: usize = usize::MAX;
const SMALL_LIMIT_BYTES: usize = 48;

/// What a decoder gives for a whole body.
pub(crate) type Decoded = Vec<Result<Event, DecodeError>>;

/// Checks every promise on one body.
pub(crate) fn check(body: &[u8]) {
    let whole = decode(body, &[], NO_LIMIT);
    for size in [1, 2, 3, 7, 64] {
        let cuts: Vec<_> = (1..)
            .map(|n| n * size)
            .take_while(|at| *at < body.len())
            .collect();
        assert_eq!(decode(body, &cuts, NO_LIMIT), whole, "reads of {size}");
    }
    keeps_every_byte(body, &whole);
    agrees_with_the_standard(body, &whole);
    relays_what_clients_can_read(&whole);
    keeps_the_limit(body, &whole);
}

/// Decodes `body`, cut at these places, with events of at most `limit_bytes`.
pub(crate) fn decode(body: &[u8], cuts: &[usize], limit_bytes: usize) -> Decoded {
    let mut decoder = Decoder::new(limit_bytes);
    let mut decoded = Vec::new();
    let mut rest = Bytes::copy_from_slice(body);
    let mut read_to = 0;
    for cut in cuts.iter().chain([&body.len()]) {
        // A read of its own allocation, as from a socket, so that nothing can lean on what lies after it.
        let read = rest.split_to(cut.saturating_sub(read_to).min(rest.len()));
        read_to = read_to.max(*cut);
        decoder.push(Bytes::copy_from_slice(&read));
        decoded.extend(std::iter::from_fn(|| decoder.next()));
        assert!(
            decoder.held_bytes() <= limit_bytes,
            "more is held than the limit"
        );
    }
    decoded.extend(std::iter::from_fn(|| decoder.finish()));
    assert_eq!(decoder.held_bytes(), 0, "something is held after the end");
    decoded
}

/// The raw bytes of the events are the body, but for the line ends between them, a byte-order mark and added line ends at the end.
fn keeps_every_byte(body: &[u8], decoded: &Decoded) {
    if decoded.iter().any(Result::is_err) {
        return;
    }
    let mut rest = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    for event in decoded.iter().flatten() {
        rest = without_line_ends(rest);
        if !event.is_whole() {
            let added = event.raw().strip_prefix(rest);
            assert!(
                added
                    .is_some_and(|added| (1..=4).contains(&added.len())
                        && without_line_ends(added).is_empty()),
                "the cut event is not the rest of the body"
            );
            rest = b"";
            continue;
        }
        let after = rest.strip_prefix(event.raw().as_ref());
        assert!(after.is_some(), "{event:?} is not what came at {rest:?}");
        rest = after.unwrap_or_default();
    }
    assert!(without_line_ends(rest).is_empty(), "lost: {rest:?}");
}

/// The data are those of a plain parser after the standard's text, but for blank ones.
fn agrees_with_the_standard(body: &[u8], decoded: &Decoded) {
    let data = decoded.iter().filter_map(|event| match event {
        Ok(event) => match event.payload() {
            Payload::Data(data) => Some(Ok(data.to_vec())),
            Payload::Done => Some(Ok(b"[DONE]".to_vec())),
            Payload::Comment | Payload::Empty | Payload::Stray(_) => None,
        },
        Err(error) => Some(Err(*error)),
    });
    let mut standard = standard(body).into_iter();
    for ours in data {
        let theirs = standard.next();
        match ours {
            Ok(data) if data == b"[DONE]" => {
                assert_eq!(theirs.as_deref().map(str::trim_ascii), Some("[DONE]"));
            }
            Ok(data) => assert_eq!(theirs.as_deref().map(str::as_bytes), Some(data.as_slice())),
            // The standard puts U+FFFD where bytes are no UTF-8; such data the gateway does not take.
            Err(error) => {
                assert_eq!(error, DecodeError::InvalidUtf8);
                assert!(theirs.is_some_and(|data| data.contains('\u{FFFD}')));
            }
        }
    }
    assert_eq!(standard.next(), None);
}

/// What is sent on is, in the middle of a stream, one clean event that says the same.
fn relays_what_clients_can_read(decoded: &Decoded) {
    for event in decoded.iter().flatten() {
        let payload = event.payload();
        let Some(relayed) = event.clone().relayed() else {
            assert_eq!(payload, &Payload::Empty);
            continue;
        };
        // At the start of a stream, a mark that begins an event would be taken for the stream's.
        let stream = [b":\n\n".as_slice(), &relayed].concat();
        let again = decode(&stream, &[], NO_LIMIT);
        let [_, Ok(again)] = again.as_slice() else {
            unreachable!("{relayed:?} is not one event: {again:?}");
        };
        match payload {
            // Of an event without data, the comments are sent on.
            Payload::Empty => assert_eq!(again.payload(), &Payload::Comment),
            Payload::Data(_) | Payload::Done | Payload::Comment | Payload::Stray(_) => {
                assert_eq!(again.payload(), payload);
            }
        }
        assert!(again.is_whole());
        for line in standard_lines(&String::from_utf8_lossy(&relayed)) {
            let name = line.split(':').next();
            assert!(!matches!(name, Some("id" | "event" | "retry")), "{line}");
        }
        let twice = again.clone().relayed();
        assert_eq!(twice, Some(relayed), "relaying twice differs");
    }
}

/// With a limit, everything is the same up to the first event that is longer, which is the last item and an error.
fn keeps_the_limit(body: &[u8], unlimited: &Decoded) {
    let limit_bytes = SMALL_LIMIT_BYTES;
    let whole = decode(body, &[], limit_bytes);
    let every_byte: Vec<_> = (1..body.len()).collect();
    assert_eq!(decode(body, &every_byte, limit_bytes), whole);

    let refused = Err(DecodeError::TooLong { limit_bytes });
    for (index, event) in whole.iter().enumerate() {
        if *event == refused {
            assert_eq!(index + 1, whole.len(), "an event came after the error");
            let longer = unlimited.get(index).and_then(|event| event.as_ref().ok());
            assert!(longer.is_none_or(|event| event.raw().len() > limit_bytes));
            return;
        }
        assert_eq!(Some(event), unlimited.get(index));
        let added = 4;
        assert!(event.as_ref().map_or(0, |event| event.raw().len()) <= limit_bytes + added);
    }
    assert_eq!(whole.len(), unlimited.len());
}

/// Parses as <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation> tells, word by word, but for
/// two things: a last event without blank line is dispatched, and blank data are not.
fn standard(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut events = Vec::new();
    let mut data = String::new();
    for line in standard_lines(text).into_iter().chain([""]) {
        if line.is_empty() {
            let event = std::mem::take(&mut data);
            let event = event.strip_suffix('\n').unwrap_or(&event);
            if !event.trim_ascii().is_empty() {
                events.push(event.to_owned());
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name == "data" {
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
            data.push('\n');
        }
    }
    events
}

fn standard_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\r', '\n']) {
        let (line, after) = rest.split_at(end);
        lines.push(line);
        rest = after.strip_prefix("\r\n").or(after.get(1..)).unwrap_or("");
    }
    lines.push(rest);
    lines
}

fn without_line_ends(bytes: &[u8]) -> &[u8] {
    let end = |byte: &u8| !matches!(byte, b'\r' | b'\n');
    let first = bytes.iter().position(end).unwrap_or(bytes.len());
    bytes.split_at(first).1
}
