//! What runs for each request and for each event, without sockets, each as one operation that can be repeated.
//!
//! Three look at these: `benches/paths.rs` takes their time, `examples/hot_paths.rs` lets valgrind count their instructions
//! (`.ci/instructions`), and `tests/allocations` counts what they allocate.

mod telemetry;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use groundwire::{
    access::{KeyLimits, Limiter, Scope},
    config::{self, InjectAs, Mode, Sources},
    openai::{ChatRequest, Object, chunk::Family},
    rag::{
        self, Progress, answer, citations,
        links::{Links, Signer},
        passages::{Bounds, Selection, Style},
        prompt::Grounding,
        report::{Report, Timings},
        stream::{self as outgoing, Outgoing, Relay},
    },
    retrieval::{Passage, SearchQuery, Source, lighton},
    sse::Events,
    upstream,
};
use serde_json::json;

/// One operation: its name, and what makes it ready to run again and again.
pub(crate) struct HotPath {
    pub(crate) name: &'static str,
    pub(crate) prepare: fn() -> Operation,
}

/// Something that can be run again and again; what it gives keeps the compiler from leaving it out.
pub(crate) type Operation = Box<dyn FnMut() -> usize>;

/// All of them. The streams have a hundred events each, in reads of one event, but for the burst, which comes in one read.
pub(crate) const ALL: [HotPath; 17] = [
    path("request_off", request_off),
    path("request_inject", request_inject),
    path("read_search", read_search),
    path("pack_passages", pack_passages),
    path("scan_markers", scan_markers),
    path("finish_inject", || finish(None)),
    path("finish_cited", || finish(Some(links()))),
    path("stream_off", || {
        streamed(Upstream::Paced, Key::Free, || None)
    }),
    path("stream_off_metered", || {
        streamed(Upstream::Paced, Key::Metered, || None)
    }),
    path("stream_inject", || {
        streamed(Upstream::Paced, Key::Free, || Some(grounding(None)))
    }),
    path("stream_inject_metered", || {
        streamed(Upstream::Paced, Key::Metered, || Some(grounding(None)))
    }),
    path("stream_cited", || {
        streamed(Upstream::Paced, Key::Free, || {
            Some(grounding(Some(links())))
        })
    }),
    path("stream_off_burst", || {
        streamed(Upstream::Burst, Key::Free, || None)
    }),
    path("telemetry_span", telemetry::span),
    path("telemetry_line", telemetry::line),
    path("telemetry_record", telemetry::record),
    path("telemetry", telemetry::observed),
];

const fn path(name: &'static str, prepare: fn() -> Operation) -> HotPath {
    HotPath { name, prepare }
}

/// The events of each stream.
const EVENTS: usize = 100;

/// How events come from the upstream.
#[derive(Clone, Copy)]
pub(crate) enum Upstream {
    /// Each in a read of its own.
    Paced,
    /// All in one read.
    Burst,
}

fn request_off() -> Operation {
    Box::new(
        || match ChatRequest::parse(Bytes::from_static(REQUEST.as_bytes())) {
            Ok(request) => request.body("model").len(),
            Err(_) => 0,
        },
    )
}

fn request_inject() -> Operation {
    let selection = selection();
    Box::new(move || {
        let Ok(mut request) = ChatRequest::parse(Bytes::from_static(REQUEST.as_bytes())) else {
            return 0;
        };
        let grounding = Grounding {
            selection: &selection,
            style: Style::Plain,
            inject_as: InjectAs::System,
            template: None,
            question: "",
        };
        grounding.put_into(request.messages_mut());
        request.body("model").len()
    })
}

