//! The one table from every error to status, type and code.
//!
//! The text for the caller says what to do next and shows no key, no address and no other system's words; the cause goes to the log, once,
//! where the error becomes an answer.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tracing::{error, info, warn};

use crate::{
    access::{Kind, Refused},
    openai::{ErrorBody, chat::Invalid},
    rag::{self, settings::NotAllowed},
    retrieval, upstream,
    upstream::catalog::Unresolved,
};

/// OpenAI's clients ask again only where this does not say `false`.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the caller reads.
    pub body: ErrorBody,
    /// Headers beside it.
    pub headers: Box<HeaderMap>,
}

impl ApiError {
    /// An error of `status`, by its type, its code and what the caller can do.
    pub fn new(status: StatusCode, kind: &str, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody {
            message: message.into(),
            kind: kind.to_owned(),
            param: None,
            code: Some(code.to_owned()),
        };
        Self {
            status,
            body,
            headers: Box::default(),
        }
    }

    /// A fault of the request.
    pub fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            code,
            message,
        )
    }

    /// Names the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.body.param = Some(param.into());
        self
    }

    /// Says when another request may succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = HeaderValue::from(whole_seconds(wait));
        self.headers.insert(header::RETRY_AFTER, seconds);
        self
    }

    /// Says that no retry of the client helps.
    #[must_use]
    pub fn no_retry(mut self) -> Self {
        self.headers
            .insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        self
    }

    /// The body of a request does not come; nothing else can be heard on its connection.
    pub fn stalled(silence: Duration) -> Self {
        let message = format!(
            "the request body stopped coming or comes too slowly (`timeouts.body`, {silence:?}); send it again"
        );
        let mut error = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            "request_timeout",
            message,
        );
        let close = HeaderValue::from_static("close");
        error.headers.insert(header::CONNECTION, close);
        error
    }

    /// Unknown path.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "not_found",
            message,
        )
    }

    /// No key or a wrong one.
    pub fn unauthorized(message: &str) -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "invalid_api_key",
            message,
        );
        error
            .headers
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        error
    }

    /// Beyond what the caller's key may do.
    pub fn forbidden(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", code, message)
    }

    /// A limit of the caller's key is used up.
    fn limited(message: String) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "rate_limit_exceeded",
            message,
        )
    }

    /// The process ends before the answer does.
    pub fn shutting_down() -> Self {
        let message = "the gateway is shutting down; ask again, another instance will answer";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded_error",
            "shutting_down",
            message,
        )
        .retry_after(Duration::from_secs(1))
    }

    /// Ours.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "internal_error",
            "the gateway failed; its log has the cause under this request id",
        )
    }

    fn search(status: StatusCode, code: &str, message: &str) -> Self {
        Self::new(status, "search_error", code, message)
    }

    fn upstream(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self::new(status, "upstream_error", code, message)
    }
}

/// A wait as `Retry-After` takes it (RFC 9110, 10.2.3): rounded up, so that who comes back then is not too early, and never none.
fn whole_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    seconds.max(1)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body.to_json().bytes().clone()).into_response();
        *response.headers_mut() = *self.headers;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let message = invalid.to_string();
        match invalid {
            Invalid::Json(_) => Self::bad_request("invalid_json", message),
            Invalid::Missing(field) => Self::bad_request("missing_field", message).param(field),
            Invalid::Value { param, .. } => {
                Self::bad_request("invalid_value", message).param(param)
            }
        }
    }
}

impl From<NotAllowed> for ApiError {
    fn from(refused: NotAllowed) -> Self {
        let message = format!(
            "this gateway does not let you set `rag.{0}`; leave it out",
            refused.key
        );
        Self::forbidden("overrides_not_allowed", message).param(format!("rag.{}", refused.key))
    }
}

impl From<Unresolved> for ApiError {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Unknown { model, close } => {
                let hint = match close.as_slice() {
                    [] => "`GET /v1/models` lists what can stand here".to_owned(),
                    names => format!(
                        "did you mean {}?",
                        names
                            .iter()
                            .map(|name| format!("`{name}`"))
                            .collect::<Vec<_>>()
                            .join(" or ")
                    ),
                };
                let model: String = model.chars().take(200).collect();
                Self::new(
                    StatusCode::NOT_FOUND,
                    "invalid_request_error",
                    "model_not_found",
                    format!("the model `{model}` does not exist; {hint}"),
                )
                .param("model")
            }
            Unresolved::NotAllowed { model } => {
                let model: String = model.chars().take(200).collect();
                let message = format!(
                    "your key may not use the model `{model}`; `GET /v1/models` lists those it may"
                );
                Self::forbidden("model_not_allowed", message).param("model")
            }
        }
    }
}

