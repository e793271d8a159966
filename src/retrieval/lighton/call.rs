//! One call of LightOn's API: waiting for its turn, its tries, and one deadline over all of it.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::BodyExt;
use reqwest::RequestBuilder;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;
use url::Url;

use super::{
    errors::{self, Asked, unavailable},
    pacing::Pacer,
    retry::{self, Failure},
};
use crate::{
    budget::RetryBudget,
    config::{self, Http2, Secret},
    outbound::{self, Origin},
    retrieval::{Asker, Error},
};

/// The most of an error's body that is read, in bytes.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// How long an error's body is waited for.
const ERROR_BODY_TIME: Duration = Duration::from_secs(1);

/// How many searches share a connection, where the service speaks HTTP/2: what most servers allow.
const SEARCHES_PER_CONNECTION: usize = 100;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Who calls.
pub(super) const USER_AGENT: &str = concat!("groundwire/", env!("CARGO_PKG_VERSION"));

/// What every call shares; a clone shares the pace too.
#[derive(Clone)]
pub(super) struct Caller {
    /// What is asked often: searches.
    origin: Arc<Origin>,
    /// The rest; made when it is needed first.
    documents: Arc<OnceLock<reqwest::Client>>,
    connect: Duration,
    /// What every path follows, with a slash at the end.
    api: String,
    authorization: HeaderValue,
    key: Secret,
    pacer: Arc<Pacer>,
    timeout: Duration,
    retry: config::Retry,
    budget: Arc<RetryBudget>,
}

impl Caller {
    pub(super) fn new(base_url: &Url, key: Secret, options: super::Options) -> Result<Self, Error> {
        let root = base_url.as_str().trim_end_matches('/');
        let root = root.strip_suffix("/api/v3").unwrap_or(root);
        Self::under(format!("{root}/api/v3/"), key, options)
    }

    /// A caller of paths under `api`, which ends with a slash.
    pub(super) fn under(api: String, key: Secret, options: super::Options) -> Result<Self, Error> {
        let authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
        let mut authorization = authorization.map_err(|_| Error::Authentication {
            detail: "the key holds characters that no header can carry".to_owned(),
        })?;
        authorization.set_sensitive(true);
        let unusable = |error: &dyn std::fmt::Display| unavailable(error.to_string());
        let address = Url::parse(&api).map_err(|error| unusable(&error))?;
        let origin = Origin::new(&address, Http2::Auto, SEARCHES_PER_CONNECTION);
        Ok(Self {
            origin: Arc::new(origin.map_err(|error| unusable(&error))?),
            documents: Arc::default(),
            connect: options.connect,
            api,
            authorization,
            key,
            pacer: Arc::new(Pacer::new(options.requests_per_minute)),
            timeout: options.timeout,
            budget: Arc::new(RetryBudget::new(options.retry.budget)),
            retry: options.retry,
        })
    }

    /// How long a call may take, its turn and all its tries included.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Closes connections that rested for long enough.
    pub(super) fn sweep(&self) {
        self.origin.sweep();
    }

    /// Sends a body of JSON to a path of the API (`/search`) and gives the answer, whatever the status.
    pub(super) async fn post(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<Response<outbound::Body>, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self
            .origin
            .path(path)
            .map_err(|_| Failure::last(unavailable("the request cannot be built")))?;
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let sent = self.origin.send(request, self.connect).await;
        sent.map_err(|error| {
            let what = match error {
                outbound::Error::Broken(_) => LOST,
                outbound::Error::Connect(_) | outbound::Error::ConnectTimeout { .. } => UNREACHABLE,
            };
            Failure::waiting(broken(what, error), None)
        })
    }

