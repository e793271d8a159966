//! Events as the gateway writes them: data and comments, never an id, a name or a reconnection time.

use bytes::Bytes;

/// OpenAI's last event: `data: [DONE]`.
pub static DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What the last event says.
pub(super) const DONE_DATA: &[u8] = b"[DONE]";

/// Writes one event with this data, one `data:` line for each of its lines.
///
/// No data gives no bytes: OpenAI's clients take an empty `data:` for broken JSON.
pub fn data(data: &[u8]) -> Bytes {
    if data.is_empty() {
        return Bytes::new();
    }
    event(b"data: ", data)
}

/// Writes a comment, which every client skips: a heartbeat.
pub fn comment(text: &str) -> Bytes {
    event(b": ", text.as_bytes())
}

/// A line end inside `text` would end the line, or the event, wherever the reader saw fit: each line gets its own prefix.
fn event(prefix: &[u8], text: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(prefix.len() + text.len() + 2);
    let mut rest = text;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
        event.extend_from_slice(prefix);
        event.extend_from_slice(line);
        event.push(b'\n');
        rest = match after {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => b"",
        };
    }
    event.extend_from_slice(prefix);
    event.extend_from_slice(rest);
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_data_is_one_event() {
        assert_eq!(data(br#"{"a":1}"#), "data: {\"a\":1}\n\n");
    }

    #[test]
    fn a_line_end_inside_data_does_not_end_the_event() {
        assert_eq!(
            data(b"a\n\nb\r\nc\rd"),
            "data: a\ndata: \ndata: b\ndata: c\ndata: d\n\n"
        );
    }

    #[test]
    fn no_data_gives_no_event() {
        assert_eq!(data(b""), "");
    }

    #[test]
    fn a_comment_stays_a_comment_in_every_line() {
        assert_eq!(comment("ping"), ": ping\n\n");
        assert_eq!(comment("a\ndata: b"), ": a\n: data: b\n\n");
    }
}
