//! `groundwire models`: what a client can name as `model`.

use std::io::{self, IsTerminal};

use serde_json::Value;

use super::{
    Failure,
    arguments::Models,
    gateway::Gateway,
    terminal::{self, BOLD},
};
use crate::config::Environment;

/// Fields in which a model says what it is.
const TELLING: [&str; 4] = ["model_type", "id", "name", "technical_name"];

/// Pieces of names and types of models that do not chat.
const OTHER_KINDS: [&str; 11] = [
    "embed",
    "rerank",
    "whisper",
    "transcri",
    "speech",
    "moderation",
    "guard",
    "diffusion",
    "dall-e",
    "davinci-002",
    "babbage-002",
];

/// The same, but as whole words: they are too short to be looked for inside others.
const OTHER_WORDS: [&str; 5] = ["tts", "bge", "e5", "gte", "ocr"];

/// Lists the models: a table for a person, one id a line for a program.
pub(super) async fn run(args: Models, env: &Environment) -> Result<(), Failure> {
    let gateway = Gateway::new(args.reach, env)?;
    let listed = gateway.models().await?;
    let models = read(&listed).ok_or_else(|| gateway.stranger())?;
    if args.json {
        terminal::raw(&listed)?;
        return terminal::raw(b"\n");
    }
    if io::stdout().is_terminal() {
        table(&models)
            .iter()
            .try_for_each(|line| terminal::data(line))
    } else {
        let mut ids = models.iter().filter_map(id);
        ids.try_for_each(|id| terminal::data(&terminal::tame(id)))
    }
}

/// The first model that `gateway` lists and that looks like one to chat with.
pub(super) async fn first_chat_model(gateway: &Gateway) -> Result<String, Failure> {
    let listed = gateway.models().await?;
    let models = read(&listed).ok_or_else(|| gateway.stranger())?;
    let first = models.iter().filter(|model| chats(model)).find_map(id);
    first.map(str::to_owned).ok_or_else(|| {
        Failure::Running("the gateway lists no chat model; name one with --model".to_owned())
    })
}

fn read(list: &[u8]) -> Option<Vec<Value>> {
    let list: Value = serde_json::from_slice(list).ok()?;
    list.get("data")?.as_array().cloned()
}

fn id(model: &Value) -> Option<&str> {
    model.get("id").and_then(Value::as_str)
}

fn chats(model: &Value) -> bool {
    let told = TELLING.iter().filter_map(|key| model.get(*key)?.as_str());
    !told.map(str::to_lowercase).any(|text| {
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        OTHER_KINDS.iter().any(|kind| text.contains(kind))
            || words.any(|word| OTHER_WORDS.contains(&word))
    })
}

fn table(models: &[Value]) -> Vec<String> {
    let text = |model: &Value, key: &str| {
        let text = model.get(key).and_then(Value::as_str);
        terminal::tame(text.unwrap_or_default())
    };
    let context = |model: &Value| {
        let keys = ["context_window", "context_length", "max_model_len"];
        let window = keys.iter().find_map(|key| model.get(*key)?.as_u64());
        window.map_or_else(String::new, |window| window.to_string())
    };
    let rows: Vec<[String; 3]> = models
        .iter()
        .map(|model| [text(model, "id"), text(model, "owned_by"), context(model)])
        .collect();
    let width = |of: fn(&[String; 3]) -> &str, title: &str| {
        let lengths = rows.iter().map(|row| of(row).chars().count());
        lengths.chain([title.len()]).max().unwrap_or_default()
    };
    let ids = width(|[id, _, _]| id, "MODEL");
    let owners = width(|[_, owner, _]| owner, "OWNED BY");
    let windows = width(|[_, _, window]| window, "CONTEXT");
    let title = format!(
        "{BOLD}{:ids$}  {:owners$}  {:>windows$}{BOLD:#}",
        "MODEL", "OWNED BY", "CONTEXT"
    );
    let lines = rows.iter().map(|[id, owner, window]| {
        let line = format!("{id:ids$}  {owner:owners$}  {window:>windows$}");
        line.trim_end().to_owned()
    });
    std::iter::once(title).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models_of_other_kinds_are_told_by_type_or_name() {
        for id in [
            "text-embedding-3-small",
            "bge-multilingual-gemma2",
            "BAAI/bge-m3",
            "whisper-large-v3",
            "nvr-tts-en-us",
            "Qwen3Guard-Gen-8B",
            "cross-encoder-rerank",
            "stable-diffusion-xl-base-v10",
        ] {
            assert!(!chats(&json!({"id": id})), "{id}");
        }
        for id in [
            "llama-3.3-70b-instruct",
            "gpt-oss-120b",
            "mistral-small-3.2-24b",
            "handbook",
            "gemma-3-27b-it",
        ] {
            assert!(chats(&json!({"id": id})), "{id}");
        }
        assert!(!chats(
            &json!({"id": "solon", "model_type": "Embedding Model"})
        ));
        assert!(chats(
            &json!({"id": "alfred", "model_type": "Large Language Model"})
        ));
    }

    #[test]
    fn a_table_has_its_columns_under_each_other() {
        let models = [
            json!({"id": "handbook", "owned_by": "groundwire"}),
            json!({"id": "a-longer-name", "owned_by": "gpu", "max_model_len": 131_072}),
        ];
        let plain: Vec<String> = table(&models)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();

        assert_eq!(
            plain,
            [
                "MODEL          OWNED BY    CONTEXT",
                "handbook       groundwire",
                "a-longer-name  gpu          131072",
            ]
        );
    }
}
