//! What a person wants of an answer: its text, its sources with their links, and what went wrong.
//!
//! The whole answer and each chunk of a stream are read by the same code: they differ in `message` and `delta` only.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was told so far beside the text.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// What the model was given, as `rag.sources` lists it.
    pub(super) sources: Vec<Value>,
    /// What the gateway wants the reader to know.
    pub(super) warnings: Vec<String>,
    /// The tokens, where they were told.
    pub(super) usage: Option<Value>,
    /// Why the answer ended, once it has.
    pub(super) finish: Option<String>,
    /// Where the cited sources can be read, by their numbers.
    links: BTreeMap<u64, String>,
}

/// What one part of an answer adds to the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Thinking.
    pub(super) reasoning: String,
    /// The answer itself.
    pub(super) content: String,
}

impl Reply {
    /// Reads a whole answer or a chunk; an error is the gateway's message.
    pub(super) fn read(&mut self, answer: &Value) -> Result<Piece, String> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str);
            return Err(message
                .unwrap_or("the answer failed, and the gateway does not say why")
                .to_owned());
        }
        if let Some(rag) = answer.get("rag") {
            self.sources.extend(list(rag, "sources").cloned());
            let warnings = list(rag, "warnings").filter_map(Value::as_str);
            self.warnings.extend(warnings.map(str::to_owned));
        }
        if let Some(usage) = answer.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.clone());
        }
        let Some(choice) = list(answer, "choices").next() else {
            return Ok(Piece::default());
        };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish = Some(reason.to_owned());
        }
        let said = ["delta", "message"].iter().find_map(|key| choice.get(*key));
        let Some(said) = said else {
            return Ok(Piece::default());
        };
        self.note_links(said);
        // Both names are in use, and some upstreams send both with the same text.
        let thought = ["reasoning", "reasoning_content"].iter().find_map(|key| {
            let thought = text(said.get(*key)?);
            (!thought.is_empty()).then_some(thought)
        });
        Ok(Piece {
            reasoning: thought.unwrap_or_default(),
            content: said.get("content").map(text).unwrap_or_default(),
        })
    }

    /// Where source `number` can be read; only cited sources have a link.
    pub(super) fn link(&self, number: u64) -> Option<&str> {
        self.links.get(&number).map(String::as_str)
    }

    /// The sources, each with its `url` where it has one.
    pub(super) fn linked_sources(&self) -> Vec<Value> {
        let linked = |source: &Value| {
            let mut source = source.clone();
            let link = number(&source).and_then(|number| self.link(number));
            if let (Some(link), Some(fields)) = (link, source.as_object_mut()) {
                fields.insert("url".to_owned(), Value::from(link));
            }
            source
        };
        self.sources.iter().map(linked).collect()
    }

    fn note_links(&mut self, said: &Value) {
        for annotation in list(said, "annotations") {
            let Some(citation) = annotation.get("url_citation") else {
                continue;
            };
            let source = citation.get("source").and_then(Value::as_u64);
            let url = citation.get("url").and_then(Value::as_str);
            if let (Some(source), Some(url)) = (source, url) {
                self.links.entry(source).or_insert_with(|| url.to_owned());
            }
        }
    }
}

/// The number of a source.
pub(super) fn number(source: &Value) -> Option<u64> {
    source.get("index").and_then(Value::as_u64)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A text, or the text parts of a list joined (Mistral).
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chunks_and_a_whole_answer_tell_the_same() {
        let source = json!({"index": 1, "filename": "policy.pdf", "page_start": 3});
        let annotation = json!({"type": "url_citation", "url_citation": {"source": 1, "url": "http://g/sources/5"}});
        let chunks = [
            json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "rag": {"sources": [source], "warnings": ["a: b"]}}),
            json!({"choices": [{"index": 0, "delta": {"reasoning": "Hm.", "reasoning_content": "Hm."}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": "Five "}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "years [1]."}], "annotations": [annotation]}, "finish_reason": "stop"}], "rag": {"warnings": ["c: d"]}}),
            json!({"choices": [], "usage": {"total_tokens": 7}}),
        ];
        let whole = json!({
            "choices": [{"index": 0, "message": {"content": "Five years [1].", "reasoning": "Hm.", "annotations": [annotation]}, "finish_reason": "stop"}],
            "rag": {"sources": [source], "warnings": ["a: b", "c: d"]},
            "usage": {"total_tokens": 7}
        });

        let mut streamed = Reply::default();
        let mut text = Piece::default();
        for chunk in &chunks {
            let piece = streamed.read(chunk).unwrap();
            text.reasoning += &piece.reasoning;
            text.content += &piece.content;
        }
        let mut read = Reply::default();

        assert_eq!(read.read(&whole).unwrap(), text);
        assert_eq!(text.content, "Five years [1].");
        for reply in [&streamed, &read] {
            assert_eq!(reply.warnings, ["a: b", "c: d"]);
            assert_eq!(reply.finish.as_deref(), Some("stop"));
            assert_eq!(reply.usage, Some(json!({"total_tokens": 7})));
            assert_eq!(reply.linked_sources()[0]["url"], "http://g/sources/5");
        }
    }

    #[test]
    fn an_error_is_its_message() {
        let failed = json!({"choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"message": "the model is gone"}});
        let nameless = json!({"error": "what"});

        assert_eq!(
            Reply::default().read(&failed),
            Err("the model is gone".to_owned())
        );
        assert!(Reply::default().read(&nameless).is_err());
    }
}