    /// A request for documents, to a path of the API (`files/7`).
    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let client = match self.documents.get() {
            Some(client) => client,
            None => {
                let client = http_client(self.connect).map_err(Failure::last)?;
                self.documents.get_or_init(|| client)
            }
        };
        let request = client.request(method, format!("{}{path}", self.api));
        Ok(request.header(header::AUTHORIZATION, self.authorization.clone()))
    }

    /// Makes a call: waits for its turn, tries it, and again where that may help, all before the deadline.
    ///
    /// Only for calls that have no effect, or the same however often they are made.
    pub(super) async fn call<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.call_for(Asker::default(), attempt).await
    }

    /// Makes a call in the name of `asker`, who takes turns with the others.
    pub(super) async fn call_for<T, F>(
        &self,
        asker: Asker,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut count = 0;
        let mut queued = Duration::ZERO;
        self.budget.called();
        loop {
            let began = Instant::now();
            self.turn_before(asker, deadline).await?;
            queued += began.elapsed();
            count += 1;
            let failure = match timeout_at(deadline, attempt()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failure)) => failure,
                // What the line left was too little for any service: that is the pace's doing.
                Err(_) if queued > self.timeout / 2 => return Err(self.too_many(queued)),
                Err(_) => {
                    return Err(Error::Timeout {
                        after: self.timeout,
                    });
                }
            };
            let error = self.without_key(failure.error);
            let wait = retry::wait(failure.again, count, &self.retry);
            // A wait that the deadline would cut is not begun: the caller learns now what it would learn then.
            let Some(wait) = wait.filter(|wait| Instant::now() + *wait < deadline) else {
                return Err(error);
            };
            if !self.budget.allows_retry() {
                warn!("the budget of retries of search is used up (`retry.budget`)");
                return Err(error);
            }
            warn!(
                search.tries = count,
                wait_ms = wait.as_millis(),
                "{error}; trying again"
            );
            sleep(wait).await;
        }
    }

    /// Waits until the pace lets another request go, at most as long as a call may take.
    pub(super) async fn turn(&self) -> Result<(), Error> {
        self.turn_before(Asker::default(), Instant::now() + self.timeout)
            .await
    }

    async fn turn_before(&self, asker: Asker, deadline: Instant) -> Result<(), Error> {
        let turn = self.pacer.turn(asker, deadline).await;
        turn.map_err(|wait| self.too_many(wait))
    }

    fn too_many(&self, wait: Duration) -> Error {
        Error::RateLimited {
            detail: format!(
                "the gateway's own pace lets no search go for {wait:.1?}, and it may wait {:?}",
                self.timeout
            ),
            retry_after: Some(wait),
        }
    }

    /// Takes our key out of what the service said, in case it quoted it: errors go to the log.
    pub(super) fn without_key(&self, mut error: Error) -> Error {
        match &mut error {
            Error::Authentication { detail }
            | Error::Scope { detail }
            | Error::Query { detail, .. }
            | Error::RateLimited { detail, .. }
            | Error::Maintenance { detail }
            | Error::Unavailable { detail, .. } => {
                if !self.key.expose().is_empty() {
                    *detail = detail.replace(self.key.expose(), "(secret)");
                }
            }
            Error::Timeout { .. } => {}
        }
        error
    }
}

const UNREACHABLE: &str = "it cannot be reached";

const LOST: &str = "the connection broke before an answer came";

/// An answer about documents.
pub(super) type Answer = Response<reqwest::Body>;

/// Sends a request and gives its answer, whatever the status.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, Failure> {
    let sent = request.send().await;
    sent.map(Response::from).map_err(|error| {
        // A request that cannot be built will not be built the second time.
        if error.is_builder() {
            return Failure::last(broken("the request cannot be built", error));
        }
        let what = if error.is_connect() {
            UNREACHABLE
        } else {
            LOST
        };
        Failure::waiting(broken(what, error), None)
    })
}

/// Lets a success pass and turns everything else into what it says.
pub(super) async fn success<B>(asked: Asked, response: Response<B>) -> Result<Response<B>, Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let headers = response.headers().clone();
    let body = beginning(response).await;
    Err(errors::refusal(asked, status, &headers, &body))
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn whole<B>(response: Response<B>, limit: usize) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let too_large = || {
        Failure::last(unavailable(format!(
            "its answer is larger than {limit} bytes"
        )))
    };
    let mut answer = response.into_body();
    let announced = answer.size_hint().exact().unwrap_or(0);
    let Some(announced) = usize::try_from(announced)
        .ok()
        .filter(|length| *length <= limit)
    else {
        return Err(too_large());
    };
    // What was announced need not come: memory is taken as bytes do.
    let mut body = BytesMut::with_capacity(announced.min(ERROR_BODY_BYTES));
    let cut = |error| Failure::waiting(broken("the connection broke in mid-answer", error), None);
    while let Some(frame) = answer.frame().await {
        let Ok(piece) = frame.map_err(cut)?.into_data() else {
            continue;
        };
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Wraps a transport failure; the address is in the configuration and stays out of the text.
pub(super) fn broken(what: &str, error: impl Into<BoxError>) -> Error {
    let source = match error.into().downcast::<reqwest::Error>() {
        Ok(error) => Box::new(error.without_url()),
        Err(error) => error,
    };
    Error::Unavailable {
        detail: what.to_owned(),
        source: Some(source),
    }
}

/// A client that follows no redirect and waits at most `connect` for a connection.
fn http_client(connect: Duration) -> Result<reqwest::Client, Error> {
    let failed = |error: BoxError| broken("the HTTP client cannot be built", error);
    let tls = outbound::trusting().map_err(|error| failed(error.into()))?;
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        // Only the configured neighbours are spoken to, whatever proxy the environment names.
        .no_proxy()
        .connect_timeout(connect)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| failed(error.into()))
}

/// What can be had of an error's body in short time: the status already says that it failed.
async fn beginning<B: Body<Data = Bytes> + Unpin>(response: Response<B>) -> Vec<u8> {
    let until = Instant::now() + ERROR_BODY_TIME;
    let (mut answer, mut body) = (response.into_body(), Vec::new());
    while let Ok(Some(Ok(frame))) = timeout_at(until, answer.frame()).await {
        let piece = frame.into_data().unwrap_or_default();
        let room = ERROR_BODY_BYTES - body.len();
        body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if body.len() >= ERROR_BODY_BYTES {
            break;
        }
    }
    body
}
