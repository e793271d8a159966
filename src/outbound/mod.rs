//! Connections to a neighbour, as the model path and search need them: few copies, no task that outlives its request over HTTP/1.1, and
//! never a stream that waits for another's place over HTTP/2.
//!
//! An [`Origin`] is one neighbour's address with what is open to it. Over HTTP/1.1 a request has a connection of its own, which it drives
//! itself (`own`): who drops the answer drops the connection, and with it what it costs there. Over HTTP/2 requests share connections
//! (`shared`), each up to the number of streams that both sides allow; hyper-util's client opens no second one and lets the others wait.
//!
//! `reqwest` serves what is rare (files, what the command line asks): it costs a third more for each request, and its connections are tasks.

mod body;
mod connect;
mod own;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body_util::Full;
use tokio::time::Instant;
use url::Url;

pub use self::{body::Body, connect::trusting};
use self::{
    connect::{Connector, Spoken},
    own::{Idle, Unsent},
    shared::{Place, Shared, Turn},
};
use crate::config::Http2;

/// How long a connection rests before it is closed: shorter than the minute or more after which most servers and balancers do it, because
/// who sends at that moment loses.
const REST: Duration = Duration::from_secs(30);

/// Threads that have connections of their own; more than that share.
const SHARDS: usize = 16;

/// Why there is no answer. `Display` is for the log and names no address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection was made in time.
    #[error("no connection within {after:?}")]
    ConnectTimeout {
        /// How long was waited.
        after: Duration,
    },
    /// There is no connection.
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke, or what came is no HTTP.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// One neighbour's address, and the connections that are open to it.
#[derive(Debug)]
pub struct Origin {
    /// `https://api.scaleway.ai`, as HTTP/2 wants it in each request.
    base: Uri,
    /// Its name and port, as HTTP/1.1 wants them.
    host: HeaderValue,
    /// What paths follow, without a slash at the end.
    prefix: String,
    connector: Connector,
    streams_per_connection: usize,
    shards: Box<[Shard; SHARDS]>,
}

/// What the requests of one thread have open: a connection is woken where it was made.
#[derive(Debug, Default)]
struct Shard {
    idle: Arc<Idle>,
    shared: Arc<Shared>,
}

/// Why an address cannot be reached by HTTP.
#[derive(Debug, thiserror::Error)]
#[error("this is no address that HTTP reaches: {0}")]
pub struct Unusable(String);

impl Origin {
    /// The neighbour at `base`, whose path goes before all others, with at most `streams` on one connection.
    pub fn new(base: &Url, http2: Http2, streams: usize) -> Result<Self, Unusable> {
        let unusable = |error: &dyn std::fmt::Display| Unusable(error.to_string());
        let uri: Uri = base.as_str().parse().map_err(|error| unusable(&error))?;
        let authority = uri.authority().ok_or_else(|| unusable(&"it has no host"))?;
        Ok(Self {
            host: HeaderValue::from_str(authority.as_str()).map_err(|error| unusable(&error))?,
            prefix: base.path().trim_end_matches('/').to_owned(),
            connector: Connector::new(&uri, http2)?,
            streams_per_connection: streams,
            shards: Box::default(),
            base: uri,
        })
    }

    /// What requests to `path` (`/chat/completions`) of its API are sent to.
    pub fn path(&self, path: &str) -> Result<Uri, http::Error> {
        Ok(Uri::try_from([&self.prefix, path].concat())?)
    }

    /// Sends `request`, whose address is one that [`Origin::path`] gave; a new connection may take `patience`.
    ///
    /// The answer's body holds its connection, or its place on one: dropped before its end, it ends the exchange.
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, Error> {
        let shard = self.shard();
        while let Some(connection) = shard.idle.take() {
            match connection.exchange(request, &self.host).await {
                Ok(response) => return Ok(response),
                // The neighbour hung up at that very moment, and nothing was sent.
                Err(Unsent {
                    request: Some(unsent),
                    ..
                }) => request = unsent,
                Err(Unsent { error, .. }) => return Err(error),
            }
        }
        let connected = match shard.shared.place(self.streams_per_connection) {
            Some(place) => Connected::Shared(place),
            None => tokio::time::timeout(patience, self.connect(shard))
                .await
                .map_err(|_| Error::ConnectTimeout { after: patience })??,
        };
        match connected {
            Connected::Own(connection) => {
                let exchange = connection.exchange(request, &self.host);
                exchange.await.map_err(|unsent| unsent.error)
            }
            Connected::Shared(place) => place.exchange(self.for_shared(request)).await,
        }
    }

    /// Closes what has rested for long enough; somebody has to call this now and then.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    fn sweep_at(&self, now: Instant) {
        for shard in self.shards.iter() {
            shard.idle.sweep(now);
            shard.shared.sweep(now);
        }
    }

    /// Makes a connection, or waits for a place on one that is being made: a thousand requests at once must not make a thousand.
    async fn connect(&self, shard: &Shard) -> Result<Connected, Error> {
        let making = if self.connector.never_shares() {
            None
        } else {
            match shard.shared.turn(self.streams_per_connection).await {
                Turn::Place(place) => return Ok(Connected::Shared(place)),
                Turn::Connect(making) => Some(making),
                Turn::Alone => None,
            }
        };
        let (io, spoken) = self.connector.connect().await?;
        if spoken == Spoken::Http2 {
            let place = shared::open(io, &shard.shared, making).await?;
            return Ok(Connected::Shared(place));
        }
        if let Some(making) = making {
            making.speaks_http1();
        }
        Ok(Connected::Own(own::Connection::new(io, &shard.idle)))
    }

    /// `request` as HTTP/2 wants it: with the whole address.
    fn for_shared(&self, mut request: Request<Bytes>) -> Request<Full<Bytes>> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = Version::HTTP_2;
        request.map(Full::new)
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let [first, ..] = &*self.shards;
        let mine = MINE.with(|mine| *mine) % SHARDS;
        self.shards.get(mine).unwrap_or(first)
    }
}

/// What a request was given to be sent on.
enum Connected {
    Own(own::Connection),
    Shared(Place),
}
