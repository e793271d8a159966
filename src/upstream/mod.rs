//! Talking to model providers.
//!
//! An [`Upstream`] is one configured provider; [`client`] sends one request to it under named deadlines, [`retry`] decides when to send it
//! again or elsewhere, [`health`] whether it is asked at all, [`catalog`] knows which model lives where by what `lists` holds, and [`error_body`] reads the many shapes of their errors.

pub mod catalog;
pub mod client;
pub mod error_body;
mod events;
pub mod headers;
pub mod health;
mod lists;
mod quirks;
mod reply;
pub mod retry;
mod route;
mod scrub;
mod spread;
mod timed;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tracing::{info, warn};

use self::health::{Change, Health};
pub use self::{
    catalog::Catalog,
    client::{Client, Head},
    events::EventStream,
    route::{Resolved, Route},
};
use crate::{
    budget::RetryBudget,
    config,
    openai::ErrorBody,
    outbound::{self, Origin},
};

/// One configured provider.
#[derive(Debug)]
pub struct Upstream {
    /// What the operator wrote.
    pub settings: config::Upstream,
    /// Whether it is asked.
    pub health: Arc<Health>,
    /// How often it may be asked again.
    pub budget: RetryBudget,
    /// Where it is, and what is open to it.
    pub(crate) origin: Arc<Origin>,
    /// What goes along with each request to it.
    headers: HeaderMap,
}

impl Upstream {
    /// An upstream that nothing is known of yet; fails where no request can reach it.
    pub fn new(
        settings: config::Upstream,
        policy: &config::Retry,
    ) -> Result<Self, outbound::Unusable> {
        let origin = Origin::new(
            &settings.base_url,
            settings.http2,
            settings.streams_per_connection,
        )?;
        Ok(Self {
            origin: Arc::new(origin),
            headers: headers::of(&settings),
            settings,
            health: Arc::default(),
            budget: RetryBudget::new(policy.budget),
        })
    }

    /// The same upstream under another policy, with what is known of it.
    pub fn under(self: &Arc<Self>, policy: &config::Retry) -> Arc<Self> {
        if self.budget.share() == policy.budget {
            return Arc::clone(self);
        }
        Arc::new(Self {
            settings: self.settings.clone(),
            health: Arc::clone(&self.health),
            budget: RetryBudget::new(policy.budget),
            origin: Arc::clone(&self.origin),
            headers: self.headers.clone(),
        })
    }

    /// Notes how a call ended.
    pub fn note<T>(&self, outcome: &Result<T, Error>, policy: &config::Retry) {
        let name = self.name();
        match self.health.note(outcome, policy, Instant::now()) {
            Change::None => {}
            Change::SetAside(wait) => {
                warn!(
                    upstream.name = name,
                    wait_ms = wait.as_millis(),
                    "upstream `{name}` keeps failing and is set aside"
                );
            }
            Change::Back => info!(upstream.name = name, "upstream `{name}` answers again"),
        }
    }

    /// Whether `error` says no more than that a caller's own key is missing.
    fn wants_a_callers_key(&self, error: &Error) -> bool {
        let Error::Status { status, .. } = error else {
            return false;
        };
        matches!(self.settings.api_key, config::ApiKey::Client)
            && matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// Its name in the configuration, in logs and before the slash of `upstream/model`.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether it answers a bad key with 403 instead of 401 (Scaleway's error page, OVHcloud's getting-started guide).
    fn means_the_key_by_403(&self) -> bool {
        matches!(self.settings.preset, Some("scaleway" | "ovhcloud"))
    }
}

/// The waits that have a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Until the connection is accepted.
    Connect,
    /// Until the first `data:` event of a stream.
    FirstEvent,
    /// Until the end of a whole answer.
    Answer,
    /// Between two events of a stream.
    Idle,
    /// Of the request, all in all.
    Total,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::FirstEvent => "first_event",
            Self::Answer => "answer",
            Self::Idle => "idle",
            Self::Total => "total",
        })
    }
}

