//! `GET /models`: what an administrator would have configured. Models have no `id`; `technical_name` is what a request names.

use serde_json::{Value, json};

use crate::sandbox::json::Json;

/// The models: name for people, name for requests, type.
const MODELS: [(&str, &str, &str); 3] = [
    (
        "Sandbox Extractive",
        "sandbox-extractive",
        "Large Language Model",
    ),
    (
        "Sandbox Reasoner",
        "sandbox-reasoner",
        "Large Language Model",
    ),
    (
        "Sandbox Embedding",
        super::embeddings::MODEL,
        "Embedding Model",
    ),
];

/// Lists the models.
pub(super) async fn list() -> Json<Value> {
    let models: Vec<Value> = MODELS
        .iter()
        .map(|(name, technical_name, model_type)| {
            json!({"object": "model", "name": name, "technical_name": technical_name, "model_type": model_type, "enabled": true})
        })
        .collect();
    Json(json!({"object": "list", "data": models}))
}
