//! The sandbox's model service: an OpenAI-compatible server whose models answer with sentences of the context they are given.
//!
//! | model | what it does |
//! |---|---|
//! | `sandbox-extractive` | answers with at most three sentences of the context, cites their numbers, searches first where it can |
//! | `sandbox-reasoner` | the same, but thinks first (`reasoning`), and spends tokens on it |
//! | `sandbox-parallel-search` | asks several searches at once |
//! | `sandbox-bad-arguments` | calls search with bad JSON, then with an object for arguments and `max_results: "ten"`, then answers |
//! | `sandbox-endless-search` | searches again and again while search is offered |
//! | `sandbox-mixed-tools` | calls search and the first of the client's own tools in one turn |
//! | `sandbox-client-tool` | calls the first of the client's own tools, then goes on as the first model |
//!
//! Everything is computed from the request alone: no state, no delay, no key asked for, and the same request gets the same text.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

mod answer;
mod arguments;
mod compare;
mod context;
mod conversation;
mod extract;
mod fields;
mod legacy;
mod material;
mod options;
mod question;
mod refusal;
mod request;
mod sentences;
mod stream;
mod tokens;
mod tools;
mod whole;
mod words;

use answer::Thinks;
pub use answer::{Answer, answer};
pub use conversation::{Calls, Conversation, Format, Message, Role, SEARCH_TOOL, Tool, ToolChoice};
pub use refusal::Refusal;
pub use tokens::{Called, Completion, Finish, Limits, Written, tokens};
pub use tools::Call;

/// How many tokens the models read, at most; `/v1/models` tells it as vLLM does, in `max_model_len`.
pub const CONTEXT_TOKENS: u64 = 131_072;

/// Larger request bodies are refused, in bytes.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// When the models came to be, in seconds since 1970.
const CREATED: u64 = 1_763_683_200;

/// A model of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Answers with sentences of the context.
    Extractive,
    /// Thinks, then answers with sentences of the context.
    Reasoner,
    /// Asks several searches at once.
    ParallelSearch,
    /// Writes arguments that are not valid.
    BadArguments,
    /// Searches for ever.
    EndlessSearch,
    /// Calls search and a tool of the client in one turn.
    MixedTools,
    /// Calls a tool of the client first.
    ClientTool,
}

impl Model {
    /// All of them, in the order they are listed.
    pub const ALL: &[Self] = &[
        Self::Extractive,
        Self::Reasoner,
        Self::ParallelSearch,
        Self::BadArguments,
        Self::EndlessSearch,
        Self::MixedTools,
        Self::ClientTool,
    ];

    /// Its name on the model service.
    pub fn id(self) -> &'static str {
        match self {
            Self::Extractive => "sandbox-extractive",
            Self::Reasoner => "sandbox-reasoner",
            Self::ParallelSearch => "sandbox-parallel-search",
            Self::BadArguments => "sandbox-bad-arguments",
            Self::EndlessSearch => "sandbox-endless-search",
            Self::MixedTools => "sandbox-mixed-tools",
            Self::ClientTool => "sandbox-client-tool",
        }
    }

    /// What it does, in a sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::Extractive => {
                "Answers with the sentences of the given context that fit the question, and cites their numbers."
            }
            Self::Reasoner => "Thinks first, then answers like sandbox-extractive.",
            Self::ParallelSearch => {
                "Asks several searches at once, then answers like sandbox-extractive."
            }
            Self::BadArguments => {
                "Calls search with bad JSON, then with an object for arguments and max_results \"ten\", then answers."
            }
            Self::EndlessSearch => "Searches again and again while search is offered.",
            Self::MixedTools => {
                "Calls search and the first of the client's own tools in one turn, then answers."
            }
            Self::ClientTool => {
                "Calls the first of the client's own tools, then goes on like sandbox-extractive."
            }
        }
    }

    /// Finds a model by its name on the model service.
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|model| model.id() == id)
    }

    fn thinks(self) -> Thinks {
        match self {
            Self::Reasoner => Thinks::First,
            Self::Extractive
            | Self::ParallelSearch
            | Self::BadArguments
            | Self::EndlessSearch
            | Self::MixedTools
            | Self::ClientTool => Thinks::Never,
        }
    }
}

/// The model service, under `/v1`.
pub fn router() -> Router {
    let service = Router::new()
        .route("/chat/completions", post(chat_completions))
        .route("/completions", post(completions))
        .route("/models", get(list_models))
        .route("/models/{*id}", get(one_model))
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .fallback(async || Refusal::unknown_path())
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    Router::new().nest("/v1", service)
}

/// Answers a chat, whole or streamed.
pub(super) async fn chat_completions(body: Bytes) -> Response {
    off_the_loop(move || chat(&body)).await
}

/// Answers a legacy completion, whole or streamed.
pub(super) async fn completions(body: Bytes) -> Response {
    off_the_loop(move || legacy::respond(&body)).await
}

/// Runs `work` on a blocking thread: reading a long context takes milliseconds, and other streams go on meanwhile.
async fn off_the_loop(
    work: impl FnOnce() -> Result<Response, Refusal> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.into_response(),
        Err(_stopped) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn chat(body: &Bytes) -> Result<Response, Refusal> {
    let request::ChatRequest {
        options,
        conversation,
        prompt_tokens,
    } = request::ChatRequest::read(body)?;
    let answer = answer(options.model, &conversation);
    let completions: Vec<Completion> = (0..options.choices)
        .map(|_| Completion::new(&answer, &options.limits))
        .collect();
    let envelope = whole::Envelope::new("chatcmpl", options.id);
    Ok(match options.delivery {
        options::Delivery::Stream(usage) => {
            stream::respond(stream::chat(&envelope, &completions, prompt_tokens, usage))
        }
        options::Delivery::Whole => {
            whole::json_body(&whole::chat(&envelope, &completions, prompt_tokens))
        }
    })
}

async fn list_models() -> Response {
    let data: Vec<Value> = Model::ALL.iter().copied().map(card).collect();
    whole::json_body(&json!({"object": "list", "data": data}))
}

async fn one_model(Path(id): Path<String>) -> Result<Response, Refusal> {
    let model = Model::by_id(&id).ok_or_else(|| Refusal::unknown_model(&id))?;
    Ok(whole::json_body(&card(model)))
}

fn card(model: Model) -> Value {
    json!({
        "id": model.id(),
        "object": "model",
        "created": CREATED,
        "owned_by": "groundwire-sandbox",
        "description": model.description(),
        "max_model_len": CONTEXT_TOKENS,
    })
}

#[cfg(test)]
mod tests;
