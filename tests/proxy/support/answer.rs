//! What a client gets: a whole answer, or a stream read as strictly as OpenAI's own clients read it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: a failure here is the test's failure"
)]

use bytes::Bytes;
use reqwest::{RequestBuilder, Response, header::HeaderMap};
use serde_json::Value;

use super::gateway::{MODEL_KEY, SEARCH_KEY};

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Sends a request and reads all of the answer.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap(),
        }
    }

    /// The header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of an answer that is no error.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that this is an error in OpenAI's shape, with nothing in it that is nobody's business, and gives it.
    pub(crate) fn error(&self, status: u16, kind: &str, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.headers.contains_key("x-request-id"));
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let outer: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(outer, ["error"]);
        let error = body.get("error").unwrap().clone();
        assert_error(&error, kind, code);
        error
    }
}

/// Checks that `error` is OpenAI's error object.
fn assert_error(error: &Value, kind: &str, code: &str) {
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"], "{error}");
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    assert_eq!((text("type"), text("code")), (Some(kind), Some(code)));
    let message = text("message").unwrap();
    assert!(!message.is_empty());
    for secret in [SEARCH_KEY, MODEL_KEY, "127.0.0.1", "http://"] {
        assert!(!message.contains(secret), "{message} tells {secret}");
    }
}

/// A streamed answer that is being read.
#[derive(Debug)]
pub(crate) struct Live {
    response: Response,
    read: Vec<Bytes>,
}

impl Live {
    /// Sends a request and reads the head of the answer, which must be an event stream's.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let (status, kind) = (response.status().as_u16(), header("content-type"));
        if status != 200 || kind.as_deref() != Some("text/event-stream; charset=utf-8") {
            panic!("{status} {kind:?}: {}", response.text().await.unwrap());
        }
        assert_eq!(
            header("cache-control").as_deref(),
            Some("no-cache, no-transform")
        );
        assert_eq!(header("x-accel-buffering").as_deref(), Some("no"));
        assert_eq!(header("content-encoding"), None);
        assert!(header("x-request-id").is_some());
        Self {
            response,
            read: Vec::new(),
        }
    }

    /// The header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let value = self.response.headers().get(name);
        value.map(|value| value.to_str().unwrap())
    }

    /// Reads the next piece; `None` at the end.
    pub(crate) async fn piece(&mut self) -> Option<String> {
        let piece = self.response.chunk().await.unwrap()?;
        self.read.push(piece.clone());
        Some(String::from_utf8(piece.to_vec()).unwrap())
    }

    /// Reads until `text` was in a piece.
    pub(crate) async fn until(&mut self, text: &str) {
        while let Some(piece) = self.piece().await {
            if piece.contains(text) {
                return;
            }
        }
        panic!("{text} never came: {:?}", self.read);
    }

    /// Reads the rest.
    pub(crate) async fn rest(mut self) -> Streamed {
        while let Some(piece) = self.response.chunk().await.unwrap() {
            self.read.push(piece);
        }
        Streamed {
            headers: self.response.headers().clone(),
            raw: self.read.concat(),
        }
    }
}

/// A streamed answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) headers: HeaderMap,
    pub(crate) raw: Vec<u8>,
}

impl Streamed {
    /// Every byte, as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.raw).unwrap()
    }

    /// The header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The data of every event, `[DONE]` included.
    ///
    /// Fails on what fails OpenAI's clients: any field but `data`, empty data, an event that is not ended.
    pub(crate) fn data(&self) -> Vec<&str> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
        let mut data = Vec::new();
        for event in text.split_terminator("\n\n") {
            let lines: Vec<&str> = event
                .split('\n')
                .filter(|line| !line.starts_with(':'))
                .collect();
            match lines[..] {
                [] => {}
                [line] => {
                    let value = line.strip_prefix("data: ");
                    data.push(
                        value.unwrap_or_else(|| panic!("no line for OpenAI's clients: {line:?}")),
                    );
                }
                _ => panic!("more than one line: {event:?}"),
            }
        }
        assert!(
            data.iter()
                .rev()
                .skip(1)
                .all(|data| *data != "[DONE]" && !data.is_empty()),
            "{text}"
        );
        data
    }

    /// The comments, without their colon.
    pub(crate) fn comments(&self) -> Vec<&str> {
        let lines = self.text().split('\n');
        lines.filter_map(|line| line.strip_prefix(':')).collect()
    }

    /// Every chunk.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let data = self.data().into_iter().filter(|data| *data != "[DONE]");
        data.map(|data| {
            serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))
        })
        .collect()
    }

    /// Whether the last event is `[DONE]`.
    pub(crate) fn is_done(&self) -> bool {
        self.data().last() == Some(&"[DONE]")
    }

    /// The text of the first choice.
    pub(crate) fn content(&self) -> String {
        let chunks = self.chunks();
        let contents = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        contents.collect()
    }

    /// Checks that the stream ends in one closing error, an ordinary chunk without `[DONE]` behind it, and gives the error.
    pub(crate) fn closing_error(&self, kind: &str, code: &str) -> Value {
        let chunks = self.chunks();
        assert!(!self.is_done(), "{}", self.text());
        let (last, before) = chunks.split_last().unwrap();
        assert!(before.iter().all(|chunk| chunk.get("error").is_none()));
        assert_eq!(last["object"], "chat.completion.chunk");
        for key in ["id", "model"] {
            assert!(last[key].is_string(), "{last}");
        }
        assert!(last["created"].is_u64(), "{last}");
        assert_eq!(last["choices"].as_array().unwrap().len(), 1);
        assert_eq!(last["choices"][0]["index"], 0);
        assert_eq!(last["choices"][0]["delta"]["content"], "");
        assert_eq!(last["choices"][0]["finish_reason"], "error");
        assert_error(&last["error"], kind, code);
        last["error"].clone()
    }
}
