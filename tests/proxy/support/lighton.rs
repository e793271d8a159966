//! LightOn as a script: a [`Server`] whose answers have LightOn's shapes.

use std::ops::Deref;

use serde_json::{Value, json};

use super::{reply::Reply, server::Server};

/// A scripted LightOn; everything that [`Server`] tells, it tells.
pub(crate) struct FakeLightOn(Server);

impl FakeLightOn {
    /// Starts it with an empty script.
    pub(crate) fn new() -> Self {
        Self(Server::new())
    }

    /// Adds an answer for the next request, whatever it asks.
    pub(crate) fn then(self, reply: Reply) -> Self {
        Self(self.0.then(reply))
    }

    /// Adds an answer for the next request to `route`.
    pub(crate) fn on(self, route: &str, reply: Reply) -> Self {
        Self(self.0.on(route, reply))
    }

    /// Answers every request to `route` that nothing else fits.
    pub(crate) fn always(self, route: &str, reply: Reply) -> Self {
        Self(self.0.always(route, reply))
    }

    /// Adds a search that finds these results.
    pub(crate) fn finds(self, results: impl IntoIterator<Item = Value>) -> Self {
        self.then(found(results))
    }
}

impl Deref for FakeLightOn {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// A search that found these results.
pub(crate) fn found(results: impl IntoIterator<Item = Value>) -> Reply {
    Reply::json(json!({ "results": results.into_iter().collect::<Vec<_>>() }))
}

/// A result as the current contract shapes it: `policy.pdf`, page 3 to 4, in workspace 42.
pub(crate) fn result(content: &str) -> Value {
    json!({
        "chunk_id": "550e8400-e29b-41d4-a716-446655440000",
        "content": content,
        "score": 0.95,
        "scores": {"text": 0.92, "vision": null, "keyword": 11.4, "multivector": 24.8, "relevance": 0.95},
        "source": {
            "file_id": 512, "filename": "policy.pdf", "title": "Data policy",
            "mime_type": "pdf", "size_bytes": 482113, "page_start": 3, "page_end": 4, "total_pages": 12,
            "tags": [{"id": 7, "name": "security"}], "content_types": [], "external_metadata": null
        },
        "workspace": {"id": 42, "name": "Engineering Docs"}
    })
}

/// An error in LightOn's envelope.
pub(crate) fn refusal(status: u16, error: &str, detail: &str) -> Reply {
    let body = json!({
        "id": null, "code": status, "error": error, "detail": detail,
        "doc_url": format!("https://developers.lighton.ai/errors#{error}")
    });
    Reply::json(body).with_status(status)
}

/// A validation error that names one field.
pub(crate) fn invalid(field: &str, detail: &str) -> Reply {
    let body = json!({
        "id": null, "code": 422, "error": "validation_error", "detail": "One or more fields failed validation.",
        "doc_url": "https://developers.lighton.ai/errors#validation_error",
        "fields": {field: [{"error": "invalid", "detail": detail}]}
    });
    Reply::json(body).with_status(422)
}

/// Planned maintenance.
pub(crate) fn maintenance() -> Reply {
    let body = json!({
        "detail": "System is under maintenance.", "error": "service_maintenance", "mode": "full_shutdown",
        "reason": "database migration", "started_at": "2026-09-15T08:30:00Z",
        "endpoint_category_names": ["search", "ingestion"]
    });
    Reply::json(body).with_status(503)
}
