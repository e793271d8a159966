//! A model provider and LightOn in one, with canned answers over the least HTTP that serves: it must never be what is measured.
//!
//! A request says in its own text what it wants: `"stream":true`, and `"bench":"100/20"` for 100 events at 20 ms. With the search tool on
//! offer and no result of it in the conversation, the answer is a call of that tool. Each event carries the time at which it was sent.

mod shared;

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{Arc, LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use memchr::memmem;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep_until,
};
use tokio_util::task::TaskTracker;

use crate::{Error, client::nanoseconds};

/// Stands before the time of sending in each event: the time takes the place of OpenAI's padding.
pub(crate) const STAMP: &str = r#""obfuscation":""#;

/// The digits of that time, in nanoseconds.
const STAMP_DIGITS: usize = 20;

/// What times are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a search finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// How many passages.
    pub(crate) passages: usize,
    /// How long each is.
    pub(crate) characters: usize,
}

/// Where the stand-in listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standin {
    /// For HTTP/1.1.
    pub(crate) address: SocketAddr,
    /// For HTTP/2, as plain text and without asking first.
    pub(crate) shared: SocketAddr,
}

/// Starts the stand-in in a thread of its own, which ends with the process.
pub(crate) fn start(found: Found) -> Result<Standin, Error> {
    LazyLock::force(&EPOCH);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let shared = TcpListener::bind("127.0.0.1:0").await?;
            // Nobody listens any more only when the bench has ended.
            let _ = tell.send(Standin {
                address: listener.local_addr()?,
                shared: shared.local_addr()?,
            });
            let answers = Arc::new(Answers::new(found));
            let over_http2 = shared::accept(shared, Arc::clone(&answers));
            tokio::try_join!(accept(listener, answers), over_http2)
        })
    });
    Ok(told.recv()?)
}

async fn accept(listener: TcpListener, answers: Arc<Answers>) -> io::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        // A connection ends when its client closes it; what it says then concerns nobody.
        connections.spawn(serve(socket, Arc::clone(&answers)));
    }
}

async fn serve(mut socket: TcpStream, answers: Arc<Answers>) -> io::Result<()> {
    let mut heard = Vec::with_capacity(16 << 10);
    while let Some(length) = read_request(&mut socket, &mut heard).await? {
        let request = heard.get(..length).unwrap_or_default();
        match Wanted::read(request) {
            Wanted::Search => socket.write_all(&answers.search).await?,
            Wanted::Whole => socket.write_all(&answers.whole).await?,
            Wanted::WholeCall => socket.write_all(&answers.call).await?,
            Wanted::StreamedCall => socket.write_all(&answers.streamed_call).await?,
            Wanted::Stream { events, gap } => stream(&mut socket, events, gap).await?,
        }
        heard.drain(..length);
    }
    Ok(())
}

/// Reads until a whole request is there, and says how long it is; `None` at the end of the connection.
async fn read_request(socket: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = memmem::find(heard, b"\r\n\r\n") {
            let head = heard.get(..end + 4).unwrap_or_default();
            let length = head.len() + content_length(head).unwrap_or(0);
            if heard.len() >= length {
                return Ok(Some(length));
            }
        }
        if socket.read_buf(heard).await? == 0 {
            return Ok(None);
        }
    }
}

/// The length of the body that follows `head`, where it says so.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse().ok())
}

/// What a request asks for.
enum Wanted {
    Search,
    Whole,
    WholeCall,
    StreamedCall,
    Stream { events: u32, gap: Duration },
}