/// Why a provider gave no answer. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke before the answer began.
    #[error("upstream `{upstream}` cannot be reached")]
    Unreachable {
        /// The provider.
        upstream: String,
        /// What the connection said.
        #[source]
        source: outbound::Error,
    },
    /// A deadline of ours passed.
    #[error("upstream `{upstream}` passed the deadline `{deadline}` of {after:?}")]
    Timeout {
        /// The provider.
        upstream: String,
        /// Which deadline.
        deadline: Deadline,
        /// How long it was.
        after: Duration,
    },
    /// What came is no answer of this API.
    #[error("upstream `{upstream}` sent nonsense: {detail}")]
    Invalid {
        /// The provider.
        upstream: String,
        /// What was wrong with it; never a piece of the answer.
        detail: String,
    },
    /// A stream ended without saying so.
    #[error("upstream `{upstream}` ended its stream without a finish")]
    Truncated {
        /// The provider.
        upstream: String,
    },
    /// It refused the gateway's own key.
    #[error("upstream `{upstream}` refused the gateway's key with {status}: {message}")]
    Authentication {
        /// The provider.
        upstream: String,
        /// 401 or 403.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// It answered with an error.
    #[error("upstream `{upstream}` answered {status}: {}", body.message)]
    Status {
        /// The provider.
        upstream: String,
        /// The status, or for an error under 200 the one that it means.
        status: StatusCode,
        /// Where it said so.
        place: Place,
        /// Its own error, in OpenAI's shape.
        body: Box<ErrorBody>,
        /// What of its headers crosses the gateway.
        headers: Box<HeaderMap>,
        /// When another request may succeed, where it said so.
        retry_after: Option<Duration>,
    },
}

/// Where an upstream says that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the status of its answer.
    Status,
    /// In a body or an event under a status of success, whose meaning nobody promises.
    Answer,
}

/// How providers say that a conversation is longer than a model's context (OpenAI, vLLM, llama.cpp, TGI, Mistral).
const OVERFLOW_WORDS: [&str; 8] = [
    "context length",
    "context_length",
    "context window",
    "context size",
    "maximum context",
    "max_model_len",
    "too many tokens",
    "prompt is too long",
];

impl Error {
    /// The error that `data` holds, an event or a body of `upstream` under a status of success.
    pub fn in_answer(upstream: &str, data: &[u8]) -> Self {
        let (status, body) = error_body::read_under_success(data);
        Self::Status {
            upstream: upstream.to_owned(),
            status,
            place: Place::Answer,
            body: Box::new(body),
            headers: Box::default(),
            retry_after: None,
        }
    }

    /// Whether a stream broke off or fell silent: behind a finish that takes nothing from the answer.
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::Timeout {
                    deadline: Deadline::Idle,
                    ..
                }
        )
    }

    /// Whether the model has no room for the conversation.
    pub fn is_context_overflow(&self) -> bool {
        let Self::Status { status, body, .. } = self else {
            return false;
        };
        let said = |text: &str| {
            let text = text.to_lowercase();
            OVERFLOW_WORDS.iter().any(|words| text.contains(words))
        };
        matches!(status.as_u16(), 400 | 413 | 422)
            && (said(&body.message) || body.code.as_deref().is_some_and(said))
    }

    /// A word for metrics; there are few of them.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { deadline, .. } => match deadline {
                Deadline::Connect => "timeout_connect",
                Deadline::FirstEvent => "timeout_first_event",
                Deadline::Answer => "timeout_answer",
                Deadline::Idle => "timeout_idle",
                Deadline::Total => "timeout_total",
            },
            Self::Invalid { .. } => "invalid",
            Self::Truncated { .. } => "truncated",
            Self::Authentication { .. } => "authentication",
            Self::Status { status, .. } => match status.as_u16() {
                429 => "rate_limited",
                500.. => "status_5xx",
                _ => "status_4xx",
            },
        }
    }

    /// The provider at fault.
    pub fn upstream(&self) -> &str {
        match self {
            Self::Unreachable { upstream, .. }
            | Self::Timeout { upstream, .. }
            | Self::Invalid { upstream, .. }
            | Self::Truncated { upstream }
            | Self::Authentication { upstream, .. }
            | Self::Status { upstream, .. } => upstream,
        }
    }
}
