//! A running gateway as the client commands reach it: where it is, who asks, and what its refusals say.

use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, multipart::Form};
use serde_json::Value;
use url::{Host, Url};

use super::{Failure, arguments::Reach, innermost};
use crate::config::Environment;

/// Where a gateway is when nobody says.
const DEFAULT: &str = "http://127.0.0.1:8080";

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long listing the models may take: the gateway gives each upstream ten seconds.
const LISTING: Duration = Duration::from_secs(30);

/// A gateway's address, without `/v1` and without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(Url);

/// A gateway that can be asked.
pub(super) struct Gateway {
    base: Base,
    key: Option<HeaderValue>,
    http: Client,
}

impl Base {
    /// What was given, else what the environment says, else the default.
    pub(super) fn choose(given: Option<Self>, env: &Environment) -> Result<Self, Failure> {
        if let Some(base) = given {
            return Ok(base);
        }
        env.get("GROUNDWIRE_URL")
            .unwrap_or(DEFAULT)
            .parse()
            .map_err(|error| Failure::Usage(format!("GROUNDWIRE_URL: {error}")))
    }

    /// The address of `path`, which begins with a slash.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether it is on this very machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // `localhost:8080` alone would be read as a scheme and a path.
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let mut url = Url::parse(&whole).map_err(|error| format!("this is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the address of a gateway begins with http:// or https://".to_owned());
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl Gateway {
    /// The gateway that the arguments or the environment name.
    pub(super) fn new(reach: Reach, env: &Environment) -> Result<Self, Failure> {
        let base = Base::choose(reach.url, env)?;
        let key = reach
            .key
            .as_deref()
            .or_else(|| env.get("GROUNDWIRE_KEY"))
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let key = key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
                Failure::Usage("the key holds characters that no key can have".to_owned())
            })?;
            value.set_sensitive(true);
            Ok::<_, Failure>(value)
        });
        Ok(Self {
            key: key.transpose()?,
            http: client(&base)?,
            base,
        })
    }

    /// The list of models, as it came.
    pub(super) async fn models(&self) -> Result<Bytes, Failure> {
        let request = self.http.get(self.base.join("/v1/models")).timeout(LISTING);
        let response = self.send(request).await?;
        response.bytes().await.map_err(|error| self.broken(&error))
    }

    /// The answer to a chat request, whose body is still to be read.
    pub(super) async fn chat(&self, body: &Value) -> Result<Response, Failure> {
        let request = self.http.post(self.base.join("/v1/chat/completions"));
        self.send(request.json(body)).await
    }

    /// Stores a file, given as a form.
    pub(super) async fn upload(&self, form: Form) -> Result<Value, Failure> {
        let request = self.http.post(self.base.join("/v1/files")).multipart(form);
        self.json(request).await
    }

    /// What is known of a stored file.
    pub(super) async fn file(&self, id: &str) -> Result<Value, Failure> {
        let path = format!("/v1/files/{id}");
        let request = self.http.get(self.base.join(&path)).timeout(LISTING);
        self.json(request).await
    }

    /// What to say where an answer is not what a gateway answers.
    pub(super) fn stranger(&self) -> Failure {
        Failure::Running(format!(
            "what answers at {} is no gateway: its answer cannot be read",
            self.base
        ))
    }

    /// What to say where an answer broke off.
    pub(super) fn broken(&self, error: &dyn std::error::Error) -> Failure {
        Failure::Running(format!("the answer broke off: {}", innermost(error)))
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body).map_err(|_| self.stranger())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, key.clone()),
            None => request,
        };
        let response = request
            .send()
            .await
            .map_err(|error| self.unreached(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // A refusal without a readable body is told by its status.
        let body = response.bytes().await.unwrap_or_default();
        Err(self.refused(status, &body))
    }

    fn unreached(&self, error: &reqwest::Error) -> Failure {
        let (base, cause) = (&self.base, innermost(error));
        if error.is_timeout() {
            return Failure::Running(format!("{base} did not answer in time"));
        }
        if error.is_connect() {
            return Failure::Running(format!(
                "no gateway can be reached at {base}: {cause}\n\
                 start one with `groundwire sandbox` (no keys, no network) or `groundwire serve`, or name another with --url"
            ));
        }
        Failure::Running(format!("{base} gave no answer: {cause}"))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let Some(message) = message(body) else {
            return Failure::Running(format!(
                "{} answered {status}; is it the address of a gateway?",
                self.base
            ));
        };
        if status == StatusCode::UNAUTHORIZED {
            return Failure::Running(format!(
                "{message}\ngive your key with --key or in GROUNDWIRE_KEY"
            ));
        }
        Failure::Running(message)
    }
}

fn client(base: &Base) -> Result<Client, Failure> {
    // Fails where a provider was chosen before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .user_agent(concat!("groundwire/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none());
    if base.is_loopback() {
        // A proxy for the world outside would look for the gateway on its own machine.
        client = client.no_proxy();
    }
    client
        .build()
        .map_err(|error| Failure::running("there is no HTTP client", error))
}

/// The message of OpenAI's error object.
fn message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let message = body.pointer("/error/message")?.as_str()?;
    Some(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_in_many_ways() {
        for (written, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
            (" localhost:8080/v1 ", "http://localhost:8080"),
            ("https://ai.example/rag/v1?x=1#y", "https://ai.example/rag"),
            ("https://ai.example/rag/", "https://ai.example/rag"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            let base: Base = written.parse().unwrap();
            assert_eq!(
                base.join("/v1/models"),
                format!("{meant}/v1/models"),
                "{written}"
            );
        }
        for wrong in ["", "ftp://ai.example", "http://", "http://a b"] {
            assert!(wrong.parse::<Base>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_default() {
        let env = Environment::from([("GROUNDWIRE_URL", "http://env.example/v1")]);
        let empty = Environment::from([("GROUNDWIRE_URL", "")]);
        let wrong = Environment::from([("GROUNDWIRE_URL", "ftp://x")]);
        let given: Base = "http://given.example".parse().unwrap();
        let chosen = |given, env| Base::choose(given, env).unwrap().to_string();

        assert_eq!(chosen(Some(given), &env), "http://given.example");
        assert_eq!(chosen(None, &env), "http://env.example");
        assert_eq!(chosen(None, &empty), DEFAULT);
        assert!(matches!(
            Base::choose(None, &wrong),
            Err(Failure::Usage(text)) if text.starts_with("GROUNDWIRE_URL: ")
        ));
    }
}