impl From<rag::Error> for ApiError {
    fn from(error: rag::Error) -> Self {
        match error {
            rag::Error::Search(error) => error.into(),
            rag::Error::Limited(refused) => refused.into(),
            rag::Error::Files { files } => {
                let files: Vec<String> = files.iter().take(10).map(ToString::to_string).collect();
                let message = format!(
                    "your key does not reach file {}; `GET /v1/files` lists those that it reaches",
                    files.join(", ")
                );
                Self::forbidden("workspace_not_allowed", message).param("rag.file_id")
            }
            rag::Error::Upstream(error) => error.into(),
            rag::Error::Exhausted(error) => Self::from(error).no_retry(),
            rag::Error::NoAnswer { .. } => Self::upstream(
                StatusCode::BAD_GATEWAY,
                "upstream_invalid_response",
                "the model kept calling tools or said nothing when it was asked to answer; ask in other words, or use another model",
            )
            .no_retry(),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UsedUp { kind, limit, wait } => {
                let has = match kind {
                    Kind::Requests => format!(
                        "your key may make {limit} requests a minute (`requests_per_minute`), and they are used up"
                    ),
                    Kind::Searches => format!(
                        "your key may make {limit} searches a minute (`searches_per_minute`), and they are used up"
                    ),
                    Kind::Tokens => format!(
                        "your key may use {limit} tokens a minute (`tokens_per_minute`), and what is left of them is too little for this request"
                    ),
                };
                let seconds = whole_seconds(wait);
                Self::limited(format!("{has}; come back in {seconds} s")).retry_after(wait)
            }
            Refused::Crowded { limit } => Self::limited(format!(
                "your key may have {limit} requests under way at once (`concurrent_requests`), and as many are; come back when one of them has ended"
            ))
            .retry_after(Duration::from_secs(1)),
            Refused::Away => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded_error",
                "overloaded",
                "the limits of your key cannot be counted at the moment; try again in a moment",
            )
            .retry_after(Duration::from_secs(1)),
        }
    }
}

impl From<retrieval::Error> for ApiError {
    fn from(error: retrieval::Error) -> Self {
        use retrieval::Error;
        match error {
            Error::Authentication { .. } => Self::search(
                StatusCode::BAD_GATEWAY,
                "search_authentication",
                "document search refused the gateway's own key; tell the operator to check `search.api_key`",
            )
            .no_retry(),
            Error::Scope { .. } => Self::forbidden(
                "workspace_not_found",
                "document search knows no document that these workspaces, files and tags reach; check the numbers",
            ),
            Error::Query { field, .. } => {
                let field = field.filter(|field| field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
                let path = field.map_or_else(|| "rag".to_owned(), |field| format!("rag.{field}"));
                let message = format!("document search does not take these options; check `{path}` against LightOn's documentation of search");
                Self::bad_request("invalid_value", message).param(path)
            }
            Error::RateLimited { retry_after, .. } => Self::search(
                StatusCode::TOO_MANY_REQUESTS,
                "search_rate_limited",
                "document search is asked too often at the moment; try again a little later",
            )
            .retry_after(retry_after.unwrap_or(Duration::from_secs(1))),
            Error::Maintenance { .. } => {
                Self::search(StatusCode::BAD_GATEWAY, "search_unavailable", "document search is in maintenance; try again later").no_retry()
            }
            Error::Unavailable { .. } => {
                Self::search(StatusCode::BAD_GATEWAY, "search_unavailable", "document search does not answer; try again later").no_retry()
            }
            Error::Timeout { .. } => {
                Self::search(StatusCode::GATEWAY_TIMEOUT, "search_timeout", "document search took too long; try again, or ask for fewer results")
            }
        }
    }
}

impl From<upstream::Error> for ApiError {
    fn from(error: upstream::Error) -> Self {
        use upstream::Error;
        match error {
            Error::Unreachable { .. } => {
                Self::upstream(StatusCode::BAD_GATEWAY, "upstream_unreachable", "the model provider cannot be reached; try again later")
            }
            Error::Timeout { deadline, after, .. } => Self::upstream(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                format!("the model provider took longer than the gateway waits (`timeouts.{deadline}`, {after:?}); try again, or ask for a shorter answer"),
            ),
            Error::Invalid { .. } => Self::upstream(
                StatusCode::BAD_GATEWAY,
                "upstream_invalid_response",
                "the model provider sent something that is no answer; try another model, or tell the operator",
            )
            .no_retry(),
            Error::Truncated { .. } => {
                Self::upstream(StatusCode::BAD_GATEWAY, "upstream_truncated", "the model provider ended its answer in the middle; ask again")
            }
            Error::Authentication { .. } => Self::upstream(
                StatusCode::BAD_GATEWAY,
                "upstream_authentication",
                "the model provider refused the gateway's own key; tell the operator to check the upstream's `api_key`",
            )
            .no_retry(),
            Error::Status { status, body, headers, .. } => Self { status, body: *body, headers },
        }
    }
}

/// What an error and its causes say, kept while the error itself becomes an answer.
#[derive(Debug)]
pub struct Told(String);

impl Told {
    /// The texts of `error` and of everything below it.
    pub fn of(error: &dyn std::error::Error) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            let text = deeper.to_string();
            if !chain.contains(&text) {
                chain = format!("{chain}: {text}");
            }
            source = deeper.source();
        }
        Self(chain)
    }
}

/// Logs the cause of an answer that is an error: ours as `error`, a neighbour's as `warn`, the caller's as `info`.
pub fn log(cause: &Told, answer: &ApiError) {
    let Told(cause) = cause;
    let (status, code) = (
        answer.status.as_u16(),
        answer.body.code.as_deref().unwrap_or_default(),
    );
    match (status, code) {
        (500, "internal_error") => error!(status, code, "the gateway failed: {cause}"),
        (500.., _) | (_, "upstream_error" | "search_rate_limited" | "workspace_not_found") => {
            warn!(status, code, "a neighbour failed: {cause}");
        }
        _ => info!(status, code, "a request was refused: {cause}"),
    }
}