/// LightOn's answer, with all that one has in it.
fn read_search() -> Operation {
    let result = |passage: Passage| {
        json!({
            "chunk_id": passage.chunk_id,
            "content": passage.content,
            "score": passage.score,
            "scores": {"text": 0.92, "vision": null, "keyword": 11.4, "multivector": 24.8, "relevance": 0.95},
            "source": {
                "file_id": passage.source.file_id, "filename": passage.source.filename, "title": "Data policy",
                "mime_type": "pdf", "size_bytes": 482_113, "page_start": 3, "page_end": 4, "total_pages": 12,
                "tags": [{"id": 7, "name": "security"}], "content_types": [], "external_metadata": null,
            },
            "workspace": {"id": 42, "name": "Engineering Docs"},
            "image": null,
            "bboxes": null,
        })
    };
    let results: Vec<_> = passages().into_iter().map(result).collect();
    let body = json!({"results": results, "warnings": []}).to_string();
    let query = SearchQuery::new("a question");
    Box::new(move || {
        lighton::read_answer(body.as_bytes(), &query).map_or(0, |found| found.passages.len())
    })
}

fn pack_passages() -> Operation {
    let passages = passages();
    Box::new(move || {
        let mut selection = Selection::default();
        selection.add(passages.clone(), &BOUNDS);
        selection.context(Style::Numbered).len()
    })
}

fn scan_markers() -> Operation {
    let content = CONTENT.repeat(5);
    Box::new(move || citations::markers(&content).len())
}

fn finish(links: Option<Links>) -> Operation {
    let report = grounding(None).report;
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1763800000,"model":"model","choices":[{{"index":0,"message":{{"role":"assistant","content":"{CONTENT}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1200,"completion_tokens":60,"total_tokens":1260}}}}"#
    );
    let body = Bytes::from(body);
    Box::new(move || match Object::read(body.clone()) {
        Ok(object) => answer::finish(object, report.clone(), links.as_ref()).len(),
        Err(_) => 0,
    })
}

/// Whose answer it is.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    /// A key without limits.
    Free,
    /// One whose tokens are limited.
    Metered,
}

fn streamed(
    upstream: Upstream,
    key: Key,
    grounding: fn() -> Option<outgoing::Grounding>,
) -> Operation {
    let reads = reads(upstream, EVENTS);
    let limits = limits();
    Box::new(move || drain(relay(&reads, progress(key, &limits), grounding())))
}

/// The limits of a key whose tokens are limited.
pub(crate) fn limits() -> Arc<KeyLimits> {
    let key = config::Key {
        name: "acme".to_owned(),
        sha256: Vec::new(),
        expires: None,
        disabled: false,
        scope: config::KeyScope::Every,
        search_api_key: None,
        models: None,
        upstreams: None,
        allow_overrides: None,
        limits: config::KeyLimits {
            tokens_per_minute: Some(u32::MAX),
            ..config::KeyLimits::default()
        },
        rag: config::RagLayer::default(),
    };
    let limiter = Limiter::new(&[key], None, None).ok();
    match limiter.and_then(|limiter| limiter.of("acme")) {
        Some(limits) => limits,
        None => std::process::abort(),
    }
}

/// The progress of an answer that a key asked for.
pub(crate) fn progress(key: Key, limits: &Arc<KeyLimits>) -> Arc<Progress> {
    let progress = Progress::default();
    if let (Key::Metered, Some(Ok(Some(reservation)))) =
        (key, limits.reserve(1, Instant::now()).now_or_never())
    {
        progress.tally.hold(reservation, 1);
    }
    Arc::new(progress)
}

/// What comes from an upstream for an answer of so many events.
pub(crate) fn reads(upstream: Upstream, events: usize) -> Vec<Bytes> {
    let event = |index: usize| {
        let text = if index % 10 == 9 {
            " [1]"
        } else {
            " retention"
        };
        let finish = if index + 1 == events {
            r#""stop""#
        } else {
            "null"
        };
        format!(
            r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763800000,"model":"model","system_fingerprint":"fp_00000000001234567890","service_tier":"default","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":{finish}}}]}}"#
        ) + "\n\n"
    };
    let events: Vec<String> = (0..events)
        .map(event)
        .chain(["data: [DONE]\n\n".to_owned()])
        .collect();
    let reads = match upstream {
        Upstream::Paced => events,
        Upstream::Burst => vec![events.concat()],
    };
    // Cloned once, as a read of a connection is: a slice of it is a count and no allocation.
    let shared = |read| {
        let read = Bytes::from(read);
        drop(read.clone());
        read
    };
    reads.into_iter().map(shared).collect()
}