impl Wanted {
    fn read(request: &[u8]) -> Self {
        let has = |text: &str| memmem::find(request, text.as_bytes()).is_some();
        if request.starts_with(b"POST /api/v3/search") {
            return Self::Search;
        }
        let calls = has(r#""lighton_search""#) && !has(r#""role":"tool""#);
        match (has(r#""stream":true"#), calls) {
            (false, false) => Self::Whole,
            (false, true) => Self::WholeCall,
            (true, true) => Self::StreamedCall,
            (true, false) => {
                let (events, gap) = pace(request).unwrap_or((100, 0));
                Self::Stream {
                    events,
                    gap: Duration::from_millis(gap),
                }
            }
        }
    }
}

fn pace(request: &[u8]) -> Option<(u32, u64)> {
    let start = memmem::find(request, br#""bench":""#)? + 9;
    let text = std::str::from_utf8(request.get(start..)?).ok()?;
    let (events, gap) = text.split_once('"')?.0.split_once('/')?;
    Some((events.parse().ok()?, gap.parse().ok()?))
}

async fn stream(socket: &mut TcpStream, events: u32, gap: Duration) -> io::Result<()> {
    let began = tokio::time::Instant::now();
    let mut out = String::from(STREAM_HEAD);
    for index in 0..events {
        if !gap.is_zero() && index > 0 {
            sleep_until(began + gap * index).await;
        }
        push_event(&mut out, &text_event(index, events));
        if !gap.is_zero() {
            socket.write_all(out.as_bytes()).await?;
            out.clear();
        }
    }
    push_event(&mut out, USAGE_EVENT);
    push_event(&mut out, "data: [DONE]\n\n");
    out.push_str("0\r\n\r\n");
    socket.write_all(out.as_bytes()).await
}

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

const USAGE_EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1763800000,"model":"bench","choices":[],"#,
    r#""usage":{"prompt_tokens":1200,"completion_tokens":100,"total_tokens":1300}}"#,
    "\n\n"
);

/// One event of an answer; every tenth cites a passage.
fn text_event(index: u32, events: u32) -> String {
    let (role, text) = match index {
        0 => (r#""role":"assistant","#, "According"),
        index if index % 10 == 9 => ("", " [1]"),
        _ => ("", " retention"),
    };
    let finish = if index + 1 == events {
        r#""stop""#
    } else {
        "null"
    };
    let now = nanoseconds(EPOCH.elapsed());
    format!(
        concat!(
            r#"data: {{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1763800000,"model":"bench","#,
            r#""system_fingerprint":"fp_bench","service_tier":"default","#,
            r#""choices":[{{"index":0,"delta":{{{role}"content":"{text}"}},"logprobs":null,"finish_reason":{finish}}}],"#,
            r#"{stamp}{now:0digits$}"}}"#,
            "\n\n"
        ),
        stamp = STAMP,
        now = now,
        digits = STAMP_DIGITS,
        role = role,
        text = text,
        finish = finish,
    )
}

fn push_event(out: &mut String, event: &str) {
    // Writing to a `String` does not fail.
    let _ = write!(out, "{:x}\r\n{event}\r\n", event.len());
}

/// The next stamp of `heard` behind `scanned`, which moves past it.
pub(crate) fn next_stamp(heard: &[u8], scanned: &mut usize) -> Option<u64> {
    let start = *scanned + memmem::find(heard.get(*scanned..)?, STAMP.as_bytes())? + STAMP.len();
    let digits = heard.get(start..start + STAMP_DIGITS)?;
    *scanned = start + STAMP_DIGITS;
    // A proxy that cut the event here has put something between its digits: that one is left out.
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The nanoseconds from a stamp until `now`.
pub(crate) fn age(stamp: u64, now: Instant) -> u64 {
    nanoseconds(now - *EPOCH).saturating_sub(stamp)
}

/// The answers that are always the same, heads included.
struct Answers {
    search: Vec<u8>,
    whole: Vec<u8>,
    /// The same without its head.
    whole_body: String,
    call: Vec<u8>,
    streamed_call: Vec<u8>,
}

impl Answers {
    fn new(found: Found) -> Self {
        let numbers = 1..=found.passages;
        let results: Vec<_> = numbers
            .map(|number| passage(number, found.characters))
            .collect();
        let text = "Invoices of former customers are kept for ten years [1]. The data protection officer decides on exceptions \
                    [2], and the copies in Lyon are destroyed within a month after that [1][3].";
        let call = json!({"id": "call_1", "type": "function",
                          "function": {"name": "lighton_search", "arguments": "{\"query\": \"retention of invoices\"}"}});
        let spoken = json!({"role": "assistant", "content": text, "refusal": null});
        let called = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        Self {
            search: whole(&json!({"results": results})),
            whole: whole(&completion(&spoken, "stop")),
            whole_body: completion(&spoken, "stop").to_string(),
            call: whole(&completion(&called, "tool_calls")),
            streamed_call: streamed_call(call),
        }
    }
}

fn whole(body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn completion(message: &serde_json::Value, finish: &str) -> serde_json::Value {
    json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_763_800_000, "model": "bench",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1200, "completion_tokens": 60, "total_tokens": 1260}, "service_tier": "default",
    })
}

fn streamed_call(mut call: serde_json::Value) -> Vec<u8> {
    if let Some(call) = call.as_object_mut() {
        call.insert("index".to_owned(), json!(0));
    }
    let mut out = String::from(STREAM_HEAD);
    for (delta, finish) in [
        (
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            None,
        ),
        (json!({}), Some("tool_calls")),
    ] {
        let chunk = json!({
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_763_800_000, "model": "bench",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
        });
        push_event(&mut out, &format!("data: {chunk}\n\n"));
    }
    push_event(&mut out, USAGE_EVENT);
    push_event(&mut out, "data: [DONE]\n\n");
    out.push_str("0\r\n\r\n");
    out.into_bytes()
}

/// A result of a search in LightOn's shape, with a text that no other has.
fn passage(number: usize, characters: usize) -> serde_json::Value {
    let words = [
        "invoices",
        "retention",
        "archive",
        "customers",
        "officer",
        "exception",
        "period",
        "Lyon",
        "policy",
        "deleted",
    ];
    let mut content = format!("Section {number}.");
    for index in 0.. {
        let word = words
            .get((index * number + index / 7) % words.len())
            .unwrap_or(&"");
        if content.len() + 1 + word.len() > characters {
            break;
        }
        content.push(' ');
        content.push_str(word);
    }
    json!({
        "chunk_id": format!("550e8400-e29b-41d4-a716-{number:012}"), "content": content, "score": 0.95,
        "scores": {"text": 0.92, "vision": null, "keyword": 11.4, "multivector": 24.8, "relevance": 0.95},
        "source": {
            "file_id": 510 + number, "filename": format!("policy-{number}.pdf"), "title": "Data policy", "mime_type": "pdf",
            "size_bytes": 482_113, "page_start": number, "page_end": number + 1, "total_pages": 12,
            "tags": [{"id": 7, "name": "security"}], "content_types": [], "external_metadata": null,
        },
        "workspace": {"id": 42, "name": "Engineering Docs"},
    })
}
