//! Random requests: what a caller says, together with what it means by the contract.

use std::fmt::Write as _;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::model::Script;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) case: u64,
    pub(crate) key: Presented,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presented {
    Key(usize),
    Wrong,
    None,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Chat(Chat),
    Lookup(Lookup),
    Upload(Form),
    /// `/v1/files/{id}` or its content, read or deleted.
    File {
        method: &'static str,
        id: String,
        content: bool,
    },
    /// `/sources/{id}` with a key.
    Source(String),
    /// A link from an answer, or one made of it.
    Opened {
        link: Link,
        forged: bool,
    },
    /// Anything that is only read.
    Get(String),
    Embeddings,
}

/// A chat or a completion.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) model: String,
    pub(crate) completion: bool,
    pub(crate) stream: bool,
    pub(crate) headers: Vec<(&'static str, Said)>,
    pub(crate) rag: Vec<(&'static str, Said)>,
    /// JSON texts.
    pub(crate) messages: Vec<String>,
    pub(crate) has_tools: bool,
    pub(crate) more: Vec<&'static str>,
    pub(crate) script: Script,
}

/// What stands in a header or in `rag`.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    Ids(Vec<i64>),
    Mode(&'static str),
    /// Something that decides nothing about the scope.
    Other,
    /// As if it were not there.
    Nothing,
    /// A value that is refused.
    Nonsense,
}

/// A search in a vector store.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) store: String,
    pub(crate) body: String,
    pub(crate) nonsense: bool,
}

/// An upload.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    /// The workspaces that fields and headers name.
    pub(crate) said: Vec<i64>,
    pub(crate) header: Option<String>,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) late: bool,
    pub(crate) nonsense: bool,
}

/// A signed link to a file, found with a search key.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) file: i64,
    pub(crate) key: usize,
}

/// A conversation that stopped at the client's own tool.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) key: Presented,
    pub(crate) chat: Chat,
    /// The assistant's turn as the client got it.
    pub(crate) turn: String,
    pub(crate) calls: Vec<String>,
}

impl Said {
    /// A value that is refused.
    pub(crate) fn nonsense(text: &str) -> Self {
        let text = text.to_owned();
        Self {
            text,
            meaning: Meaning::Nonsense,
        }
    }

    /// A value that decides nothing about the scope.
    pub(crate) fn other(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            text,
            meaning: Meaning::Other,
        }
    }

    /// Numbers, written so.
    pub(crate) fn ids(text: impl Into<String>, ids: Vec<i64>) -> Self {
        let text = text.into();
        Self {
            text,
            meaning: Meaning::Ids(ids),
        }
    }
}

impl Ask {
    /// The request as it goes to the gateway.
    pub(crate) fn request(&self) -> Result<Request<Body>, http::Error> {
        let (method, path, body) = match &self.kind {
            Kind::Chat(chat) if chat.completion => (
                Method::POST,
                "/v1/completions".to_owned(),
                chat.body(self.case),
            ),
            Kind::Chat(chat) => (
                Method::POST,
                "/v1/chat/completions".to_owned(),
                chat.body(self.case),
            ),
            Kind::Lookup(lookup) => (
                Method::POST,
                format!("/v1/vector_stores/{}/search", lookup.store),
                lookup.body.clone(),
            ),
            Kind::Upload(form) => (Method::POST, "/v1/files".to_owned(), multipart(form)),
            Kind::File {
                method,
                id,
                content,
            } => {
                let rest = if *content && *method == "GET" {
                    "/content"
                } else {
                    ""
                };
                let method = if *method == "GET" {
                    Method::GET
                } else {
                    Method::DELETE
                };
                (method, format!("/v1/files/{id}{rest}"), String::new())
            }
            Kind::Source(id) => (Method::GET, format!("/sources/{id}"), String::new()),
            Kind::Opened { link, .. } => (Method::GET, link.path.clone(), String::new()),
            Kind::Get(path) => (Method::GET, path.clone(), String::new()),
            Kind::Embeddings => (
                Method::POST,
                "/v1/embeddings".to_owned(),
                format!(
                    "{{\"model\":\"m\",\"input\":\"x\",\"user\":\"u{}\"}}",
                    self.case
                ),
            ),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway.example")
            .header("x-request-id", format!("case-{}", self.case));
        let kind = match &self.kind {
            Kind::Upload(_) => "multipart/form-data; boundary=edge",
            _ => "application/json",
        };
        request = request.header("content-type", kind);
        request = match self.key {
            Presented::Key(number) => {
                request.header("authorization", format!("Bearer key-{number}"))
            }
            Presented::Wrong => request.header("authorization", "Bearer key-"),
            Presented::None => request,
        };
        let headers = match &self.kind {
            Kind::Chat(chat) => chat.headers.as_slice(),
            _ => &[],
        };
        for (name, said) in headers {
            let name = match *name {
                "workspace_id" => "X-Rag-Workspace-Id",
                "mode" => "X-Rag-Mode",
                _ => "X-Rag-Max-Results",
            };
            request = request.header(name, said.text.as_str());
        }
        if let Kind::Upload(form) = &self.kind
            && let Some(header) = &form.header
        {
            request = request.header("X-Rag-Workspace-Id", header);
        }
        request.body(Body::from(body))
    }
}

impl Chat {
    /// The request's body.
    pub(crate) fn body(&self, case: u64) -> String {
        let mut body = format!(
            "{{\"model\":{},\"user\":\"u{case}\",\"stream\":{}",
            json!(self.model),
            self.stream
        );
        if self.completion {
            let last: Value =
                serde_json::from_str(self.messages.last().map_or("null", String::as_str))
                    .unwrap_or_default();
            let prompt = match &last["content"] {
                Value::String(text) => json!(text),
                parts => parts[0]["text"].clone(),
            };
            let _ = write!(body, ",\"prompt\":{prompt}");
        } else {
            let _ = write!(body, ",\"messages\":[{}]", self.messages.join(","));
        }
        if self.has_tools {
            body.push_str(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\"}}}]");
        }
        for more in &self.more {
            let _ = write!(body, ",{more}");
        }
        if !self.rag.is_empty() {
            let fields: Vec<String> = self
                .rag
                .iter()
                .map(|(name, said)| format!("\"{name}\":{}", said.text))
                .collect();
            let _ = write!(body, ",\"rag\":{{{}}}", fields.join(","));
        }
        body.push('}');
        body
    }
}

fn multipart(form: &Form) -> String {
    let field = |(name, value): &(&str, String)| {
        format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields: String = form.fields.iter().map(field).collect();
    let file = "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\r\n%PDF\r\n";
    let (first, second) = if form.late {
        (file, fields.as_str())
    } else {
        (fields.as_str(), file)
    };
    format!("{first}{second}--edge--\r\n")
}