/// An answer on its way to the client.
pub(crate) fn relay(
    reads: &[Bytes],
    progress: Arc<Progress>,
    grounding: Option<outgoing::Grounding>,
) -> impl Stream<Item = Result<Bytes, rag::Error>> + Unpin + use<> {
    let body = stream::iter(reads.to_vec()).map(Ok::<_, Infallible>);
    let events = Events::new(body, 1 << 20).map_err(|_| upstream::Error::Truncated {
        upstream: "upstream".to_owned(),
    });
    let mut outgoing = Outgoing::new(
        Family::Chat,
        "upstream",
        "model",
        progress,
        Timings::default(),
        true,
    );
    if let Some(grounding) = grounding {
        outgoing = outgoing.grounded(grounding);
    }
    Relay::new(events, outgoing)
}

/// Takes all pieces of an answer; gives their bytes together.
pub(crate) fn drain(mut relay: impl Stream<Item = Result<Bytes, rag::Error>> + Unpin) -> usize {
    let mut bytes = 0;
    while let Some(Some(Ok(piece))) = relay.next().now_or_never() {
        bytes += piece.len();
    }
    bytes
}

/// What grounding adds; cited where there are links.
pub(crate) fn grounding(links: Option<Links>) -> outgoing::Grounding {
    let mut report = Report::new(Mode::Inject, Sources::Full);
    report.selection = selection();
    outgoing::Grounding {
        report,
        links,
        told: false,
    }
}

fn links() -> Links {
    let settings = config::Links {
        secret: Some(config::Secret::new("secret")),
        ttl: Duration::from_secs(86_400),
    };
    match Signer::new(&settings) {
        Ok(signer) => signer.links("https://gateway.example"),
        Err(_) => std::process::abort(),
    }
}

const BOUNDS: Bounds<'static> = Bounds {
    scope: &Scope::Every,
    min_relevance: 0.0,
    budget: 8000,
    style: Style::Numbered,
};

fn selection() -> Selection {
    let mut selection = Selection::default();
    selection.add(passages(), &BOUNDS);
    selection
}

/// Five passages of about 800 characters.
fn passages() -> Vec<Passage> {
    let passage = |number: i64| Passage {
        chunk_id: format!("550e8400-e29b-41d4-a716-44665544000{number}"),
        content: format!("Section {number}. {}", SENTENCE.repeat(8)),
        score: 0.95,
        scores: Default::default(),
        source: Source {
            file_id: 510 + number,
            filename: format!("policy-{number}.pdf"),
            page_start: Some(3),
            ..Source::default()
        },
        workspace: None,
        image: None,
        bboxes: None,
    };
    (1..=5).map(passage).collect()
}

const SENTENCE: &str = "Invoices of former customers are kept for ten years, and deleted in the month after that by the archive. ";

const CONTENT: &str = "Invoices of former customers are kept for ten years [1]. The data protection officer decides on exceptions [2], \
                       and the copies in Lyon are destroyed within a month after that [1][3]. ";

const REQUEST: &str = concat!(
    r#"{"model":"handbook","messages":[{"role":"system","content":"You are the assistant of Example Manufacturing. Answer briefly and in "#,
    r#"the language of the question. If you are not sure, say so and name the department that knows."},{"role":"user","content":"How long do "#,
    r#"we keep the invoices of former customers, who decides on exceptions, and what happens to the copies in the archive of the Lyon site "#,
    r#"after that time?"}],"temperature":0.3,"max_tokens":512,"stream":true,"stream_options":{"include_usage":true}}"#,
);
