//! What a client heard, held to the contract: an answer, an error under its status, or a stream with a closing error.

use serde_json::Value;

use crate::{
    kind::Kind,
    support::answer::{Answer, Streamed},
};

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) kind: Kind,
    pub(crate) answer: Answer,
}

impl Heard {
    /// Checks that it is the good answer.
    pub(crate) fn answered(self) {
        assert_eq!(self.answer.status, 200, "{}", self.answer.text());
        let (kind, text) = (self.kind, self.answer.text().to_owned());
        if kind.streams() {
            let stream = self.stream();
            assert!(stream.is_done(), "{text}");
            assert_eq!(content(kind, &stream.chunks()), "ab", "{text}");
        } else {
            assert_eq!(kind.said(&self.answer.json()), "ab", "{text}");
        }
    }

    /// Checks that it is an error with its status, in OpenAI's shape.
    pub(crate) fn refused(&self, status: u16, kind: &str, code: &str) {
        let error = self.answer.error(status, kind, code);
        let message = error["message"].as_str().unwrap();
        assert!(!message.contains('<'), "no page of HTML: {message}");
    }

    /// Checks that no client asks again.
    pub(crate) fn is_final(&self) {
        assert_eq!(self.answer.header("x-should-retry"), Some("false"));
    }

    /// Checks that it began well and ends in one closing error of its own kind of chunk, without `[DONE]`.
    pub(crate) fn closed(self, kind: &str, code: &str) {
        assert_eq!(self.answer.status, 200, "{}", self.answer.text());
        let asked = self.kind;
        let stream = self.stream();
        let chunks = stream.chunks();
        let (last, before) = chunks.split_last().unwrap();
        assert_eq!(content(asked, before), "a", "{}", stream.text());
        if !asked.is_completion() {
            stream.closing_error(kind, code);
            return;
        }
        assert!(!stream.is_done(), "{}", stream.text());
        assert!(before.iter().all(|chunk| chunk.get("error").is_none()));
        assert_eq!(last["object"], "text_completion");
        assert_eq!(last["choices"][0]["text"], "");
        assert_eq!(last["choices"][0]["finish_reason"], "error");
        assert_eq!(last["error"]["type"], kind, "{last}");
        assert_eq!(last["error"]["code"], code, "{last}");
        assert!(last["error"]["message"].is_string(), "{last}");
    }

    fn stream(self) -> Streamed {
        let Answer { headers, body, .. } = self.answer;
        let raw = body.to_vec();
        Streamed { headers, raw }
    }
}

fn content(kind: Kind, chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| kind.said(chunk)).collect()
}
