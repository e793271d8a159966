//! A request to `/v1/embeddings`: only the model is read, all else is the upstream's business.

use bytes::Bytes;

use super::{chat::Invalid, json::Object, request};

/// An embedding request whose required fields are there.
#[derive(Debug, Clone)]
pub struct EmbeddingRequest {
    object: Object,
    /// What the client calls the model.
    pub model: String,
}

impl EmbeddingRequest {
    /// Reads a request body.
    pub fn parse(body: Bytes) -> Result<Self, Invalid> {
        let object = request::object(body)?;
        let model = request::model(&object)?;
        if object.value("input").is_none_or(super::json::Json::is_null) {
            return Err(Invalid::Missing("input".into()));
        }
        Ok(Self { object, model })
    }

    /// The fields as they stand.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The body to send on, for the model that the upstream calls `model`.
    pub fn body(&self, model: &str) -> Bytes {
        request::body_for(&self.object, &self.model, model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_changes() {
        let text = r#"{ "input": [[1, 2e0]], "model" : "a", "encoding_format":"base64" }"#;
        let request = EmbeddingRequest::parse(text.into()).unwrap();
        assert_eq!(request.body("a"), text);
        assert_eq!(request.body("b"), text.replace(r#""a""#, r#""b""#));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, field) in [(r#"{"input":"a"}"#, "model"), (r#"{"model":"m"}"#, "input")] {
            let refused = EmbeddingRequest::parse(text.into()).unwrap_err();
            assert_eq!(refused, Invalid::Missing(field.into()));
        }
    }
}
