//! The collector: where one export goes, and what came of it.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Response, redirect::Policy};

use super::wire::{Message, Said, attribute};
use crate::config::Telemetry;

/// How long one export may take, its answer included.
const DEADLINE: Duration = Duration::from_secs(10);

/// How much of an answer is read.
const ANSWER_BYTES: usize = 64 << 10;

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Numbers,
}

impl Signal {
    /// What operators call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Numbers => "metrics",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Numbers => "/v1/metrics",
        }
    }
}

/// Why an export was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untaken {
    /// It may be, later.
    #[error("{why}")]
    Away {
        why: String,
        retry_after: Option<Duration>,
    },
    /// It never will be.
    #[error("it answers {status}")]
    Refused { status: u16 },
}

/// Where exports go.
pub(super) struct Collector {
    pub(super) settings: Telemetry,
    client: Client,
    /// Who sends them, as each export says it.
    resource: Vec<u8>,
}

impl Collector {
    pub(super) fn new(settings: &Telemetry, instance: &str) -> Result<Self, reqwest::Error> {
        // Fails where a provider was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("groundwire/", env!("CARGO_PKG_VERSION")))
            // What is told to this collector is told to no other.
            .redirect(Policy::none())
            .no_proxy()
            .timeout(DEADLINE)
            .pool_max_idle_per_host(2);
        // Roots are read and kept only where somebody is held against them.
        let builder = match settings.otlp_endpoint.scheme() {
            "http" => builder.tls_certs_only([]),
            _ => builder,
        };
        let mut resource = Message::default();
        for (key, text) in [
            ("service.name", settings.service_name.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ] {
            attribute(&mut resource, 1, key, Said::Text(text));
        }
        Ok(Self {
            settings: settings.clone(),
            client: builder.build()?,
            resource: resource.into_bytes(),
        })
    }

    /// What is sent there.
    pub(super) fn signals(&self) -> impl Iterator<Item = Signal> {
        let settings = &self.settings;
        let traces = (settings.trace_ratio > 0.0).then_some(Signal::Traces);
        let numbers = settings.metrics_interval.map(|_| Signal::Numbers);
        traces.into_iter().chain(numbers)
    }

    /// An export of `told`, spans or numbers as fields of a scope of this resource.
    pub(super) fn export(&self, told: &Message) -> Vec<u8> {
        let mut export = Message::default();
        export.message(1, |all| {
            all.bytes(1, &self.resource);
            all.message(2, |scoped| {
                scoped.message(1, |scope| {
                    scope.text(1, env!("CARGO_PKG_NAME"));
                    scope.text(2, env!("CARGO_PKG_VERSION"));
                });
                scoped.append(told);
            });
        });
        export.into_bytes()
    }

    /// Sends an export; gives how much of it was refused.
    pub(super) async fn send(&self, signal: Signal, export: Vec<u8>) -> Result<u64, Untaken> {
        let base = self.settings.otlp_endpoint.as_str().trim_end_matches('/');
        let mut headers: HeaderMap = self.settings.headers.iter().cloned().collect();
        let kind = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, kind);
        let sending = self
            .client
            .post(format!("{base}{}", signal.path()))
            .headers(headers)
            .body(export)
            .send();
        let response = sending.await.map_err(away)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let answer = read(response).await;
        // The codes that the protocol lets a client try again on.
        match status.as_u16() {
            200..300 => Ok(super::wire::rejected(&answer.map_err(away)?)),
            429 | 502..=504 => Err(Untaken::Away {
                why: format!("it answers {status}"),
                retry_after,
            }),
            status => Err(Untaken::Refused { status }),
        }
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if answer.len() + piece.len() > ANSWER_BYTES {
            break;
        }
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// What went wrong, at its root; never the address, which stands in the configuration.
fn away(error: reqwest::Error) -> Untaken {
    let why = if error.is_timeout() {
        format!("no answer within {DEADLINE:?}")
    } else {
        let error = error.without_url();
        let mut root: &dyn Error = &error;
        while let Some(deeper) = root.source() {
            root = deeper;
        }
        root.to_string()
    };
    Untaken::Away {
        why,
        retry_after: None,
    }
}

/// When another export may be taken: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_a_collector_asks_for_is_read_in_both_forms() {
        let asked = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]))
        };
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));

        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert!((85..=90).contains(&asked(&soon).unwrap().as_secs()));
        let past = asked("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
    }
}
