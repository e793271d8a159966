//! What holds for any input: any cut of the same bytes gives the same events, and no bytes break the decoder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use groundwire::sse::Decoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use targets::decoder::{self, Decoded};

/// Streams as providers send them, after `tests/data/streams`, with LF.
const STREAMS: &[&str] = &[
    include_str!("../data/streams/alibaba_tool.sse"),
    include_str!("../data/streams/azure.sse"),
    include_str!("../data/streams/cut_in_an_event.sse"),
    include_str!("../data/streams/deepseek_tool.sse"),
    include_str!("../data/streams/groq_tool.sse"),
    include_str!("../data/streams/heartbeats.sse"),
    include_str!("../data/streams/json_error_body.sse"),
    include_str!("../data/streams/legacy.sse"),
    include_str!("../data/streams/llama_cpp_error.sse"),
    include_str!("../data/streams/mistral.sse"),
    include_str!("../data/streams/moonshot.sse"),
    include_str!("../data/streams/no_space_no_end.sse"),
    include_str!("../data/streams/openai.sse"),
    include_str!("../data/streams/openrouter_error.sse"),
    include_str!("../data/streams/scaleway_reasoning.sse"),
    include_str!("../data/streams/several_lines.sse"),
    include_str!("../data/streams/vllm_error.sse"),
    include_str!("../data/streams/xai.sse"),
];

const LIMIT_BYTES: usize = 1 << 20;

/// Writes a stream's line ends anew, each as the next of `ends` says, with a byte-order mark in front when it asks for one.
fn with_line_ends(stream: &str, ends: &[&str], mark: &str) -> Vec<u8> {
    let ends = ends.iter().cycle();
    let mut body = mark.to_owned();
    for (line, end) in stream.split_inclusive('\n').zip(ends) {
        match line.strip_suffix('\n') {
            Some(text) => body.extend([text, end]),
            None => body.push_str(line),
        }
    }
    body.into_bytes()
}

fn relayed(decoded: &Decoded) -> Vec<u8> {
    let events = decoded.iter().flatten().cloned();
    events
        .filter_map(|event| event.relayed())
        .flatten()
        .collect()
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![
        Just(vec!["\n"]),
        Just(vec!["\r\n"]),
        Just(vec!["\r"]),
        vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 1..40),
    ];
    let mark = prop::sample::select(vec!["", "", "", "\u{feff}"]);
    (prop::sample::select(STREAMS), ends, mark)
        .prop_map(|(stream, ends, mark)| with_line_ends(stream, &ends, mark))
}

/// Bytes that look like events more often than chance would have it.
fn event_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "\n", "\r", "\r\n", "\n\n", ":", " ", "data", "data:", "data: ", "id", "event:", "retry: 1", "[DONE]", "{\"a\":1}",
            "\u{feff}", "é", "🙂", "error: ",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_a_recorded_stream_gives_the_same_events_and_bytes(
        body in body(),
        cuts in prop_oneof![vec(any::<Index>(), 0..4), vec(any::<Index>(), 4..200)],
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();

        let whole = decoder::decode(&body, &[], LIMIT_BYTES);
        let cut = decoder::decode(&body, &cuts, LIMIT_BYTES);

        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(relayed(&cut), relayed(&whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_promise_of_the_decoder(body in prop_oneof![event_like(), vec(any::<u8>(), 0..300)]) {
        decoder::check(&body);
    }
}

#[test]
fn recorded_streams_are_read_as_the_standard_tells_with_any_line_ends() {
    for stream in STREAMS {
        for ends in [&["\n"][..], &["\r\n"], &["\r"], &["\r", "\n", "\r\n"]] {
            decoder::check(&with_line_ends(stream, ends, ""));
        }
    }
}

#[test]
fn a_clean_recorded_stream_is_relayed_byte_for_byte() {
    let clean = STREAMS
        .iter()
        .filter(|stream| stream.ends_with("\n\n") && !stream.contains("\nid: "));
    let mut streams = 0;
    for stream in clean {
        for end in ["\n", "\r\n", "\r"] {
            let body = with_line_ends(stream, &[end], "");
            let decoded = decoder::decode(&body, &[], LIMIT_BYTES);
            assert_eq!(relayed(&decoded), body);
        }
        streams += 1;
    }
    assert_eq!(streams, 14);
}

#[test]
fn a_recorded_stream_says_the_same_with_every_kind_of_line_end() {
    for stream in STREAMS {
        let payloads = |end| -> Vec<_> {
            decoder::decode(
                &with_line_ends(stream, &[end], "\u{feff}"),
                &[],
                LIMIT_BYTES,
            )
            .into_iter()
            .map(|event| event.map(|event| event.payload().clone()))
            .collect()
        };
        let with_lf = payloads("\n");
        assert_eq!(payloads("\r\n"), with_lf);
        assert_eq!(payloads("\r"), with_lf);
    }
}

#[test]
fn a_long_line_in_small_reads_takes_linear_time() {
    // eventsource-stream alone looks at all of the line again for every read: 65,536 reads would be 34 GB.
    let mut decoder = Decoder::new(LIMIT_BYTES);
    let mut rooms = BTreeSet::new();
    for _ in 0..LIMIT_BYTES / 16 {
        decoder.push(Bytes::from_static(b"data: 0123456789"));
        assert_eq!(decoder.next(), None);
        rooms.insert(decoder.held_bytes());
    }

    let event = decoder.finish().unwrap().unwrap();

    assert_eq!(event.raw().len(), LIMIT_BYTES + 2);
    // Each new room may cost a copy of what is held.
    assert!(rooms.len() < 20, "{} rooms", rooms.len());
}

#[test]
fn every_seed_of_the_fuzzer_passes() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, check) in targets::ALL {
        let folder = seeds.join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let mut seen = 0;
        for file in files {
            check(&fs::read(file.unwrap().path()).unwrap());
            seen += 1;
        }
        assert!(seen > 0, "{name} has no seeds");
    }
}
